"""Run: a trained method in a folder of some kilobytes, without the backbone.

    run.json               what was done: method, options, data, backbone, scores, timings, versions
    prompts.safetensors    the method's own tensors
    log.jsonl              one JSON record per line
    predictions.csv        one line per held-out picture: what was said, how sure
    README.md              a model card made from run.json

All are written beside their places and then renamed; run.json comes last and names the hash of the tensors
it belongs to.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.loading import load_backbone
from vlprompt.backbones.spec import BackboneSpec
from vlprompt.data.dataset import Dataset, Item
from vlprompt.data.many_pictures import list_of_pictures
from vlprompt.data.pictures import Picture, open_picture
from vlprompt.data.task import Task
from vlprompt.errors import PictureError, RunError, VlpromptError
from vlprompt.feeding.inputs import Encoder, live_batch, to_pixels
from vlprompt.files import write_together
from vlprompt.locks import alone_in
from vlprompt.methods.base import Batch, Method
from vlprompt.runs import run_features as features
from vlprompt.runs.hub import locate_run
from vlprompt.runs.info import FORMAT, INFO, BackboneInfo, RunInfo, TensorsInfo, read_info
from vlprompt.runs.model_card import card
from vlprompt.runs.predictions_file import FILE as PREDICTIONS
from vlprompt.runs.predictions_file import Said, read_predictions, to_csv
from vlprompt.runs.records import CARD as CARD
from vlprompt.runs.records import FILES, REST, read_log, read_tensors
from vlprompt.runs.records import LOG as LOG
from vlprompt.runs.records import TENSORS as TENSORS
from vlprompt.scoring.evaluation import Scores, chunk_size, evaluate, softmax
from vlprompt.scoring.rejection import UNKNOWN, likeness, threshold_of
from vlprompt.training.run_log import ESCAPED

# fingerprints of the weights that came with earlier versions
FORMER_EMBEDDED = {"d9a4ed033a59f032ae380661809c995645c35849913944ded915cae410f8445e": "0.1"}
KNOWN = "known.class_means"  # among the tensors of a run; no method has one of that name
PRECISIONS = {torch.float32: "float32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True)
class Prediction:
    """The best classes of one picture with their probabilities, best first; or why it cannot be read.

    rejected: the best one is too improbable to be said.
    """

    picture: str
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    rejected: bool = False

    @property
    def label(self) -> str | None:
        """The most probable class, "unknown" if the picture was rejected; None if it cannot be read."""
        if self.rejected:
            return UNKNOWN
        return self.top[0][0] if self.top else None


@dataclass(eq=False)
class Run:
    """A method with its backbone and the record of how it came to be.

    info: the content of run.json as a record. log: the records of log.jsonl. shown: the method for other classes,
    if `for_classes` was called; what was learned stays in `learned`. known: mean feature of each learned class, [C, d],
    which pictures of no known class are far from; None where fit did not look.
    """

    learned: Method
    backbone: Backbone
    info: RunInfo
    log: list[dict[str, Any]] = field(default_factory=list, repr=False)
    folder: Path | None = None
    shown: Method | None = None
    known: np.ndarray | None = field(default=None, repr=False)
    predictions: list[Said] | None = field(
        default=None, repr=False
    )  # None: they are in the folder, if at all

    @property
    def method(self) -> Method:
        """What predicts."""
        return self.shown if self.shown is not None else self.learned

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that predictions choose among, in the order of the columns of `probabilities`."""
        return self.method.task.class_names

    @property
    def scores(self) -> dict[str, Any]:
        """Scores by name: "test", "val", "zero_shot"; each as `Scores.to_dict` gives it."""
        return {name: score.to_json() for name, score in self.info.scores.items()}

    @property
    def calibrated(self) -> bool:
        """Whether probabilities are those at the run's temperature."""
        return self.info.calibrated

    @property
    def temperature(self) -> float:
        """What logits are divided by before they become probabilities; 1 if the run is not calibrated."""
        held = self.info.calibration
        return held.temperature if held is not None and held.applied else 1.0

    def calibrate(self, applied: bool = True) -> Run:
        """Switches the temperature that fit found on the validation pictures on or off; `save` keeps that.

        RunError where fit found none.
        """
        if self.info.calibration is None:
            raise RunError(
                "this run has no temperature, because fit had no validation pictures to find it on (or is of an "
                "older version): fit again with a val folder (--overwrite)"
            )
        self.info.calibration.applied = applied
        return self

    def for_classes(self, names: Sequence[str]) -> Run:
        """The same learned tensors with other class names; OptionError where a method cannot do that."""
        shown = self.learned.for_classes(list(names)).eval()
        return Run(self.learned, self.backbone, self.info, self.log, None, shown, self.known)

    # -- using it --------------------------------------------------------------------------------

    def predict(
        self, pictures: Picture | Iterable[Picture], top: int = 5, *, reject: bool | float = False
    ) -> list[Prediction]:
        """The best classes of each picture. pictures: one, or many, as paths, bytes, PIL images or arrays.

        reject: say "unknown" of pictures that are less like the classes than a threshold that was chosen on pictures
        of known classes, of which this share (True: 0.95) got an answer; see `vlprompt.scoring.rejection`.
        A picture that cannot be read gets a Prediction with `error`.
        """
        many = list_of_pictures(pictures)
        unknown = self._judge_of(reject) if reject is not False else None
        rows, wrong, seen = self._looked_at(many, unknown is not None)
        probabilities = softmax(rows / self.temperature)
        rejected = unknown(probabilities, seen) if unknown is not None else np.zeros(len(many), bool)
        found = []
        for i, picture in enumerate(many):
            name = str(picture) if isinstance(picture, (str, os.PathLike)) else f"picture {i + 1}"
            if i in wrong:
                found.append(Prediction(name, error=str(wrong[i])))
                continue
            best = np.argsort(-probabilities[i], kind="stable")[: max(1, top)]
            said = tuple((self.class_names[c], float(probabilities[i, c])) for c in best)
            found.append(Prediction(name, said, rejected=bool(rejected[i])))
        return found

    def unknown(self, pictures: Picture | Iterable[Picture], coverage: bool | float = True) -> np.ndarray:
        """[N] bool: which pictures are of none of the classes, as `predict(reject=coverage)` says.

        PictureError for a picture that cannot be read; RunError where fit had nothing to choose a threshold on.
        """
        judge = self._judge_of(coverage)
        rows, wrong, seen = self._looked_at(list_of_pictures(pictures), True)
        if wrong:
            raise next(iter(wrong.values()))
        return judge(softmax(rows / self.temperature), seen)

    def _judge_of(self, coverage: bool | float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Says of probabilities [N, C] and features [N, d] which pictures are unknown."""
        place = {name: i for i, name in enumerate(self.learned.task.class_names)}
        held = self.info.rejection
        if (
            self.known is None
            or held is None
            or held.likeness is None
            or not set(self.class_names) <= set(place)
        ):
            least = threshold_of(self.info, coverage)
            return lambda probabilities, seen: probabilities.max(axis=1) < least
        means = self.known[[place[name] for name in self.class_names]]
        nearest = threshold_of(self.info, coverage, by_likeness=True)
        return lambda probabilities, seen: likeness(seen, means) < nearest

    def probabilities(self, pictures: Picture | Iterable[Picture]) -> np.ndarray:
        """[N, C] probabilities; PictureError for a picture that cannot be read."""
        rows, wrong = self._logits(list_of_pictures(pictures))
        if wrong:
            raise next(iter(wrong.values()))
        return softmax(rows / self.temperature)

    def image_features(self, pictures: Picture | Iterable[Picture]) -> np.ndarray:
        """Unit-length features of pictures as the method sees them, with its visual prompts: [N, d], float32.

        PictureError for a picture that cannot be read.
        """
        return features.image_features(self, pictures)

    def text_features(self, pictures: Picture | Iterable[Picture] | None = None) -> np.ndarray:
        """What the method compares pictures with: [C, d], float32, rows in the order of `class_names`.

        Of methods whose text features depend on the picture: [N, C, d], and OptionError without pictures.
        """
        return features.text_features(self, pictures)

    def _logits(self, pictures: Sequence[Picture]) -> tuple[np.ndarray, dict[int, PictureError]]:
        """[N, C] logits (zeros where a picture cannot be read) and what could not be read."""
        return self._looked_at(pictures)[:2]

    @torch.no_grad()
    def _looked_at(
        self, pictures: Sequence[Picture], features_too: bool = False
    ) -> tuple[np.ndarray, dict[int, PictureError], np.ndarray]:
        """The same, and with `features_too` the frozen tower's features, [N, d]."""
        method, backbone = self.method.eval(), self.backbone
        seen = np.zeros((len(pictures) if features_too else 0, backbone.embed_dim), np.float32)
        rows = np.zeros((len(pictures), len(self.class_names)), np.float32)
        wrong: dict[int, PictureError] = {}
        late: list[torch.Tensor] = []  # features are gathered, so that text features are needed once
        numbers: list[int] = []
        by_features, texts = method.facts.cached, method.constant_texts()
        step = 64 if by_features else min(64, chunk_size(method))
        for start in range(0, len(pictures), step):
            crops, good = [], []
            for i in range(start, min(start + step, len(pictures))):
                try:
                    crops.append(np.asarray(backbone.preprocessing.crop(open_picture(pictures[i]))))
                    good.append(i)
                except PictureError as error:
                    wrong[i] = error
            if not good:
                continue
            pixels = to_pixels(np.stack(crops), backbone.preprocessing, backbone.device)
            batch = live_batch(backbone, method.facts.needs, pixels)
            if features_too:
                plain = batch.features if batch.features is not None else backbone.image_features(pixels)
                seen[good] = plain.float().cpu().numpy()
            if by_features:
                assert batch.features is not None
                late.append(batch.features)
                numbers += good
            else:
                rows[good] = method(batch, texts).logits.float().cpu().numpy()
        if late:
            features = torch.cat(late)
            for part in torch.arange(len(numbers)).split(chunk_size(method)):
                logits = method(Batch(features=features[part.to(features.device)]), texts).logits
                rows[[numbers[i] for i in part]] = logits.float().cpu().numpy()
        return rows, wrong, seen

    def evaluate(
        self,
        dataset: Dataset,
        split: str = "test",
        *,
        cache: Any = None,
        probabilities: bool = False,
        emit: Any = None,
    ) -> Scores:
        """Scores on a split of a data set. Its classes may be some of the run's, in any order, which are then told from
        all that the run knows; or others, which are told from each other."""
        method, items = self.method, dataset.items(split)
        if dataset.class_names != self.class_names:
            if set(dataset.class_names) <= set(self.class_names):  # some of its classes, among all of them
                place = [self.class_names.index(name) for name in dataset.class_names]
                items = [Item(i.path, place[i.label], i.domain) for i in items]
            else:
                method = self.learned.for_classes(dataset.class_names)
        more = {} if emit is None else {"emit": emit}
        encoder = Encoder(dataset, self.backbone, cache=cache, **more)
        what = f"{split} pictures" if len(dataset.splits) > 1 else "pictures"
        return evaluate(
            method, encoder.inputs(method.facts.needs, items, what=what), probabilities=probabilities
        )

    # -- keeping it ------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Writes the run; when the folder cannot be written, to a temporary one that the RunError names."""
        folder = Path(folder)
        try:
            with alone_in(folder):
                self._write(folder)
        except OSError as error:
            reason = error.strerror or str(error)
            try:
                rescue = Path(tempfile.mkdtemp(prefix="vlprompt-"))
                self._write(rescue)
            except OSError:
                raise RunError(f"{folder}: the run cannot be written ({reason}): free some space") from error
            raise RunError(f"{folder}: cannot be written ({reason}); the run is kept in {rescue}") from error
        self.folder = folder
        return folder

    def _write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.detach().cpu().contiguous() for k, v in self.learned.state_dict().items()}
        if self.known is not None:
            state[KNOWN] = torch.from_numpy(self.known)
        data = save_tensors(state)
        self.info.format = FORMAT
        self.info.shown_classes = list(self.class_names) if self.shown is not None else None
        self.info.tensors = TensorsInfo(
            hashlib.sha256(data).hexdigest(), {name: list(value.shape) for name, value in state.items()}
        )
        files = {TENSORS: data, CARD: card(self.info).encode()}
        if self.folder != folder or not (folder / LOG).exists():
            lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in self.log)
            files[LOG] = lines.encode(errors=ESCAPED)
        if self.predictions is None and self.folder is not None and self.folder != folder:
            self.predictions = read_predictions(self.folder) or None
        if self.predictions is not None:
            files[PREDICTIONS] = to_csv(self.predictions)
        text = json.dumps(self.info.to_json(), indent=1, ensure_ascii=False)
        former = (*FILES, *REST) if self.folder != folder else ()  # of another run that was there
        write_together(folder, files | {INFO: (text + "\n").encode(errors=ESCAPED)}, gone=former)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        backbone: Backbone | BackboneSpec | str | Path | None = None,
        *,
        device: str = "auto",
        precision: str | None = None,
        revision: str | None = None,
    ) -> Run:
        """A saved run, ready to predict.

        folder: or the id of a run on the Hugging Face hub (see `sharing.locate_run`); revision: its branch, tag or
        commit. backbone: the backbone, or where it now lies, if not where the run says. Raises RunError for a
        missing or damaged run and for another backbone than the one that the prompts were learned on.
        """
        folder = locate_run(folder, revision)
        info = read_info(folder)
        data = read_tensors(folder, info)
        held = info.backbone
        if not isinstance(backbone, Backbone):
            backbone = _load_backbone(folder, info.backbone, backbone, device, precision)
        if backbone.fingerprint != held.fingerprint:
            if held.fingerprint in FORMER_EMBEDDED and backbone.name == "embedded":
                raise RunError(
                    f"{folder}: learned on the embedded backbone of vlprompt {FORMER_EMBEDDED[held.fingerprint]}, which this "
                    "version no longer has: learn it again, or use it with that version"
                )
            raise RunError(
                f'{folder}: these prompts were learned on backbone "{held.source}" ({held.fingerprint[:12]}), '
                f'not on "{backbone.name}" ({backbone.fingerprint[:12]}): give that one'
            )
        task = Task(tuple(info.class_names), tuple(info.templates), info.task_shots)
        try:
            method = methods.load(info.method).build(backbone, task, info.options)
            tensors = finite_tensors(data, folder / TENSORS)
            known = tensors.pop(KNOWN, None)
            method.load_state_dict(tensors)
            if known is not None and known.shape != (len(info.class_names), backbone.embed_dim):
                raise RunError(
                    f"{folder / TENSORS}: {KNOWN} has shape {list(known.shape)}, not that of its classes"
                )
        except VlpromptError:
            raise
        except Exception as error:
            raise RunError(
                f"{folder / TENSORS}: does not fit method {info.method} ({_first_line(error)})"
            ) from error
        run = cls(method.eval(), backbone, info, read_log(folder / LOG), folder)
        run.known = known.float().numpy() if known is not None else None
        if info.shown_classes:
            run.shown = method.for_classes(info.shown_classes).eval()
        return run


