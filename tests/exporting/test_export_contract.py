"""Every method becomes a file that computes what the run computes, for any number of pictures."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from support import run_info, tiny_backbone

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.data.task import Task
from vlprompt.runs.exporting import file_formats as formats
from vlprompt.runs.exporting.checking import in_torch, noise
from vlprompt.runs.exporting.export import export
from vlprompt.runs.run import Run

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

NAMES = ("cat", "golden retriever", "bird's nest", "annual crop land", "x-ray fish")
OPTIONS = {"proda": {"prompts": 4, "context_tokens": 2}, "vpt": {"image_tokens": 2}}


@lru_cache(maxsize=1)
def backbone() -> Backbone:
    return tiny_backbone(4, text_layers=2, vision_layers=2)


def run_of(name: str, **options: object) -> Run:
    """A run whose tensors are away from where they start."""
    spec = methods.load(name)
    known = OPTIONS.get(name.removesuffix("+lamm"), {}) | options
    method = spec.build(backbone(), Task(NAMES, shots=2), known, torch.Generator().manual_seed(1)).eval()
    generator = torch.Generator().manual_seed(2)
    if name.startswith("tip"):
        features = torch.nn.functional.normalize(torch.randn(1, 10, 96, generator=generator), dim=-1)
        method.prepare(features, torch.arange(10) % 5, features[0, :0], torch.arange(0))
    with torch.no_grad():
        for p in method.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.05)
    return Run(method, backbone(), run_info(method=name, class_names=list(method.task.class_names)))


@pytest.mark.parametrize("name", methods.names())
def test_every_method_as_onnx(name: str, tmp_path: Path) -> None:
    run = run_of(name)
    before = in_torch(run, noise(run, 5))
    found = export(run, tmp_path / "model.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    compute = formats.open_onnx(found.path)
    for batch in (1, 5):
        crops = noise(run, batch, seed=7)
        for got, wanted in zip(compute(crops), in_torch(run, crops), strict=True):
            assert got.shape == (batch, len(NAMES))
            np.testing.assert_allclose(got, wanted, atol=1e-4, rtol=0)
    assert found.difference.logits <= 1e-4 and found.difference.probabilities <= 1e-4
    after = in_torch(run, noise(run, 5))
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
