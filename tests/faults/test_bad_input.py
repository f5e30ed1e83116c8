"""Whatever a file holds, reading it ends in a value or in a VlpromptError.

The targets and their first inputs are those of `fuzz/`, where a coverage-guided fuzzer goes on for longer.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from functools import cache
from pathlib import Path

import pytest
import seeds
import targets
from fault_jobs import backbone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlprompt.backbones.loading import load_backbone
from vlprompt.backbones.weights.pickled import open_pickled, tensors_by_name
from vlprompt.backbones.weights.tensor_files import read_tensors
from vlprompt.data import open_dataset
from vlprompt.errors import BackboneError, DataError, OptionError, PictureError, VlpromptError
from vlprompt.fitting.learning import fit
from vlprompt.runs.importing import import_checkpoint

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["set", "cut", "add", "double"]),
        st.binary(min_size=1, max_size=8),
    ),
    max_size=6,
)


@cache
def first_inputs(name: str) -> tuple[bytes, ...]:
    seeds.CANARY = targets.CANARY
    return tuple(seeds.SEEDS[name](targets.FOLDER))


def changed(data: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    for part, kind, new in changes:
        place = int(part * len(data))
        if kind == "set":
            data = data[:place] + new + data[place + len(new) :]
        elif kind == "add":
            data = data[:place] + new + data[place:]
        elif kind == "cut":
            data = data[:place]
        else:
            data = data[:place] + data[place // 2 : place] + data[place:]
    return data


@pytest.mark.parametrize("name", [name for name in targets.TARGETS if name not in ("runs", "cache")])
@QUICK
@given(number=st.integers(0, 10**6), changes=CHANGES)
def test_damaged_files_are_read_or_refused(name, number, changes):
    held = first_inputs(name)
    targets.once(name, changed(held[number % len(held)], changes))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["runs", "cache"])
@settings(QUICK, max_examples=30)
@given(number=st.integers(0, 10**6), changes=CHANGES)
def test_damaged_runs_and_caches_are_read_or_refused(name, number, changes):
    held = first_inputs(name)
    targets.once(name, changed(held[number % len(held)], changes))


@QUICK
@given(st.binary(max_size=400))
def test_bytes_of_no_kind_are_refused(data):
    for name in ("pictures", "archives", "lists", "json_readers", "sweeps", "checkpoints"):
        targets.once(name, data)


# -- files that run code ----------------------------------------------------------------------------------


def test_what_checkpoints_pickle_is_never_run(tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    monkeypatch.setattr(seeds, "CANARY", canary)
    hostile = list(seeds.SEEDS["checkpoints"](tmp_path))
    for number, data in enumerate(hostile):
        path = tmp_path / f"{number}.pt"
        path.write_bytes(data)
        folder = tmp_path / f"folder{number}"
        folder.mkdir()
        (folder / "config.json").write_text('{"model_type": "clip"}')
        (folder / "pytorch_model.bin").write_bytes(data)
        for read in (
            lambda path=path: read_tensors(path),
            lambda path=path: load_backbone(path),
            lambda folder=folder: load_backbone(folder),
            lambda path=path: import_checkpoint(path, "coop", ["cat", "dog"], backbone()),
            lambda path=path: opened(path),
        ):
            try:
                read()
            except VlpromptError as error:
                assert "\n" not in str(error)
            assert not canary.exists()
    pickle.loads(pickle.dumps(seeds.Hostile())).close()  # the canary sings when one is careless
    assert canary.exists()


def opened(path):
    with open_pickled(path) as held:
        return [held.load(stored) for stored in tensors_by_name(held.content).values()]


def test_a_run_of_the_embedded_kind_holds_no_pickles(pictures, tmp_path):
    fit(pictures, "zeroshot", backbone=backbone(), out=tmp_path, cache=False)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pt", ".pkl", ".bin", ".pickle")]


# -- files that never end, or grow without end -------------------------------------------------------------


def storage(archive, shape, stride, values=1):
    """A pickle as torch writes it, of a tensor of that shape over few stored values."""
    import torch

    out = io.BytesIO()
    torch.save({"state_dict": {"prompt_learner.ctx": torch.zeros(values).as_strided(shape, stride)}}, out)
    archive.write_bytes(out.getvalue())
    return archive


def test_tensors_that_repeat_few_values_without_end_are_refused(tmp_path):
    path = storage(tmp_path / "a.pt", (10**6, 10**6), (0, 0))
    with pytest.raises(VlpromptError, match="reaches beyond"):
        opened(path)


def test_storages_that_unpack_to_more_than_the_file_are_refused(tmp_path):
    whole, bomb = storage(tmp_path / "a.pt", (4,), (1,), 4), tmp_path / "b.pt"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            big = "/data/" in info.filename
            target.writestr(info.filename, bytes(2**24) if big else source.read(info))
    with pytest.raises(VlpromptError, match="more than the file holds"):
        opened(bomb)


class Module:
    """A scripted module as TorchScript pickles it: modules that hold each other double with each level."""


def test_modules_that_hold_each_other_are_not_walked_without_end(tmp_path):
    Module.__module__, Module.__qualname__ = "__torch__", "Module"
    sys.modules["__torch__"] = type(sys)("__torch__")
    sys.modules["__torch__"].Module = Module
    try:
        top = Module()
        for _ in range(40):
            above = Module()
            above.a = above.b = top
            top = above
        data = pickle.dumps(top, protocol=2)
    finally:
        del sys.modules["__torch__"]
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/constants.pkl", b"")
        archive.writestr("a/filler", bytes(len(data)))
    began = time.monotonic()
    with pytest.raises(BackboneError, match="without end"):
        read_tensors(tmp_path / "a.pt")
    assert time.monotonic() - began < 60


def test_pipes_and_devices_are_no_pictures_and_no_data(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        open_dataset(tmp_path / "pipe.png")
    from vlprompt.data import open_picture

    with pytest.raises(PictureError, match="no regular file"):
        open_picture(tmp_path / "pipe.png")
    (tmp_path / "list.csv").write_text("path,label\npipe.png,cat\n/dev/zero,dog\n")
    with pytest.raises(DataError, match="none of its pictures is there"):
        open_dataset(tmp_path / "list.csv")


def test_folders_inside_each_other_a_thousand_times(tmp_path):
    """Deeper than functions may call themselves."""
    from small_data import picture_folder

    place = picture_folder(tmp_path / "pictures")
    within = sorted(path for path in (place / "train").iterdir() if path.is_dir())[0]
    before = os.getcwd()
    try:
        os.chdir(within)
        for _ in range(1200):
            os.mkdir("a")
            os.chdir("a")
        shutil.copy(next(within.glob("*.png")), "deep.png")
    finally:
        os.chdir(before)
    with open_dataset(place) as found:
        assert any(item.path.endswith("/a/deep.png") for item in found.all_items)
    remove_deep(within / "a")


def remove_deep(folder: Path) -> None:
    """rmtree calls itself for every folder."""
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_zips_whose_entries_together_unpack_to_too_much_are_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(100):  # each below a megabyte, which alone is no bomb
            archive.writestr(f"cat/{number}.bmp", bytes(2**20 - 1))
    with pytest.raises(DataError, match="refused, because it unpacks to more than"):
        open_dataset(path)


def test_zips_that_the_fuzzer_found(tmp_path):
    """An entry without a name, and a count of disks that Python's own check of zip files trips over."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"1")
    data = path.read_bytes()
    entry = data.index(b"PK\x01\x02")
    path.write_bytes(data[: entry + 28] + b"\0\0" + data[entry + 30 :])  # the length of its name
    with pytest.raises(DataError, match="not a complete zip archive"):
        open_dataset(path)
    end = data.index(b"PK\x05\x06")
    locator = b"PK\x06\x07" + bytes(4) + bytes(8) + (9).to_bytes(4, "little")
    (tmp_path / "a.pt").write_bytes(data[:end] + locator + data[end:])
    with pytest.raises(VlpromptError, match="damaged, cannot be read"):
        opened(tmp_path / "a.pt")