def backbone_info(backbone: Backbone) -> BackboneInfo:
    """What run.json says of a backbone."""
    precision = PRECISIONS.get(backbone.dtype, str(backbone.dtype))
    more = (backbone.details.get(name) for name in ("tokenizer", "revision", "image_size"))
    return BackboneInfo(backbone.name, backbone.fingerprint, precision, *more)


def _load_backbone(
    folder: Path,
    held: BackboneInfo,
    given: BackboneSpec | str | Path | None,
    device: str,
    precision: str | None,
) -> Backbone:
    """The backbone of a run, from where it says or now lies; a BackboneSpec says the rest itself."""
    if not isinstance(given, BackboneSpec):
        precision = precision or held.precision
        if precision == "fp16" and not torch.cuda.is_available():
            precision = "float32"
        given = BackboneSpec(
            str(given or held.source),
            device,
            precision,
            held.tokenizer,
            held.revision if given is None else None,
            held.image_size or 0,
        )
    try:
        return load_backbone(given)
    except VlpromptError as error:
        raise RunError(f"{folder}: its backbone cannot be loaded: {error}") from error


def as_list(pictures: Picture | Iterable[Picture]) -> list[Picture]:
    """One picture as a list of one; an array [N, H, W, 3] as N pictures."""
    from PIL.Image import Image

    if isinstance(pictures, np.ndarray):
        return list(pictures) if pictures.ndim == 4 else [pictures]
    if isinstance(pictures, (str, Path, bytes, bytearray, Image)):
        return [pictures]
    return list(pictures)  # type: ignore[arg-type]


def finite_tensors(data: bytes, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file; RunError names one that holds NaN or infinity."""
    tensors = load_tensors(data)
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise RunError(
                f"{path}: {name} holds values that are not finite (NaN or infinity), so every answer would be nonsense: "
                "copy or fetch the run again, or learn it again with --overwrite"
            )
    return tensors


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 and lines[0].endswith(":") else (lines or [type(error).__name__])[0]
