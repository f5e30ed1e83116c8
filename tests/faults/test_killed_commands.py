"""Killed `teach`, `sort`, `report` and `export --web`: nothing is lost, and the same command ends as if nothing had been."""

from __future__ import annotations

import json
import random
import shutil

import fault_jobs
import pytest
import torch
from fault_jobs import backbone, learn_more_and_die, page_and_die, report_and_die, sort_and_die
from PIL import Image
from small_data import picture

from vlprompt.collections.sorting import MARK
from vlprompt.errors import DataError, OptionError, RunError
from vlprompt.runs.exporting.web_page import CODE, FILES, PROGRAM
from vlprompt.runs.records import LOG, LOG_BEGUN
from vlprompt.runs.run import Run
from vlprompt.training.checkpoints import FILE as CHECKPOINT

KILLS = 20  # of each command
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(children, pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed") / "run"
    children.run(fault_jobs.fit_and_die, 0, pictures, "coop", folder, {})
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pictures of a class more, two of them of one name."""
    place = tmp_path_factory.mktemp("more")
    found = []
    for number, name in enumerate(("a/1.png", "a/2.png", "b/1.png")):
        path = place / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture((240, 240, 240), number)).save(path)
        found.append(str(path))
    return found


def moments(events, seed):
    """Where to kill: most of them towards the end, where it is written."""
    late = range(max(1, events - KILLS // 2), events)
    return sorted({*late, *random.Random(seed).sample(range(1, events), min(events - 1, KILLS))})[-KILLS:]


def content(folder):
    """Every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def learned(folder):
    """What a run is: classes, tensors, and the log without times; whole, or an error."""
    loaded = Run.load(folder, backbone())
    rows = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    kept = [(r.get("epoch"), r.get("step"), r.get("loss")) for r in rows if r["event"] in ("step", "epoch")]
    return loaded.class_names, loaded.learned.state_dict(), kept


def same(one, other):
    tensors = one[1].keys() == other[1].keys() and all(torch.equal(one[1][n], other[1][n]) for n in one[1])
    return one[0] == other[0] and tensors and one[2] == other[2]


def test_a_killed_teach_leaves_the_old_run_or_the_new_one(children, run, files, tmp_path):
    shutil.copytree(run, tmp_path / "whole")
    (tmp_path / "whole" / "report.html").write_text("of the old one")
    events = children.run(learn_more_and_die, 0, tmp_path / "whole", files)
    old, new = learned(run), learned(tmp_path / "whole")
    assert len(new[0]) == len(old[0]) + 1 and not (tmp_path / "whole" / "report.html").exists()
    seen = set()
    for at in moments(events, "teach"):
        folder = tmp_path / f"{at}" / "run"
        shutil.copytree(run, folder)
        before = content(folder)
        assert children.run(learn_more_and_die, at, folder, files) is None
        found = learned(folder)  # ends what was begun, if the new one counts already
        assert same(found, old) or same(found, new)
        seen.add("old" if same(found, old) else "new")
        if same(found, old):  # to the last byte: also its log
            assert before.items() <= content(folder).items()
        children.run(learn_more_and_die, 0, folder, files)
        assert same(learned(folder), new)
        assert {path.name for path in folder.iterdir()} == {path.name for path in run.iterdir()}
    assert seen == {"old", "new"}


def test_a_teach_that_fails_leaves_the_log_of_the_run(run, files, tmp_path):
    from vlprompt.fitting.teaching_later import teach

    shutil.copytree(run, tmp_path / "run")
    before = content(tmp_path / "run")

    def fails(record):
        if record["event"] == "epoch":
            raise RuntimeError("in the middle")

    more = [{"add": "white noise", "files": files}]
    with pytest.raises(RuntimeError):
        teach(tmp_path / "run", more, backbone=backbone(), cache=False, on_record=fails)
    assert before.items() <= content(tmp_path / "run").items()
    assert set(content(tmp_path / "run")) - set(before) <= {LOG_BEGUN, CHECKPOINT}


@pytest.mark.parametrize("link", [False, True])
def test_a_killed_sort_goes_on(children, run, files, pictures, tmp_path, link):
    many = [*files, *map(str, sorted((pictures / "test").rglob("*.png")))]
    events = children.run(sort_and_die, 0, run, many, tmp_path / "whole" / "out", link)
    whole = content(tmp_path / "whole" / "out")
    assert len(whole) == len(many) and events > len(many)
    for at in moments(events, "sort"):
        out = tmp_path / f"{at}" / "out"
        assert children.run(sort_and_die, at, run, many, out, link) is None
        found = {name: held for name, held in content(out).items() if "/." not in f"/{name}"}
        assert found.items() <= whole.items()
        if found != whole or (out / MARK).exists():
            assert children.run(sort_and_die, 0, run, many, out, link) is not None
            assert content(out) == whole


def test_an_interrupted_sort_of_something_else_is_not_gone_on_with(run, files, tmp_path):
    from vlprompt.collections.sorting import sort

    loaded, out = Run.load(run, backbone()), tmp_path / "out"
    for held in (b"{}", b"", b"\xff"):
        out.mkdir()
        (out / MARK).write_bytes(held)
        with pytest.raises(RunError, match="another sort into it was interrupted"):
            sort(loaded, files, out, coverage=None)
        shutil.rmtree(out)
    sort(loaded, files, out, coverage=None)
    with pytest.raises(RunError, match="not empty"):
        sort(loaded, files, out, coverage=None)
    with pytest.raises(RunError, match="threshold"):  # nothing came of it: nothing stays
        sort(Said(loaded), files, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_links_in_an_unfinished_sort_are_not_followed(run, files, tmp_path):
    from vlprompt.collections.sorting import sort

    loaded, out = Run.load(run, backbone()), tmp_path / "out"
    said = loaded.predict(files[0])[0].label
    mark = {"run": loaded.info.tensors.sha256, "coverage": None, "link": False}
    out.mkdir()
    (out / MARK).write_text(json.dumps(mark))
    (tmp_path / "elsewhere").mkdir()
    (out / said).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is a link"):
        sort(loaded, files[:1], out, coverage=None)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (out / said).unlink()
    assert sort(loaded, files[:1], out, coverage=None).counts == {said: 1}


class Said:
    """A run that cannot tell what it is not sure of."""

    def __init__(self, run):
        self.info, self.class_names = run.info, run.class_names

    def predict(self, *_, **__):
        raise RunError("no thresholds")


def test_a_killed_report_leaves_whole_files(children, run, tmp_path):
    shutil.copytree(run, tmp_path / "whole")
    events = children.run(report_and_die, 0, tmp_path / "whole")
    names = set(content(tmp_path / "whole"))
    assert any(name.endswith(".png") for name in names)
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    before = content(folder)
    for at in moments(events, "report"):
        assert children.run(report_and_die, at, folder) is None
        found = content(folder)
        assert before.items() <= found.items()
        if "report.html" in found:
            assert found["report.html"].rstrip().endswith(b"</html>")
        for name in found:
            if name.endswith(".png"):
                Image.open(folder / name).load()
    children.run(report_and_die, 0, folder)
    assert set(content(folder)) == names


def test_a_killed_page_is_ended_by_the_same_command(children, tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    (runtime / CODE).write_text("code")
    (runtime / PROGRAM).write_bytes(b"program")
    events = children.run(page_and_die, 0, tmp_path / "whole" / "page", runtime)
    for at in range(1, events + 1):
        folder = tmp_path / f"{at}" / "page"
        assert children.run(page_and_die, at, folder, runtime) is None
        if not (folder / "index.html").exists():
            assert children.run(page_and_die, 0, folder, runtime) is not None
        assert set(content(folder)) == set(FILES)
        assert (folder / "index.html").read_text() == "<p>page"
        left = [path for path in folder.parent.iterdir() if path != folder]
        assert not left or at == events  # after which nothing was to be done again


def test_a_folder_of_others_is_no_unfinished_page(tmp_path):
    from vlprompt.runs.exporting.web_page import check_place

    (tmp_path / "model.js").write_text("mine")
    with pytest.raises(OptionError, match="something else"):
        check_place(tmp_path)
    (tmp_path / "ABOUT.txt").write_text("mine too")
    with pytest.raises(OptionError, match="something else"):
        check_place(tmp_path)
