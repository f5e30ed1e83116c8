"""Parquet and TOML, and the small files that commands are given: one line in bounded time and memory, or what they hold."""

from __future__ import annotations

import io
import os
import time

import claim_jobs
import numpy as np
import pytest
from PIL import Image

from vlprompt.data.naming import class_names
from vlprompt.data.opening import open_dataset
from vlprompt.errors import DataError, OptionError, VlpromptError
from vlprompt.fitting.recipes import load_recipe
from vlprompt.runs.importing import names_of
from vlprompt.sweeps.sweep_file import read_sweep

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
MOST = 400  # MB; without limits it is as many as there are
LONG = 1 << 20  # letters of a value that is repeated


def png(shade=0):
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(out, "PNG")
    return out.getvalue()


def repeated(value, kind, times):
    """A column of one value again and again, which takes the room of one."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), pa.array([value], kind))


def written(folder, columns, metadata=None):
    table = pa.table(columns)
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, folder / "train.parquet", store_schema=metadata is not None, compression="zstd")
    assert (folder / "train.parquet").stat().st_size < 2 * LONG
    return folder / "train.parquet"


@pytest.mark.slow
@pytest.mark.parametrize("column", ["image", "label", "dotted.name"])
def test_a_value_repeated_without_end(children, tmp_path, column):
    count = 100_000
    columns = {"image": pa.array([png()] * count), "label": pa.array(["a", "b"] * (count // 2))}
    if column == "image":
        columns["image"] = repeated(b"x" * LONG, pa.binary(), count)
    else:
        columns[column] = repeated("x" * LONG, pa.string(), count)
    path = written(tmp_path, columns)
    process, pipe = children.start(claim_jobs.cost, "dataset", path)
    process.join(300)
    taken, said = pipe.recv()
    assert taken < MOST and "unpack" in said and "refused" in said


def test_rows_without_end(tmp_path):
    nothing = pa.nulls(6_000_000, pa.binary())
    path = written(tmp_path, {"image": nothing, "label": pa.array(np.zeros(6_000_000, np.int8))})
    with pytest.raises(DataError, match="more than 5000000 rows"):
        open_dataset(path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[]",
        '{"info": {"features": [1]}}',
        '{"info": {"features": {"label": {"_type": "ClassLabel", "names": ' + "[" * 90 + "]" * 90 + "}}}}",
        '{"info": {"features": {"label": {"_type": "ClassLabel", "names": [1, null, {}]}, "image": []}}}',
        '{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["\\\\ud800", "b"]}}}}',
    ],
)
def test_features_of_wrong_kinds(tmp_path, text):
    count = 20
    columns = {"image": [png(i) for i in range(count)], "label": pa.array([0, 1] * (count // 2))}
    try:
        assert len(open_dataset(written(tmp_path, columns, text)).all_items) == count
    except DataError as error:
        assert "no text" in str(error)


def test_files_that_are_cut_off(tmp_path):
    path = written(tmp_path, {"image": [png(i) for i in range(8)], "label": ["a", "b"] * 4})
    whole = path.read_bytes()
    for end in range(4, len(whole), 37):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError):
            open_dataset(path)


def test_bytes_that_are_changed(tmp_path):
    path = written(tmp_path, {"image": [png(i) for i in range(8)], "label": ["a", "b"] * 4})
    whole, chance = path.read_bytes(), np.random.default_rng(1)
    for _ in range(100):
        changed = bytearray(whole)
        for place in chance.integers(4, len(whole), 3):
            changed[place] = chance.integers(256)
        path.write_bytes(bytes(changed))
        try:
            dataset = open_dataset(path)
            for item in dataset.all_items:
                dataset.read(item)
        except VlpromptError as error:
            assert "\n" not in str(error)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_paths_in_a_table_that_lead_to_pipes_and_devices(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(png(ord(name)))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": None, "path": name} for name in ("a.png", "b.png", "pipe.png", "zero.png", "a\0.png")]
    path = written(tmp_path, {"image": pa.array(cells, kind), "label": list("ababa")})
    dataset = open_dataset(path, least_classes=1)
    read = []
    for item in dataset.all_items:
        try:
            read.append(dataset.read(item))
        except DataError:
            continue
    assert sorted(read) == sorted([png(ord("a")), png(ord("b"))])


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 300_000 + " = 1",
        "[" + "a." * 100_000 + "a]\nx = 1",
        "methods = " + "[" * 100_000,
        "a = " + "{a=" * 50_000,
        "a" + ".a" * 900 + " = 1",
        "shots = [" + "9" * 100_000 + "]",
        'methods = ["coop"]\ndata = ["demo"]\nshots = [inf]',
        'methods = ["coop"]\ndata = ["demo"]\nshots = [1979-05-27]',
        'methods = [["coop"]]\ndata = {a = 1}',
        'methods = ["coop", ' + '"coop", ' * 200_000 + "]",
        'methods = ["co\\u0000op"]\ndata = ["x"]',
    ],
    ids=lambda text: text[:12],
)
def test_grids_that_are_none(tmp_path, text):
    (tmp_path / "sweep.toml").write_text(text)
    began = time.process_time()
    with pytest.raises(OptionError) as caught:
        read_sweep(tmp_path / "sweep.toml")
    assert len(str(caught.value)) < 2000
    assert time.process_time() - began < 60  # of hours


def names_for(path):
    return class_names(["a", "b"], path)


def labels_for(path):
    return open_dataset(path.parent, labels=path)


@pytest.mark.parametrize("reader", [read_sweep, load_recipe, names_of, names_for, labels_for, open_dataset])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_files_that_commands_are_given(tmp_path, reader):
    """Pipes, devices and folders under a name that a command is given are refused, and not waited for."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(png(ord(name)))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "empty").mkdir()
    for name in ("pipe", "zero", "empty", "none"):
        with pytest.raises(VlpromptError):
            reader(tmp_path / name)
