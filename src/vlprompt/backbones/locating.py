"""What the user named to files on disk: "embedded", a folder, a file, or a model on the hub."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from vlprompt.backbones.weights.hybrid_clip import FORMAT
from vlprompt.errors import BackboneError, OptionError, nearest
from vlprompt.files import read_json
from vlprompt.hub_access import HUB_ID, PREFIX, plain_errors

# OpenAI's own names, and where the hub keeps these weights.
NAMED = {
    "ViT-B/32": "openai/clip-vit-base-patch32",
    "ViT-B/16": "openai/clip-vit-base-patch16",
    "ViT-L/14": "openai/clip-vit-large-patch14",
    "ViT-L/14@336px": "openai/clip-vit-large-patch14-336",
    "RN50": "timm/resnet50_clip.openai",
    "RN101": "timm/resnet101_clip.openai",
    "RN50x4": "timm/resnet50x4_clip.openai",
    "RN50x16": "timm/resnet50x16_clip.openai",
    "RN50x64": "timm/resnet50x64_clip.openai",
}
LIKE_NAMED = re.compile(
    r"(vit-?\w{1,2}|rn\d+\w*)/\S*", re.IGNORECASE
)  # no id of the hub, but a misspelled name
SMALL_FILES = [
    "config.json",
    "open_clip_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
]
# Best first. Where both are there, safetensors are read.
WEIGHTS = {
    "hybrid": ["model.safetensors"],
    "huggingface": [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ],
    "open_clip": [
        "open_clip_model.safetensors",
        "open_clip_model.safetensors.index.json",
        "open_clip_pytorch_model.bin",
        "model.safetensors",
        "pytorch_model.bin",
    ],
}


def locate(source: str | Path, revision: str | None = None) -> Path:
    """A file or folder that holds weights, fetched from the hub if it has to be.

    Raises OptionError for what is neither, BackboneError for what cannot be fetched.
    """
    name = str(source)
    if name == "embedded":
        folder = Path(str(files("vlprompt") / "assets" / "embedded"))
        if not (folder / "config.json").is_file():
            raise BackboneError("this installation has no embedded backbone: install vlprompt again")
        return folder
    path = Path(source).expanduser()
    if path.exists():
        return path
    wanted = hub_name(name)
    return fetch(wanted.removeprefix(PREFIX), revision, wanted.startswith(PREFIX))


def hub_name(name: str) -> str:
    """What the hub calls a model that is no path, with its prefix if it has one; nothing is fetched.

    Raises OptionError for what can be no name.
    """
    wanted = NAMED.get(name, name)
    mistaken = LIKE_NAMED.fullmatch(wanted) is not None  # a user of the hub called so needs the prefix
    file = Path(name).suffix in (".pt", ".pth", ".ckpt", ".safetensors", ".bin")
    if mistaken or file or not HUB_ID.fullmatch(wanted.removeprefix(PREFIX)):
        raise OptionError(
            f'no backbone "{name}": {nearest(name, ["embedded", *NAMED])}, '
            "or a folder, an OpenAI .pt file, or the id of a CLIP on the Hugging Face hub"
        )
    return wanted


def layout_of(folder: Path, prefer_open_clip: bool = False) -> str:
    """Which of WEIGHTS a folder holds; one that is both is read as Hugging Face's unless told otherwise."""
    has_open_clip = (folder / "open_clip_config.json").is_file()
    config = folder / "config.json"
    if has_open_clip and prefer_open_clip:
        return "open_clip"
    if config.is_file():
        try:
            stated = read_json(config)
            kind, own = stated.get("model_type"), stated.get("format")
        except (OSError, ValueError, AttributeError) as error:
            raise BackboneError(f"cannot read {config}: {error}") from error
        if own == FORMAT:
            return "hybrid"
        if kind == "clip" or not has_open_clip:
            return "huggingface"
    if has_open_clip:
        return "open_clip"
    raise BackboneError(
        f"{folder} has neither config.json (Hugging Face) nor open_clip_config.json, so its sizes are unknown"
        f"{inner_folder(folder)}"
    )


def inner_folder(folder: Path) -> str:
    """Words that name a folder inside that would do, such as sentence-transformers' 0_CLIPModel or the latest checkpoint
    of a Trainer; "" if there is none."""

    def number(path: Path) -> tuple[int, str]:
        last = re.search(r"(\d+)$", path.name)
        return int(last[1]) if last else -1, path.name

    names = ("config.json", "open_clip_config.json")
    good = [
        inner
        for inner in (*folder.glob("*/"), *folder.glob("*/*/"))
        if any((inner / name).is_file() for name in names)
        and any((inner / name).is_file() for kind in WEIGHTS.values() for name in kind)
    ]
    return f"; {max(good, key=number)} would do" if good else ""


def json_object(path: Path) -> dict[str, Any]:
    """A file that holds a JSON object. Raises BackboneError."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise BackboneError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise BackboneError(f"{path} is no JSON object")
    return content


def weights_in(folder: Path, layout: str) -> Path:
    for name in WEIGHTS[layout]:
        if (folder / name).is_file():
            return folder / name
    raise BackboneError(
        f"{folder} has no weights: none of {', '.join(WEIGHTS[layout])} is there{inner_folder(folder)}"
    )


def fetch(model: str, revision: str | None, prefer_open_clip: bool) -> Path:
    """Downloads a model's small files, then the best of its weight files; gives the local folder.

    Files already in huggingface_hub's cache are used; HF_HUB_OFFLINE=1 uses nothing else.
    """
    from huggingface_hub import snapshot_download

    with plain_errors(model):
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=SMALL_FILES))
        layout = layout_of(folder, prefer_open_clip)
        for name in WEIGHTS[layout]:
            patterns = [name]
            if name.endswith(".index.json"):
                stem, kind = name.removesuffix(".index.json").rsplit(".", 1)
                patterns.append(f"{stem}-*-of-*.{kind}")
            # The same commit as before, should the model change in between.
            folder = Path(snapshot_download(model, revision=folder.name, allow_patterns=patterns))
            if (folder / name).is_file():
                return folder
    raise BackboneError(f'"{model}" on the hub has no weights: none of {", ".join(WEIGHTS[layout])} is there')
