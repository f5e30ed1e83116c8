import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_data import picture_folder
from support import tiny_backbone

from vlprompt.files import write_atomically
from vlprompt.fitting.learning import fit
from vlprompt.training.checkpoints import FILE, Checkpoints, State, read

TESTS = Path(__file__).parent.parent
TRAIN = {"epochs": 3, "batch": 4, "save_seconds": 0, "views": 2, "validate_every": 1, "select": "best"}
FIT = {"shots": 3, "cache": False}


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp("data"))


def stop_at(number: int):
    """Raises when the step of that number (over all epochs) is told of."""
    seen = iter(range(10**6))

    def on_record(record):
        if record["event"] == "step" and next(seen) == number:
            raise Stop

    return on_record


def equal(a, b) -> bool:
    one, two = a.learned.state_dict(), b.learned.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def without_times(run):
    """Step and epoch records without what a clock says."""
    keys = ("event", "epoch", "step", "loss", "terms", "accuracy", "lr", "val_accuracy")
    return [{k: r[k] for k in keys if k in r} for r in run.log if r["event"] in ("step", "epoch")]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_interrupted_at_any_step_ends_in_the_same_numbers(backbone, data, tmp_path, optimizer):
    train = TRAIN | {"optimizer": optimizer}
    whole = fit(data, "coop+lamm", backbone=backbone, out=tmp_path / "whole", train=train, **FIT)
    out = tmp_path / "parts"
    for step in (1, 2, 3, 2):  # each counted from where the last attempt stopped
        with pytest.raises(Stop):
            fit(data, "coop+lamm", backbone=backbone, out=out, train=train, progress=stop_at(step), **FIT)
    resumed = fit(data, "coop+lamm", backbone=backbone, out=out, train=train, **FIT)
    assert equal(whole, resumed)
    assert without_times(whole) == without_times(resumed)
    assert whole.scores == resumed.scores
    assert whole.info.training.best_epoch == resumed.info.training.best_epoch
    assert not (out / FILE).exists()


def test_killed_processes_go_on(backbone, data, tmp_path):
    whole = fit(data, "maple", backbone=backbone, train=TRAIN, **FIT)
    out = tmp_path / "run"
    code = (
        "import time\nfrom support import tiny_backbone\nfrom vlprompt.fitting.learning import fit\n"
        f"fit({str(data)!r}, 'maple', backbone=tiny_backbone(), out={str(out)!r}, train={TRAIN!r}, "
        f"progress=lambda r: time.sleep(0.15 if r['event'] == 'step' else 0), **{FIT!r})\n"
    )
    paths = [str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    limit = time.monotonic() + 60
    while not (out / FILE).exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    time.sleep(0.3 * torch.rand(1).item())  # any moment: while computing, while writing
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (out / FILE).exists()
    resumed = fit(data, "maple", backbone=backbone, out=out, train=TRAIN, **FIT)
    assert any(r.get("resumed") for r in resumed.log)
    assert equal(whole, resumed)
    assert without_times(whole) == without_times(resumed)


def test_a_checkpoint_of_other_settings_is_not_used(tmp_path):
    Checkpoints(tmp_path, "these").save(State(1, 2, {"method.a": torch.ones(2)}, {"best": None}))
    assert Checkpoints(tmp_path, "others").load() is None
    state = Checkpoints(tmp_path, "these").load()
    assert state is not None and (state.epoch, state.step) == (1, 2)
    assert torch.equal(state.part("method")["a"], torch.ones(2))


def test_a_damaged_checkpoint_is_no_checkpoint(tmp_path):
    Checkpoints(tmp_path, "these").save(State(1, 2, {"method.a": torch.ones(2)}))
    whole = (tmp_path / FILE).read_bytes()
    for cut in (0, 5, 60, len(whole) - 3):
        (tmp_path / FILE).write_bytes(whole[:cut])
        assert read(tmp_path / FILE) is None


def test_a_failed_write_keeps_the_old_file_and_the_run(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a", b"old")
    told = []
    keeper = Checkpoints(tmp_path, "s", on_trouble=told.append)
    keeper.save(State(1, 0))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "a", b"new")
    keeper.save(State(2, 0))
    keeper.save(State(3, 0))
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(told) == 1 and "No space left" in told[0]
    state = keeper.load()
    assert state is not None and state.epoch == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", FILE]
