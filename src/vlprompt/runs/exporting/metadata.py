"""What an exported file says about itself: classes, how pictures get their size, where it comes from."""

from __future__ import annotations

import json
from typing import Any

import vlprompt
from vlprompt.runs.run import Run

FORMAT = 1


def describe(run: Run, pixels: str) -> dict[str, Any]:
    """Plain JSON values by name. Preprocessing up to the crop is the caller's; normalisation is in the file."""
    preprocessing, backbone = run.backbone.preprocessing, run.backbone
    size = preprocessing.size
    shape = ["batch", size, size, 3] if pixels == "uint8" else ["batch", 3, size, size]
    found = {
        "format": FORMAT,
        "vlprompt": vlprompt.__version__,
        "method": run.info.method,
        "class_names": list(run.class_names),
        "templates": list(run.method.task.templates),
        "backbone": {"source": backbone.name, "fingerprint": backbone.fingerprint},
        "input": {
            "name": "pictures",
            "dtype": "uint8" if pixels == "uint8" else "float32",
            "shape": shape,
            "colours": "RGB",
            "values": [0, 255] if pixels == "uint8" else [0, 1],
        },
        "preprocessing": {
            "resize": preprocessing.resize,
            "shorter": preprocessing.shorter or size,
            "size": size,
            "interpolation": preprocessing.interpolation,
            "crop": "centre" if preprocessing.resize == "shortest" else None,
            "inside": {"mean": list(preprocessing.mean), "std": list(preprocessing.std)},
        },
        "outputs": ["logits", "probabilities"],
        "temperature": run.temperature,
    }
    labels = run.info.labels
    if labels is not None and run.shown is None:
        found["labels"] = labels
    return found


def as_texts(values: dict[str, Any]) -> dict[str, str]:
    """The values as JSON texts, for files that hold texts only."""
    return {f"vlprompt.{name}": json.dumps(value, ensure_ascii=False) for name, value in values.items()}


def from_texts(texts: dict[str, str]) -> dict[str, Any]:
    """What `as_texts` wrote, among other entries perhaps."""
    start = "vlprompt."
    return {name[len(start) :]: json.loads(text) for name, text in texts.items() if name.startswith(start)}
