"""Inputs: the pictures of a split in the form a method needs, encoded or decoded once where memory allows.

features: image features of the frozen tower, one per picture and view, from the disk cache if they are there
patches: features and patch tokens, kept in memory, from an earlier run of the process if it left them, or made per batch
when they do not fit
patch_states: the same with what stands at each patch in place of its token
pixels: what a stem makes of them, kept in memory in half precision, where the image tower has one; or uint8 crops kept
in memory; or decoded per batch when they do not fit
pixels and features: both, of the very same view
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.data.dataset import Dataset, Item, hash_of
from vlprompt.data.pictures import open_picture
from vlprompt.errors import PictureError
from vlprompt.feeding.feature_cache import FeatureCache, feature_key
from vlprompt.feeding.views import CENTER, take_view, view_key
from vlprompt.methods.base import Batch

Emit = Callable[[dict[str, Any]], None]
View = int | str
Wanted = tuple[Item, str, list[View]]  # a picture, the hash of its file, and the views to make
Own = TypeVar("Own", bound="Inputs")
CHUNK = 256  # pictures between two writes to the cache
FEATURES, PATCHES, PATCH_STATES, STEM = (
    "features",
    "patches",
    "patch_states",
    "stem",
)  # what the frozen tower is asked for


@dataclass(frozen=True)
class Views:
    """Which views of every picture are used: `count` random ones of a seed, or the test crop if 0."""

    count: int = 0
    seed: int = 0

    def names(self) -> list[View]:
        return list(range(self.count)) if self.count else [CENTER]


@dataclass
class Inputs:
    """Labelled pictures. labels: [N]; items: the N usable ones; skipped: (path, reason) of the others."""

    labels: Tensor
    items: list[Item]
    skipped: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, index: Tensor, view: int = 0) -> Batch:
        """What a method is fed for the pictures of these numbers."""
        raise NotImplementedError

    def part(self: Own, index: Tensor) -> Own:
        """The pictures of these numbers alone, in that order."""
        return replace(
            self,
            labels=self.labels[index],
            items=[self.items[i] for i in index.tolist()],
            skipped=[],
            **self._of(index),
        )

    def _of(self, index: Tensor) -> dict[str, Any]:
        """What a kind of inputs holds beside, for these pictures."""
        raise NotImplementedError

    def stream(self, indices: Iterable[Tensor], view: int = 0) -> Iterator[Batch]:
        """Batch after batch."""
        for index in indices:
            yield self.batch(index, view)


@dataclass
class FeatureInputs(Inputs):
    """features: [V, N, d] on the device; patches: [V, N, P, d], or their states [V, N, P, width], or None.

    kind: what the patches are called in a batch.
    """

    features: Tensor
    patches: Tensor | None = None
    kind: str = "patches"

    def _of(self, index: Tensor) -> dict[str, Any]:
        index = index.to(self.features.device)
        patches = None if self.patches is None else self.patches[:, index]
        return {"features": self.features[:, index], "patches": patches}

    def batch(self, index: Tensor, view: int = 0) -> Batch:
        index = index.to(self.features.device)
        patches = {} if self.patches is None else {self.kind: self.patches[view, index]}
        return Batch(features=self.features[view, index], **patches)


@dataclass
class StemInputs(Inputs):
    """What the image tower's stem makes of every view, in place of pixels: float16 [V, N, cells, channels] on the device.

    features: [V, N, d] of the frozen tower, if they are needed too.
    """

    stems: Tensor
    features: Tensor | None = None

    def _of(self, index: Tensor) -> dict[str, Any]:
        index = index.to(self.stems.device)
        features = None if self.features is None else self.features[:, index]
        return {"stems": self.stems[:, index], "features": features}

    def batch(self, index: Tensor, view: int = 0) -> Batch:
        index = index.to(self.stems.device)
        features = None if self.features is None else self.features[view, index]
        return Batch(features=features, pixels=self.stems[view, index].float())


@dataclass
class PixelInputs(Inputs):
    """crops: uint8 [V, N, S, S, 3], or None: then pictures are decoded per batch, the next one in advance.

    needs: what a batch is to hold. features: [V, N, d] of the frozen tower on these very views, where they are known;
    what else is needed is made for each batch.
    """

    crops: np.ndarray | None
    encoder: Encoder
    views: Views
    digests: list[str]
    needs: Set[str] = frozenset({"pixels"})
    features: Tensor | None = None

    def _of(self, index: Tensor) -> dict[str, Any]:
        numbers = index.tolist()
        crops = None if self.crops is None else self.crops[:, numbers]
        features = None if self.features is None else self.features[:, index.to(self.features.device)]
        return {"crops": crops, "digests": [self.digests[i] for i in numbers], "features": features}

    def batch(self, index: Tensor, view: int = 0) -> Batch:
        return self._feed(index, view, self._crops(index.tolist(), view))

    def stream(self, indices: Iterable[Tensor], view: int = 0) -> Iterator[Batch]:
        if self.crops is not None:
            yield from super().stream(indices, view)
            return
        with ThreadPoolExecutor(1) as ahead:
            waiting: list[tuple[Tensor, Future[np.ndarray]]] = []
            for index in indices:
                waiting.append((index, ahead.submit(self._crops, index.tolist(), view)))
                if len(waiting) > 2:
                    first, crops = waiting.pop(0)
                    yield self._feed(first, view, crops.result())
            for index, crops in waiting:
                yield self._feed(index, view, crops.result())

    def _crops(self, numbers: Sequence[int], view: int) -> np.ndarray:
        if self.crops is not None:
            return self.crops[view, list(numbers)]
        name = self.views.names()[view]
        wanted = [(self.items[i], self.digests[i], [name]) for i in numbers]
        found = self.encoder.decode(wanted, self.views.seed)
        for item, crops in zip((w[0] for w in wanted), found, strict=True):
            if isinstance(crops, PictureError):  # it could be read when the run began
                raise PictureError(f"{item.path}: cannot be read any more ({crops})")
        return np.stack([crops[0] for crops in found])  # type: ignore[index]

    def _feed(self, index: Tensor, view: int, crops: np.ndarray) -> Batch:
        pixels = to_pixels(crops, self.encoder.backbone.preprocessing, self.encoder.backbone.device)
        if self.features is None:
            return live_batch(self.encoder.backbone, self.needs, pixels)
        known = self.features[view, index.to(self.features.device)]
        return replace(live_batch(self.encoder.backbone, self.needs - {"features"}, pixels), features=known)


@torch.no_grad()
def live_batch(backbone: Backbone, needs: Set[str], pixels: Tensor) -> Batch:
    """A batch made from preprocessed pixels on the spot."""
    features = patches = states = None
    if "patches" in needs:
        features, patches = backbone.patch_features(pixels)
    elif "patch_states" in needs:
        features, states = backbone.patch_states(pixels)
    elif "features" in needs:
        features = backbone.image_features(pixels)
    return Batch(features, patches, pixels if "pixels" in needs else None, states)


def to_pixels(crops: np.ndarray, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """uint8 [B, S, S, 3] -> float32 [B, 3, S, S], bit for bit what `Preprocessing.normalize` gives."""
    pixels = torch.from_numpy(np.ascontiguousarray(crops)).to(device).permute(0, 3, 1, 2).float()
    mean = torch.tensor(preprocessing.mean, dtype=torch.float32, device=device)[:, None, None]
    std = torch.tensor(preprocessing.std, dtype=torch.float32, device=device)[:, None, None]
    return (pixels / 255).sub_(mean).div_(std).contiguous()


class Encoder:
    """Makes the inputs of one data set for one backbone.

    cache: features on disk; None: none. budget: bytes that kept pictures may take.
    emit: told about progress and skipped pictures.
    """

    def __init__(
        self,
        dataset: Dataset,
        backbone: Backbone,
        *,
        cache: FeatureCache | None = None,
        budget: int = 4 << 30,
        emit: Emit = lambda record: None,
    ) -> None:
        self.dataset, self.backbone, self.cache = dataset, backbone, cache
        self.budget, self.emit = budget, emit
        self.threads = min(8, os.cpu_count() or 1)
        self.batch = 32 if backbone.device.type == "cpu" else 256
        self._pool: ThreadPoolExecutor | None = None

    def inputs(
        self,
        needs: Set[str],
        items: Sequence[Item],
        views: Views = Views(),
        *,
        what: str = "pictures",
        known_good: bool = False,
    ) -> Inputs:
        """Inputs that hold what is needed; `what` names the pictures in progress records. Kept pictures take of the budget."""
        if needs == {"features"}:
            return self.features(items, views, what=what)
        names = views.names()
        if self.backbone.has_stem and needs <= {"pixels", "features"}:
            size = 2 * len(names) * len(items) * self.backbone.stem_numbers
            if size <= self.budget:
                self.budget -= size
                return self.stems(items, views, what=what, needs=needs)
        if needs == {"pixels", "features"}:  # the frozen tower's features of the very views that are cropped
            known = self.features(items, views, what=what)
            found = self.pixels(known.items, views, what=f"{what} (crops)", needs=needs, known_good=True)
            return replace(found, features=known.features, skipped=known.skipped + found.skipped)
        if "pixels" not in needs:
            kind = "patch_states" if "patch_states" in needs else "patches"
            width = self.backbone.image_width if kind == "patch_states" else self.backbone.embed_dim
            size = 4 * len(names) * len(items) * (self.backbone.embed_dim + self.backbone.patches * width)
            if size <= self.budget:
                self.budget -= size
                return self.features(items, views, what=what, patches=kind)
        return self.pixels(items, views, what=what, needs=needs, known_good=known_good)

    # -- frozen features -------------------------------------------------------------------------

    def features(
        self, items: Sequence[Item], views: Views = Views(), *, what: str = "pictures", patches: str = ""
    ) -> FeatureInputs:
        """Image features of every view of every picture that can be read; patches: what of them is wanted beside."""
        kept, skipped, (features, *tokens) = self._frozen(items, views, what, patches or FEATURES)
        return FeatureInputs(
            labels_of(kept), kept, skipped, features, tokens[0] if tokens else None, patches or PATCHES
        )

    def stems(
        self,
        items: Sequence[Item],
        views: Views = Views(),
        *,
        what: str = "pictures",
        needs: Set[str] = frozenset({"pixels"}),
    ) -> StemInputs:
        """What the image tower's stem makes of every view of every picture that can be read."""
        kept, skipped, (features, stems) = self._frozen(items, views, what, STEM)
        return StemInputs(labels_of(kept), kept, skipped, stems, features if "features" in needs else None)

    def _frozen(
        self, items: Sequence[Item], views: Views, what: str, kind: str
    ) -> tuple[list[Item], list[tuple[str, str]], list[Tensor]]:
        """The pictures that can be read, those that cannot with the reason, and what the frozen image tower makes of
        them: [V, N, ...] features first, then patches or outputs of the stem."""
        names = views.names()
        kept: list[Item] = []
        skipped: list[tuple[str, str]] = []
        made: list[list[np.ndarray]] = []  # per picture, each [V, ...]
        progress = Progress(self.emit, what, len(items))
        for start in range(0, len(items), CHUNK):
            chunk = items[start : start + CHUNK]
            digests = file_hashes(self.cache or FeatureCache(False), self.dataset, chunk)
            held = self._known(digests, views, kind)
            todo = [
                (item, digest, [v for v in names if (digest, v) not in held])
                for item, digest in zip(chunk, digests, strict=True)
                if isinstance(digest, str) and any((digest, v) not in held for v in names)
            ]
            wrong = self._encode(todo, held, views.seed, kind, progress)
            for item, digest in zip(chunk, digests, strict=True):
                reason = digest if isinstance(digest, PictureError) else wrong.get(item)
                if reason is not None:
                    skipped.append((item.path, str(reason)))
                    self.emit({"event": "skipped", "path": item.path, "reason": str(reason)})
                    continue
                kept.append(item)
                rows = [held[str(digest), v] for v in names]
                made.append([np.stack(parts) for parts in zip(*rows, strict=True)])
            progress.to(start + len(chunk))
        if not made:
            return [], skipped, [torch.from_numpy(part) for part in self._nothing(len(names), kind)]
        whole = [torch.from_numpy(np.stack(parts, axis=1)) for parts in zip(*made, strict=True)]
        return kept, skipped, [part.to(self.backbone.device) for part in whole]

    def _nothing(self, views: int, kind: str) -> list[np.ndarray]:
        """What `_frozen` gives of no pictures."""
        features = np.zeros((views, 0, self.backbone.embed_dim), np.float32)
        return [features] if kind != STEM else [features, np.zeros((views, 0, 1, 1), np.float16)]

    def _key(self, digest: str, view: View, seed: int, kind: str) -> str:
        return feature_key(
            backbone=self.backbone.fingerprint,
            precision=str(self.backbone.dtype).removeprefix("torch."),
            preprocessing=str(self.backbone.preprocessing),
            view=view_key(view, seed),
            content=digest,
            kind=kind,
        )

    def _known(self, digests: Sequence[str | PictureError], views: Views, kind: str) -> dict[Any, Any]:
        """(digest, view) -> arrays that need not be made: features in the disk cache, others that an earlier run of this
        process has left in memory."""
        if self.cache is None:
            return {}
        wanted = [(d, v) for d in dict.fromkeys(digests) if isinstance(d, str) for v in views.names()]
        keys = [self._key(d, v, views.seed, kind) for d, v in wanted]
        found: list[tuple[Any, ...] | None] = [None] * len(keys)
        if kind == FEATURES:
            found = [None if value is None else (value,) for value in self.cache.get_many(keys)]
        elif self.cache.recent is not None:
            found = [self.cache.recent.get(key) for key in keys]
        return {pair: arrays for pair, arrays in zip(wanted, found, strict=True) if arrays is not None}

    def _encode(
        self, todo: Sequence[Wanted], held: dict[Any, Any], seed: int, kind: str, progress: Progress
    ) -> dict[Item, PictureError]:
        """Fills `held`; gives the pictures that cannot be decoded, with the reason."""
        wrong: dict[Item, PictureError] = {}
        waiting: list[tuple[str, View, np.ndarray]] = []
        fresh: list[tuple[str, np.ndarray]] = []

        def flush(at_least: int) -> None:
            while len(waiting) >= at_least and waiting:
                part = waiting[: self.batch]
                del waiting[: self.batch]
                pixels = to_pixels(
                    np.stack([crop for *_, crop in part]), self.backbone.preprocessing, self.backbone.device
                )
                rows = self._run_tower(pixels, kind)
                for i, (digest, view, _) in enumerate(part):
                    held[digest, view] = tuple(row[i] for row in rows)
                    key = self._key(digest, view, seed, kind)
                    if kind == FEATURES:
                        fresh.append((key, rows[0][i]))
                    elif self.cache is not None and self.cache.recent is not None:
                        self.cache.recent.put(key, held[digest, view])

        most = max((len(views) for *_, views in todo), default=1)
        step = max(1, min(max(self.batch, 8 * self.threads), 2048 // most))  # few crops wait at a time
        for start in range(0, len(todo), step):
            part = list(todo[start : start + step])
            for (item, digest, views), crops in zip(part, self.decode(part, seed), strict=True):
                if isinstance(crops, PictureError):
                    wrong[item] = crops
                    continue
                waiting += [(digest, view, crop) for view, crop in zip(views, crops, strict=True)]
            flush(self.batch)
            progress.add(len(part))
        flush(1)
        if self.cache is not None:
            self.cache.put_many(fresh)
        return wrong

    @torch.no_grad()
    def _run_tower(self, pixels: Tensor, kind: str) -> list[np.ndarray]:
        if kind == STEM:
            grids = self.backbone.stem(pixels)
            return [self.backbone.image_features(grids).cpu().numpy(), grids.half().cpu().numpy()]
        if kind == PATCH_STATES:
            return [part.float().cpu().numpy() for part in self.backbone.patch_states(pixels)]
        if kind == PATCHES:
            return [part.float().cpu().numpy() for part in self.backbone.patch_features(pixels)]
        return [self.backbone.image_features(pixels).float().cpu().numpy()]

    # -- pixels ----------------------------------------------------------------------------------

    def pixels(
        self,
        items: Sequence[Item],
        views: Views = Views(),
        *,
        what: str = "pictures",
        needs: Set[str] = frozenset({"pixels"}),
        known_good: bool = False,
    ) -> PixelInputs:
        """Crops of every view, kept if they fit. All pictures are decoded once, so that broken ones are
        known before the first step, unless they are known to be good and are not kept anyway."""
        names, size = views.names(), self.backbone.preprocessing.size
        needed = len(names) * len(items) * size * size * 3
        fits = needed <= self.budget
        self.budget -= needed if fits else 0
        kept: list[Item] = []
        keys: list[str] = []
        skipped: list[tuple[str, str]] = []
        held: list[np.ndarray] = []
        progress = Progress(self.emit, what, len(items))
        step = 8 * self.threads
        for start in range(0, len(items), step):
            chunk = items[start : start + step]
            digests = file_hashes(self.cache or FeatureCache(False), self.dataset, chunk)
            wanted = names if fits else names[:1]
            good = [(i, d, wanted) for i, d in zip(chunk, digests, strict=True) if isinstance(d, str)]
            survey = fits or not known_good
            decoded = iter(self.decode(good, views.seed) if survey else [[] for _ in good])
            for item, digest in zip(chunk, digests, strict=True):
                found = next(decoded) if isinstance(digest, str) else digest
                if isinstance(found, PictureError):
                    skipped.append((item.path, str(found)))
                    self.emit({"event": "skipped", "path": item.path, "reason": str(found)})
                    continue
                kept.append(item)
                keys.append(str(digest))
                if fits:
                    held.append(np.stack(found))
            progress.to(start + len(chunk))
        crops = np.stack(held, axis=1) if held else None
        return PixelInputs(labels_of(kept), kept, skipped, crops, self, views, keys, needs)

    def decode(self, wanted: Sequence[Wanted], seed: int) -> list[list[np.ndarray] | PictureError]:
        """uint8 crops [S, S, 3] of the named views of each picture, or why it cannot be read."""
        preprocessing = self.backbone.preprocessing

        def one(entry: Wanted) -> list[np.ndarray] | PictureError:
            item, digest, views = entry
            try:
                data = self.dataset.read(item)
                if hash_of(data) != digest:  # its features would be kept as those of the other
                    return PictureError(f"{item.path}: has changed since the run began")
                picture = open_picture(data, name=item.path)
            except PictureError as error:
                return error
            return [
                np.asarray(take_view(picture, preprocessing, v, seed=seed, identity=digest)) for v in views
            ]

        if self.threads == 1 or len(wanted) < 2:
            return [one(entry) for entry in wanted]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads)
        return list(self._pool.map(one, wanted))


def file_hashes(cache: FeatureCache, dataset: Dataset, items: Sequence[Item]) -> list[str | PictureError]:
    """Hash of each picture file, or why it cannot be read."""
    try:
        return list(cache.content_hashes(dataset, items))
    except PictureError:
        pass
    found: list[str | PictureError] = []
    for item in items:
        try:
            found.append(cache.content_hash(dataset, item))
        except PictureError as error:
            found.append(error)
    return found


class Progress:
    """Emits how many of how many pictures are done, a few times a second. pictures: False where steps are counted."""

    def __init__(self, emit: Emit, what: str, total: int, pictures: bool = True) -> None:
        self.emit, self.what, self.total, self.pictures = emit, what, total, pictures
        self.done, self._began, self._last = 0, time.monotonic(), 0.0
        self.to(0)

    def add(self, count: int) -> None:
        self.to(self.done + count)

    def to(self, done: int) -> None:
        before, self.done = self.done, max(self.done, min(done, self.total))
        now = time.monotonic()
        if before == self.done and done:  # said already
            return
        if now - self._last < 0.1 and 0 < self.done < self.total:
            return
        self._last = now
        record = {"event": "encoding", "what": self.what, "done": self.done, "total": self.total}
        if self.pictures:
            record["images_per_s"] = round(self.done / max(1e-9, now - self._began), 1)
        self.emit(record)


def labels_of(items: Sequence[Item]) -> Tensor:
    return torch.tensor([item.label for item in items], dtype=torch.long)
