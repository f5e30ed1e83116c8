"""Valid and hostile inputs that the fuzzer starts from, and the small run and cache that it damages."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS / "faults"))
from hostile_pictures import KINDS  # noqa: E402

CANARY = Path("canary")  # what hostile checkpoints would make
KEYS = [f"key{number}" for number in range(40)]


def picture(kind: str, mode: str = "RGB", **more: Any) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind, **more)
    return out.getvalue()


def pictures(folder: Path) -> Iterator[bytes]:
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA", "PCX"):
        yield picture(kind)
    for mode in ("P", "L", "1", "RGBA", "LA", "I;16"):
        yield picture("PNG", mode)
    yield picture("TIFF", "CMYK")
    yield picture("TIFF", "F", compression="tiff_lzw")
    yield picture("JPEG", "CMYK")
    exif = Image.Exif()
    exif[0x0112] = 6
    yield picture("JPEG", exif=exif)
    yield b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 7\n"
    yield picture("JPEG", progressive=True)
    yield picture("JPEG2000")
    yield picture("AVIF") if features.check("avif") else b""
    for make in KINDS.values():  # a small one of each kind that costs more than its size
        data = make(1e-4)
        if len(data) < 20_000:
            yield data


def archives(folder: Path) -> Iterator[bytes]:
    names = ("a/1.png", "a/2.png", "b/1.png", "b/2.png")
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", kind) as archive:
            for name in names:
                archive.writestr(name, picture("PNG"))
        yield out.getvalue()
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode=mode, format=form) as archive:
                for name in (*names, "../out.png", "long/" * 40 + "é.png")[: 6 if mode == "w" else 4]:
                    info = tarfile.TarInfo(name)
                    info.size = 5
                    archive.addfile(info, io.BytesIO(b"12345"))
                link = tarfile.TarInfo("a/link.png")
                link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(link)
            yield out.getvalue()


def lists(folder: Path) -> Iterator[bytes]:
    yield b"xpath,label,split\na.jpg,cat,train\nb.jpg,dog,test\n"
    yield b"xa.jpg;cat\nb.jpg;dog\n"
    yield b'x{"path": "a.jpg", "label": "cat"}\n{"path": "b.jpg", "label": "\\ud800", "domain": null}\n'
    yield b'x[{"path": "a.jpg", "label": 1}, {"path": "b.jpg", "label": 1e999}]'
    yield b'x{"train": [["a.jpg", 0, "cat"]], "test": [["b.jpg", 1, "dog"]]}'
    yield b'xpath,label\n/dev/zero,cat\nb.jpg,"do""g"\n'
    yield b"x" + b"[" * 3000
    yield b's{"train": [["1.jpg", 0, "cat"], ["2.jpg", Infinity, "dog"]]}'
    yield b"ca\tcat\nb\tdog\n# no\n"
    yield b'c"a,b\n'


def json_readers(folder: Path) -> Iterator[bytes]:
    yield b'l{"event": "step", "epoch": 1, "step": 2}\n{"event": "epoch"}\n[1]\n'
    yield b'r{"protocol": "few_shot", "method": "coop", "accuracy": 1.0}\n' + b"[" * 3000
    yield b'x{"title": "t", "method": "coop", "options": {"context_tokens": 4}, "train": {"epochs": 5}}'
    yield b'x{"method": "coop", "options": [], "train": 1}'


def sweeps(folder: Path) -> Iterator[bytes]:
    yield b'methods = ["zeroshot", "coop"]\ndata = ["demo"]\nshots = [1, 4]\nseeds = [1, 2]\n[train]\nepochs = 2\n'
    yield (
        b'methods = "coop+lamm"\ndata = ["x", "y"]\nprotocols = ["few_shot", "base_to_new", "cross_dataset"]\n'
        b'[method."coop+lamm"]\noptions = { context_tokens = 4 }\n[dataset.x]\npath = "p.zip"\n'
        b'templates = ["a {}."]\n[protocol.base_to_new]\nshots = [16]\n'
    )
    yield b"methods = " + b"[" * 3000
    yield b'methods = ["coop"]\ndata = [1]\ncache = 3\nruns = 5\nbackbone = []\ntrain = 2\n'


@lru_cache(maxsize=1)
def backbone() -> Any:
    sys.path.insert(0, str(TESTS))
    from support import tiny_backbone

    return tiny_backbone()


@lru_cache(maxsize=1)
def _run() -> dict[str, bytes]:
    import tempfile

    from vlprompt.fitting.learning import fit

    sys.path.insert(0, str(TESTS))
    from small_data import picture_folder

    with tempfile.TemporaryDirectory() as place:
        data = picture_folder(Path(place) / "data", {"train": 2, "test": 1})
        fit(
            data,
            "coop+lamm",
            shots=1,
            backbone=backbone(),
            out=Path(place) / "run",
            cache=False,
            train={"epochs": 1, "batch": 2, "views": 1},
        )
        return {path.name: path.read_bytes() for path in (Path(place) / "run").iterdir()}


def run_folder(folder: Path) -> Path:
    """A small run, made once."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in _run().items():
        (folder / name).write_bytes(data)
    return folder