def test_tars_of_nothing_but_headers_end(tmp_path):
    """Long chains of extended headers, which the tar reader follows by calling itself."""
    out = io.BytesIO()
    for _ in range(3000):
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XHDTYPE, 0
        out.write(info.tobuf(tarfile.USTAR_FORMAT))
    (tmp_path / "a.tar").write_bytes(out.getvalue() + bytes(1024))
    with pytest.raises(DataError):
        open_dataset(tmp_path / "a.tar")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_lists_nested_without_end_are_refused(tmp_path, text):
    for name in ("list.jsonl", "list.json"):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError):
            open_dataset(tmp_path / name)
    from vlprompt.fitting.recipes import load_recipe
    from vlprompt.runs.info import read_info
    from vlprompt.runs.records import read, read_log
    from vlprompt.sweeps.sweep_file import read_sweep

    with pytest.raises(OptionError):
        load_recipe(tmp_path / "list.json")
    with pytest.raises(DataError):
        read(tmp_path / "list.json")
    assert read_log(tmp_path / "list.json") == []
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(VlpromptError):
        read_info(tmp_path)
    (tmp_path / "sweep.toml").write_text("a = " + text)
    with pytest.raises(OptionError):
        read_sweep(tmp_path / "sweep.toml")


def test_a_small_grid_of_endless_runs_is_refused():
    from vlprompt.sweeps.sweep_file import make_sweep

    with pytest.raises(OptionError, match="a grid of 1000000 runs"):
        make_sweep(
            {
                "methods": ["zeroshot"],
                "data": ["demo"],
                "shots": list(range(1000)),
                "seeds": list(range(1000)),
            }
        )


def test_names_that_are_no_text_are_refused_or_carried_along(pictures, tmp_path):
    (tmp_path / "list.jsonl").write_text(
        '{"path": "a.png", "label": "\\ud800"}\n{"path": "b.png", "label": "dog"}\n'
    )
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes((pictures / "test" / "red cat" / "0.png").read_bytes())
    with pytest.raises(DataError, match="has a name that is no text"):
        open_dataset(tmp_path / "list.jsonl")


def test_picture_formats_that_start_programs_are_not_opened(tmp_path):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 7\n%%EndComments\nshowpage\n"
    from vlprompt.data import open_picture

    with pytest.raises(PictureError, match="not a picture that Pillow can read"):
        open_picture(eps)
