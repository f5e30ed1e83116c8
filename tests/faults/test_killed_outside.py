"""Killed studios and killed `push`: what lies in the user's folders and on the hub is whole, and the same again ends well."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile

import pytest
from fake_hub import Hub, serve
from fault_jobs import backbone, fit_and_die, push_run, teach_and_die
from support import save_huggingface

from vlprompt.runs.records import INFO, TENSORS
from vlprompt.runs.run import Run
from vlprompt.studio.offered_backbones import Backbones
from vlprompt.studio.workshop import PREFIX, Studio
from vlprompt.studio.zipped_runs import kept_runs

pytest.importorskip("gradio", reason="the studio needs Gradio")
pytestmark = pytest.mark.slow
KILLS = 12  # of a studio; of a push as many as it makes requests
TOKEN = "hf_of_me"


def test_killed_studios_leave_whole_runs_and_nothing_temporary(children, tmp_path, monkeypatch):
    tiny = str(save_huggingface(tmp_path / "backbone"))

    def place(name):
        (tmp_path / name / "temporary").mkdir(parents=True)
        return tmp_path / name

    events = children.run(teach_and_die, 0, tiny, place("whole"))
    assert events > 30
    chance = random.Random(1)
    moments = sorted({*chance.sample(range(1, events), KILLS - 4), *range(events - 40, events, 10)})
    left = 0
    for at in moments:
        where = place(f"killed {at}")
        assert children.run(teach_and_die, at, tiny, where) is None
        for name in kept_runs(where / "runs"):
            assert Run.load(where / "runs" / name, tiny).class_names == ("red cat", "blue sea")
        monkeypatch.setattr(tempfile, "tempdir", str(where / "temporary"))
        left += len(list((where / "temporary").glob(f"{PREFIX}*")))
        Studio(Backbones([tiny])).close()  # the next one tidies up
        assert list((where / "temporary").glob(f"{PREFIX}*")) == []
        assert children.run(teach_and_die, 0, tiny, where) == pytest.approx(events, abs=30)
        assert kept_runs(where / "runs")
    assert left > KILLS / 2  # that there was something to tidy up


class Deadly(list):
    """Requests of a hub, which kills who makes the one of that number. at: 0 for never."""

    at, process = 0, None

    def append(self, request):
        super().append(request)
        if len(self) == self.at:
            os.kill(self.process.pid, signal.SIGKILL)


def test_a_killed_push_leaves_nothing_or_a_whole_run(children, pictures, tmp_path):
    run = tmp_path / "run"
    children.run(fit_and_die, 0, pictures, "coop", run, {})
    before = {path.name: path.read_bytes() for path in run.iterdir()}

    def pushed(at, root, models):
        hub = Hub(models, root=root, tokens=(TOKEN,))
        hub.requests = Deadly()
        with serve(hub):
            process, _ = children.start(push_run, run, hub.url, tmp_path / "home", TOKEN)
            hub.requests.process, hub.requests.at = process, at
            process.join(300)
        return len(hub.requests), process.exitcode

    root = tmp_path / "hub"
    count, code = pushed(0, root, {})
    assert code == 0 and count >= 4
    whole = {path.name for path in (root / "me" / "x" / "main").iterdir()}
    assert {INFO, TENSORS} <= whole
    for at in range(1, count + 1):
        root = tmp_path / f"hub {at}"
        models = {}
        _, code = pushed(at, root, models)
        assert code in (-signal.SIGKILL, 0) if at == count else code == -signal.SIGKILL
        folder = root / "me" / "x" / "main"
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
        assert names - {".gitattributes"} in (set(), whole - {".gitattributes"})
        assert pushed(0, root, models)[1] == 0  # the same again
        assert {path.name for path in folder.iterdir()} == whole
        assert json.loads((folder / INFO).read_text())["method"] == "coop"
        assert Run.load(folder, backbone()).class_names == Run.load(run, backbone()).class_names
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
