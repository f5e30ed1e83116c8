"""What the killed processes do. They are forked from a server that has imported torch once.

A process dies of SIGKILL in front of its n-th event: a file opened, renamed or removed, a flush to the disk, a
record of the training. So moments are drawn from a seed, and most lie around writes, where it matters.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from functools import lru_cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support import tiny_backbone

from vlprompt.backbones.backbone import Backbone
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.fitting.learning import fit

FOLDERS = (Path(__file__).parent, Path(__file__).parent.parent)
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "os.symlink")
TRAIN = {"epochs": 3, "batch": 6, "views": 2, "warmup_epochs": 0, "save_seconds": 0}
BATCHES = 30  # of the cache


@lru_cache(maxsize=1)
def backbone() -> Backbone:
    return tiny_backbone()


class Death:
    """Counts events and kills the process at one of them. at: 0 for never."""

    def __init__(self, folder: Path, at: int = 0) -> None:
        self.folder, self.at, self.count = str(folder), at, 0
        flush = os.fsync

        def fsync(file: int) -> None:
            self.tick()
            flush(file)

        os.fsync = fsync
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and str(arguments[0]).startswith(self.folder):
            self.tick()

    def tick(self, record: Any = None) -> None:
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def fit_and_die(pipe: Any, at: int, data: Path, method: str, out: Path, more: dict[str, Any]) -> None:
    """A training in a folder; sends how many events it had, if it survives."""
    torch.set_num_threads(1)
    death = Death(out.parent, at)
    fit(
        data,
        method,
        backbone=backbone(),
        out=out,
        shots=3,
        train=TRAIN,
        progress=death.tick,
        **({"cache": False} | more),
    )
    pipe.send(death.count)


def sweep_and_die(pipe: Any, at: int, grid: dict[str, Any], folder: Path) -> None:
    from vlprompt.sweeps.sweep import sweep

    torch.set_num_threads(1)
    death = Death(folder, at)
    sweep(grid, tell=lambda event, job, record: death.tick())
    pipe.send(death.count)


def hold(pipe: Any, data: Path, out: Path) -> None:
    """A training that stops in its second step until it is killed."""

    def wait(record: dict[str, Any]) -> None:
        if record["event"] == "step" and record["step"] == 2:
            pipe.send("training")
            signal.pause()

    fit(data, "coop", backbone=backbone(), out=out, shots=3, train=TRAIN, cache=False, progress=wait)


def replace_and_die(pipe: Any, at: int, old: Path | None, new: Path, folder: Path, way: str) -> None:
    """A copy of the run `old` that is replaced by the run `new`, as `way` says."""
    import shutil

    from vlprompt.runs import hub
    from vlprompt.runs.run import Run

    if old is not None:
        shutil.copytree(old, folder)
    run = Run.load(new, backbone())
    run.folder = None
    hub.fetch_run = lambda *_: new
    death = Death(folder.parent, at)
    if way == "pull":
        hub.pull("a/b", folder, overwrite=True)
    else:
        run.save(folder)
    pipe.send(death.count)


def hold_folder(pipe: Any, folder: Path) -> None:
    from vlprompt.locks import folder_lock

    with folder_lock(folder, 0):
        pipe.send("held")
        signal.pause()


def hold_shard(pipe: Any, folder: Path) -> None:
    """A shard that is being written until the process is killed."""
    from vlprompt.collections import shards

    class Holding:
        name, kind = "words", "txt"

        def write(self, pictures: Any, file: Path) -> int:
            file.write_text("half")
            pipe.send("writing")
            signal.pause()
            return 0

    shards.write_shard(shards.Shard(str(folder / "part-00000.txt"), ("a",)), Holding())


def hold_workplace(pipe: Any, file: Path) -> None:
    from vlprompt.locks import workplace

    with workplace(file) as folder:
        (folder / "half").write_text("half")
        pipe.send(str(folder))
        signal.pause()


def export_and_die(pipe: Any, at: int, file: Path) -> None:
    """`export` with a tracing that takes no time."""
    from vlprompt.runs.exporting import export as module

    def write(program: Any, path: Path, about: Any) -> None:
        path.write_bytes(b"new")

    module.traced = lambda *_: None
    module.describe = lambda *_: {}
    module.compare = lambda *_: None
    module.formats.write_onnx = write
    module.formats.open_onnx = lambda path: None

    class Held(module.Run):
        def __init__(self) -> None:
            self.backbone = backbone()

    run = Held()
    death = Death(file.parent, at)
    module.export(run, file, overwrite=True)
    pipe.send(death.count)


def page_and_die(pipe: Any, at: int, folder: Path, runtime: Path) -> None:
    """`export --web` with a model and a page that take no time."""
    from types import SimpleNamespace

    from vlprompt.runs.exporting import web_page as module

    def export(run: Any, path: Path) -> Any:
        path.write_bytes(b"model")
        about = {"class_names": [], "preprocessing": {}, "method": "coop"}
        return SimpleNamespace(path=path, about=about)

    module.export = export
    module.html_of = lambda *_: "<p>page"
    death = Death(folder.parent, at)
    module.export_page(SimpleNamespace(backbone=backbone()), folder, runtime)
    pipe.send(death.count)


def learn_more_and_die(pipe: Any, at: int, run: Path, files: list[str]) -> None:
    """`teach`: a class more for a run, in its folder."""
    from vlprompt.fitting.teaching_later import teach

    torch.set_num_threads(1)
    death = Death(run.parent, at)
    more = [{"add": "white noise", "files": files}]
    teach(run, more, backbone=backbone(), cache=False, on_record=death.tick)
    pipe.send(death.count)


def sort_and_die(pipe: Any, at: int, run: Path, files: list[str], out: Path, link: bool) -> None:
    from vlprompt.collections.sorting import sort
    from vlprompt.runs.run import Run

    torch.set_num_threads(1)
    held = Run.load(run, backbone())
    death = Death(out.parent, at)
    sort(held, files, out, coverage=None, link=link)
    pipe.send(death.count)


def report_and_die(pipe: Any, at: int, run: Path) -> None:
    from vlprompt.report.run_report import write_report

    death = Death(run, at)
    write_report(run, quick=True)
    pipe.send(death.count)


def teach_and_die(pipe: Any, at: int, tiny: str, place: Path) -> None:
    """A studio in which two classes are learned and kept; its temporary folder and its runs lie in `place`."""
    import tempfile

    from small_data import COLOURS, picture

    from vlprompt.data.memory import _encoded
    from vlprompt.studio.offered_backbones import Backbones
    from vlprompt.studio.teaching import Choice, learn_all
    from vlprompt.studio.workshop import Studio
    from vlprompt.studio.zipped_runs import keep

    torch.set_num_threads(1)
    tempfile.tempdir = str(place / "temporary")
    death = Death(place, at)
    studio = Studio(Backbones([tiny]), runs=place / "runs")
    session = studio.session("tab")
    for name in ("red cat", "blue sea"):
        pictures = [(f"{i}.png", _encoded(picture(COLOURS[name], i, (40, 48)), i)) for i in range(5)]
        session.add_pictures(session.add_class(name), pictures)
    train = {"epochs": 2, "batch": 4, "views": "center"}
    learn_all(session, studio.backbones, Choice("coop", tiny, {"context_tokens": 2}, train), death.tick)
    keep(session, place / "runs")
    studio.close()
    pipe.send(death.count)


def push_run(pipe: Any, run: Path, url: str, home: Path, token: str) -> None:
    os.environ |= {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_TOKEN": token, "NO_PROXY": "*"}
    os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}
    from vlprompt.runs.hub import push

    push(run, "me/x", overwrite=True)
    pipe.send(1)


def fit_here(data: Path, out: Path) -> Any:
    return fit(data, "coop", backbone=backbone(), out=out, shots=3, train=TRAIN, cache=False)


def write_cache(pipe: Any, folder: Path, start: int) -> None:
    """Batch after batch, and a word after each."""
    cache = FeatureCache(folder)
    for batch in range(start, start + BATCHES):
        cache.put_many([(f"{batch}-{number}", value_of(batch, number)) for number in range(20)])
        pipe.send(batch)
    signal.pause()  # whoever is this quick waits for the kill


def value_of(batch: int, number: int) -> np.ndarray:
    return np.full(100, batch * 1000 + number, np.float32)


class Children:
    """Starts jobs in processes of their own."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["fault_jobs"])
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [*map(str, FOLDERS), before])
        )  # the server ignores sys.path
        forkserver.ensure_running()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before

    def start(self, job: Any, *arguments: Any) -> tuple[Any, Any]:
        """The process, and the pipe that it sends to."""
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=job, args=(theirs, *arguments))
        process.start()
        theirs.close()
        return process, ours

    def run(self, job: Any, *arguments: Any) -> int | None:
        """Number of events of a job that came to its end; None if it was killed."""
        process, pipe = self.start(job, *arguments)
        process.join(600)
        assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
        return pipe.recv() if process.exitcode == 0 else None


if multiprocessing.current_process().name == "MainProcess" and "pytest" not in sys.modules:
    backbone()  # in the server, so that every child has it
