"""ProDA: the closed form against sampling, and which prompts a step uses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.methods.base import Batch
from vlprompt.methods.proda import orthogonality, upper_bound_logits
from vlprompt.prompts.interpreters.plain import Plain

NAMES = ("cat", "golden retriever", "bird's nest")


def build(seed: int = 1, names: tuple[str, ...] = NAMES, **options: Any) -> Any:
    generator = torch.Generator().manual_seed(seed)
    settings = {"prompts": 8, "context_tokens": 4, "prompt_batch": 2} | options
    return methods.load("proda").build(tiny_backbone(1), Task(names, shots=2), settings, generator)


def pictures(count: int = 4) -> Batch:
    return Batch(
        features=F.normalize(torch.randn(count, 96, generator=torch.Generator().manual_seed(3)), dim=-1)
    )


def example(spread: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures [5, 16], text features of 4 prompts and 6 classes, labels."""
    generator = torch.Generator().manual_seed(0)
    image = F.normalize(torch.randn(5, 16, generator=generator, dtype=torch.float64), dim=-1)
    middle = torch.randn(6, 16, generator=generator, dtype=torch.float64)
    each = F.normalize(
        middle + spread * torch.randn(4, 6, 16, generator=generator, dtype=torch.float64), dim=-1
    )
    return image, each, torch.tensor([0, 3, 5, 1, 1])


def sampled(
    image: torch.Tensor, each: torch.Tensor, labels: torch.Tensor, scale: float, divisor: float
) -> float:
    """Expected cross entropy of class vectors from the Gaussian: independent dimensions, correlated classes."""
    generator = torch.Generator().manual_seed(1)
    mean, total, rounds = each.mean(0), 0.0, 40
    away = (each - mean) / divisor**0.5
    for _ in range(rounds):
        draws = torch.randn(1000, len(each), each.shape[-1], generator=generator, dtype=each.dtype)
        weights = mean + torch.einsum("npd,pcd->ncd", draws, away)
        logits = scale * torch.einsum("bd,ncd->nbc", image, weights)
        total += float(F.cross_entropy(logits.flatten(0, 1), labels.repeat(1000)))
    return total / rounds


@pytest.mark.parametrize(("scale", "spread"), [(5.0, 0.2), (20.0, 0.05)])
def test_the_loss_is_a_close_upper_bound_of_the_expected_cross_entropy(scale: float, spread: float) -> None:
    image, each, labels = example(spread)
    for divisor in (5.0, 4.0, 3.0):
        bound = float(F.cross_entropy(upper_bound_logits(image, each, labels, scale, divisor), labels))
        expected = sampled(image, each, labels, scale, divisor)
        assert expected < bound < 1.1 * expected
    without = float(F.cross_entropy(scale * image @ each.mean(0).t(), labels))
    assert without < bound  # the spread of the prompts costs something


def test_variance_by_hand() -> None:
    image, each, labels = example(0.5)
    away = each - each.mean(0)
    s = torch.einsum("pcd,pjd->dcj", away, away) / 5  # covariance between classes, per dimension
    logits = upper_bound_logits(image, each, labels, 7.0, 5.0)
    for i, y in enumerate(labels.tolist()):
        for c in range(6):
            a = (image[i] ** 2 * (s[:, c, c] + s[:, y, y] - 2 * s[:, c, y])).sum()
            if c == y:
                assert float(a) == pytest.approx(0, abs=1e-12)
            expected = 7 * image[i] @ each.mean(0)[c] + 49 / 2 * a
            assert float(logits[i, c]) == pytest.approx(float(expected), abs=1e-9)


def test_a_step_teaches_its_own_prompts_and_all_take_their_turn() -> None:
    method = build().train()
    batch, labels = pictures(), torch.tensor([0, 1, 2, 1])
    turns = []
    for _ in range(8):
        chosen = method.chosen()
        terms = method.loss(method(batch), labels)
        method.zero_grad()
        terms["bound"].backward(retain_graph=True)
        touched = [p for p in range(8) if method.context.grad[p].abs().sum() > 0]
        assert touched == chosen and len(chosen) == 2
        method.zero_grad()
        terms["orthogonality"].backward()
        assert all(method.context.grad[p].abs().sum() > 0 for p in range(8))
        turns.append(chosen)
    for part in (turns[:4], turns[4:]):
        assert sorted(p for chosen in part for p in chosen) == list(range(8))
    assert turns[:4] != turns[4:]


def test_an_interrupted_training_goes_on_with_the_same_prompts() -> None:
    first, again = build(seed=1).train(), build(seed=2).train()
    for _ in range(3):
        first(pictures())
    again.load_state_dict(first.state_dict())
    for _ in range(6):
        assert first.chosen() == again.chosen()
        first(pictures()), again(pictures())


def test_positions_and_the_mean_classifier() -> None:
    """Every prompt by itself through the definition: front, front, middle, middle, then the name at the end."""
    method = build().eval()
    plain = Plain(method.backbone)
    with torch.no_grad():
        found = method(pictures())
        each = []
        for p in range(8):
            options = {"context_tokens": 4, "name_position": ("front", "middle", "end", "end")[p // 2]}
            coop = methods.load("coop").build(method.backbone, Task(NAMES), options)
            coop.context.copy_(method.context[p])
            each.append(plain.text(coop.texts()[0])[0])
        mean = torch.stack(each).mean(0)
    torch.testing.assert_close(found.text, mean, atol=2e-5, rtol=1e-4)
    assert found.text.norm(dim=-1).max() < 1
    torch.testing.assert_close(
        found.logits, method.backbone.logit_scale * pictures().features @ mean.t(), atol=2e-3, rtol=1e-4
    )
    with torch.no_grad():
        method.context.mul_(-5)
        assert not torch.allclose(method(pictures()).text, mean, atol=1e-3)  # nothing stale is kept


def test_orthogonality() -> None:
    g = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, -0.8]])
    assert float(orthogonality(g)) == pytest.approx((0 + 0.6 + 0.8) / 3)
    assert "orthogonality" not in build(prompts=1).train()(pictures()).extra
    assert build(prompts=1)._places == ["end"]


@pytest.mark.parametrize("reference", ["paper", "published_code"])
def test_lamm_on_top(reference: str) -> None:
    method = (
        methods.load("proda+lamm")
        .build(tiny_backbone(1), Task(NAMES), {"prompts": 8, "context_tokens": 4, "reference": reference})
        .train()
    )
    batch, labels = pictures(), torch.tensor([0, 1, 2, 1])
    output = method(batch)
    assert output.logits.shape == (4, 3) and output.extra["reference_logits"].shape == (4, 3)
    if reference == "published_code":  # before training both are the same prompts
        torch.testing.assert_close(output.logits, output.extra["reference_logits"], atol=2e-4, rtol=1e-4)
    method.total_loss(method.loss(output, labels)).backward()
    assert all(method.label_tokens.grad[c].norm() > 0 for c in range(3))
