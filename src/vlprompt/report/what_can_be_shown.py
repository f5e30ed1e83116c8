"""What a report can show of a run, and why the rest is missing.

run.json, log.jsonl and predictions.csv are enough for all figures. With the pictures at hand there are pictures, with
the backbone the words and maps of what was learned, with both a linear probe on the same training pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlprompt.errors import VlpromptError
from vlprompt.plain_text import printable
from vlprompt.report.thumbnails import thumbnail
from vlprompt.runs.info import RunInfo, ScoreInfo, read_info
from vlprompt.runs.predictions_file import Said, read_predictions
from vlprompt.runs.records import read_log
from vlprompt.runs.seals import is_sealed, openable

if TYPE_CHECKING:
    from PIL.Image import Image

    from vlprompt.backbones.backbone import Backbone
    from vlprompt.data.dataset import Dataset
    from vlprompt.runs.run import Run

Probe = Callable[..., dict[str, Any]]  # see `gather_evidence`
QUICK = "left out, as asked for"


@dataclass
class Evidence:
    """info, log: of the run folder. said: every picture of the split that scores are of.

    dataset, run, probe: None where they cannot be had, and then `missing` says why under the same name.
    """

    info: RunInfo
    log: list[dict[str, Any]] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    dataset: Dataset | None = None
    run: Run | None = None
    probe: ScoreInfo | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def reported(self) -> str | None:
        return self.info.reported

    @property
    def calibrated(self) -> bool:
        return self.info.calibrated

    def sure(self, said: Said) -> float:
        """How sure the run is of what it said, 0 to 1, as `predict` would say."""
        return said.calibrated if self.calibrated and said.calibrated is not None else said.probability

    def picture(self, path: str) -> Image | None:
        """A picture of the data set by its path inside; None where it cannot be read."""
        from vlprompt.data.dataset import Item

        if self.dataset is None:
            return None
        try:
            return self.dataset.load(Item(path, 0))
        except VlpromptError:
            return None

    def thumbnail(self, path: str) -> str | None:
        """The same as a data URL."""
        found = self.picture(path)
        return thumbnail(found) if found is not None else None


def gather_evidence(
    folder: Path,
    *,
    data: str | Dataset | None = None,
    backbone: str | Backbone | None = None,
    device: str = "auto",
    quick: bool = False,
    probe: Probe | None = None,
) -> Evidence:
    """Reads a run folder and whatever else is there.

    data: where the pictures now lie, if not where fit found them. backbone: the same. quick: read the folder only.
    probe: trains one and gives its scores by split, as `fitting.probe_beside` does; a report trains nothing itself.
    RunError for a folder without a finished run; DataError for a `data` that was given and cannot
    be read.
    """
    info = read_info(folder)
    found = Evidence(info, read_log(folder / "log.jsonl"))
    found.said = read_predictions(folder, info.reported)
    found.probe = info.probe  # fit has its scores already, as of version 0.2
    if not found.said:
        found.missing["said"] = "the run folder has no predictions.csv (fit of this version writes it)"
    if quick and data is None:
        found.missing |= {"dataset": QUICK, "run": QUICK, "probe": QUICK}
        return found
    _open_dataset(found, data)
    if quick:
        found.missing |= {"run": QUICK, "probe": QUICK}
        return found
    _load_run(found, folder, backbone, device)
    _ask_for_probe(found, probe)
    return found


def _open_dataset(found: Evidence, data: str | Dataset | None) -> None:
    from vlprompt.data.changing import reopened
    from vlprompt.data.dataset import Dataset
    from vlprompt.data.opening import open_dataset

    origin = dict(found.info.data.origin or {})
    if data is None and not origin:
        found.missing["dataset"] = "the run does not say where its pictures lie; --data says it"
        return
    if isinstance(data, Dataset):
        dataset = data
    elif data is not None:
        root = Path(data).expanduser()
        known = openable(found.info.data.origin, found.info.data.seal)
        dataset = reopened(known, root) if known else open_dataset(root)
    elif not is_sealed(found.info.data.origin, found.info.data.seal):
        found.missing["dataset"] = (
            f"the run was not learned here by you, so the place that it names ({_place(origin)}) is not opened; "
            "--data says where its pictures are"
        )
        return
    else:
        try:
            dataset = reopened(origin)
        except (VlpromptError, TypeError) as error:
            found.missing["dataset"] = f"{error}; --data says where they are now"
            return
    held = dataset.source.files
    gone = sum(said.path not in held for said in found.said)
    if found.said and gone == len(found.said):
        found.missing["dataset"] = (
            f"none of the scored pictures are in {dataset.name} any more; --data says where they are"
        )
        return
    if gone:
        found.missing["pictures"] = f"{gone} of the {len(found.said)} scored pictures are no longer there"
    found.dataset = dataset


def _place(origin: dict[str, Any]) -> str:
    return printable(str(origin.get("path") or origin.get("root") or "?"))[:200]


def _load_run(found: Evidence, folder: Path, backbone: str | Backbone | None, device: str) -> None:
    from vlprompt.runs.run import Run

    try:
        found.run = Run.load(folder, backbone, device=device)
    except VlpromptError as error:
        found.missing["run"] = str(error)


def _ask_for_probe(found: Evidence, probe: Probe | None) -> None:
    """Scores of a linear probe on the same training pictures, in per cent as in run.json."""
    if found.probe is not None:
        return
    reason = _no_probe(found) or ("nobody was asked to train one" if probe is None else None)
    if reason is not None:
        found.missing["probe"] = reason
        return
    info, dataset, run = found.info, found.dataset, found.run
    assert dataset is not None and run is not None and probe is not None
    try:
        scores = probe(
            dataset,
            run.backbone,
            info.class_names,
            shots=info.shots,
            seed=1 if info.seed is None else info.seed,
            which=info.data.classes,
        )
    except VlpromptError as error:
        found.missing["probe"] = str(error)
        return
    found.probe = scores.get(info.reported or "")


def _no_probe(found: Evidence) -> str | None:
    info = found.info
    if info.method == "linear_probe":
        return "this run is one"
    if not info.reported:
        return "there were no pictures to score on"
    if info.after:
        return "this run went on from another one"
    if found.dataset is None or found.run is None:
        return "it needs the pictures and the backbone"
    if info.data.fingerprint != found.dataset.fingerprint:
        return "the pictures are no longer those of the run"
    return None
