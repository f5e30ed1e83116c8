"""A method of the library beside its formula in `by_hand.py`: same tensors, same pictures, values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from by_hand import Clip
from support import tiny_backbone, tiny_weights
from torch import Tensor

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.methods.base import Batch, Method
from vlprompt.prompts.interpreters.fast import Fast
from vlprompt.prompts.interpreters.plain import Plain

NAMES = ("cat", "golden retriever", "bird's nest", "annual crop land")
TEMPLATE = "a photo of a {}, a type of thing."
LABELS = torch.tensor([2, 0, 3])
TOLERANCE = 2e-5  # of values, and of gradients beside the largest of a tensor

Formula = Callable[[Clip, Mapping[str, Tensor], Tensor, Tensor], dict[str, Tensor]]


def build(
    name: str, options: Mapping[str, Any], template: str = TEMPLATE, plain: bool = False, **sizes: int
) -> Method:
    """The method with every tensor moved away from where it starts, where terms and gradients may be zero."""
    backbone = tiny_backbone(3, **sizes)
    generator = torch.Generator().manual_seed(5)
    method = methods.load(name).build(backbone, Task(NAMES, (template,), 4), dict(options), generator)
    with torch.no_grad():
        for value in method.parameters():
            value.add_(torch.randn(value.shape, generator=generator) * 0.1)
    method.interpreter = (Plain if plain else Fast)(backbone)
    return method


def pixels() -> Tensor:
    return torch.randn(len(LABELS), 3, 32, 32, generator=torch.Generator().manual_seed(6))


def check(
    name: str,
    options: Mapping[str, Any],
    formula: Formula,
    *,
    weights: Mapping[str, float],
    logits: str = "logits",
    factors: Mapping[str, float] | None = None,
    plain: bool = False,
    template: str = TEMPLATE,
    prepare: Callable[[Method], None] = lambda method: None,
    **sizes: int,
) -> Method:
    """Logits, loss terms, their sum and the gradients of all learned tensors.

    weights: of the loss terms, by name; factors: what our terms are of the formula's, 1 if not given. logits: the name
    under which the formula gives those that the method answers with. prepare: what the method needs before it runs.
    """
    method = build(name, options, template, plain, **sizes)
    prepare(method)
    clip = Clip(tiny_weights(3, **sizes), method.backbone.tokenizer.encode)
    own = dict(method.named_parameters())
    params = {
        theirs: own[ours].detach().clone().requires_grad_()
        for theirs, ours in method.published_names().items()
    }
    assert sorted(method.published_names().values()) == sorted(own), "some tensors have no published name"

    expected = formula(clip, params, pixels(), LABELS)
    factors = factors or {}
    terms = {term: factors.get(term, 1.0) * expected[f"loss_{term}"] for term in weights}
    total = torch.stack([weights[term] * value for term, value in terms.items()]).sum()
    total.backward()

    method.train()
    output = method(Batch(pixels=pixels()))
    found = method.loss(output, LABELS)
    method.total_loss(found).backward()
    close(output.logits, expected[logits], "logits")
    assert set(found) == set(terms)
    for term, value in terms.items():
        close(found[term], value, term)
    close(method.total_loss(found), total, "loss")
    for theirs, ours in method.published_names().items():
        gradient = params[theirs].grad
        assert gradient is not None and own[ours].grad is not None, theirs
        scale = max(1.0, float(gradient.abs().max()))
        close(own[ours].grad / scale, gradient / scale, f"gradient of {theirs}")
    return method


def close(found: Tensor, expected: Tensor, said: str) -> None:
    scale = max(1.0, float(expected.detach().abs().max()))
    torch.testing.assert_close(
        found.detach() / scale,
        expected.detach() / scale,
        atol=TOLERANCE,
        rtol=0,
        msg=lambda text: f"{said}\n{text}",
    )