def rehash(folder: Path) -> None:
    info = json.loads((folder / "run.json").read_text())
    info["tensors"]["sha256"] = hashlib.sha256((folder / "prompts.safetensors").read_bytes()).hexdigest()
    (folder / "run.json").write_text(json.dumps(info))


def runs(folder: Path) -> Iterator[bytes]:
    held = _run()
    yield b"i" + held["run.json"]
    short = json.loads(held["run.json"])
    keys = (
        "method",
        "options",
        "class_names",
        "templates",
        "task_shots",
        "backbone",
        "tensors",
        "format",
        "shown_classes",
    )
    yield b"i" + json.dumps({key: short[key] for key in keys}).encode()
    yield b"t" + held["prompts.safetensors"]
    yield b"l" + held["log.jsonl"][:2000]
    yield b"i" + b"[" * 3000


class Hostile:
    """What a malicious file holds: unpickling it the usual way makes the canary."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(CANARY), "w"))


def checkpoints(folder: Path) -> Iterator[bytes]:
    import torch

    state = {"prompt_learner.ctx": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.float16)}
    for content in (state, {"state_dict": state, "epoch": 3}, {"state_dict": state, "evil": Hostile()}):
        out = io.BytesIO()
        torch.save(content, out)
        yield out.getvalue()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"state_dict": Hostile()}))
        archive.writestr("a/constants.pkl", b"")
    yield out.getvalue()
    yield pickle.dumps(Hostile())
    out = io.BytesIO()
    torch.save(state, out, _use_new_zipfile_serialization=False)
    yield out.getvalue()


def value_of(key: str) -> np.ndarray:
    return np.full(50, float(key.removeprefix("key")), np.float32)


def cache_file(folder: Path) -> Path:
    """A feature cache of KEYS, as it lies on disk when nobody has it open."""
    from vlprompt.feeding.feature_cache import FeatureCache

    kept = folder.with_suffix(".kept")
    if not kept.exists():
        cache = FeatureCache(folder)
        cache.put_many([(key, value_of(key)) for key in KEYS])
        path = cache.path
        cache.close()
        assert path is not None
        kept.write_bytes(path.read_bytes())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / "features-1.sqlite"
    path.write_bytes(kept.read_bytes())
    return path


def cache(folder: Path) -> Iterator[bytes]:
    yield b"1234"
    yield bytes(range(64))


SEEDS = {
    "pictures": pictures,
    "archives": archives,
    "lists": lists,
    "json_readers": json_readers,
    "sweeps": sweeps,
    "runs": runs,
    "checkpoints": checkpoints,
    "cache": cache,
}
