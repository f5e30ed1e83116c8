"""The contract of a method, checked on random pictures: `check_method(MyMethod)`.

What every method promises beside its formula: it learns, and only its own tensors; it can be saved and
loaded; classes may be others or stand in another order; numbers stay finite; the fast forward pass
equals the plain one. The tests run these checks over every method of the library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.feeding.inputs import live_batch
from vlprompt.methods.base import Batch, Facts, Method
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.prompts.interpreters.fast import Fast
from vlprompt.prompts.interpreters.plain import Plain
from vlprompt.training.optimizers import make_optimizer

NAMES = ("cat", "golden retriever", "bird's nest", "annual crop land", "x-ray fish")
OTHERS = ("tic-tac-toe", "cat", "a very long name of seven tokens")
LABELS = (0, 2, 4, 1)  # of the four pictures
TOLERANCE = 1e-4  # fast against plain, in values and gradients


@dataclass(frozen=True)
class Subject:
    """The method that is checked: its name or class, a backbone, options, and steps of the long training."""

    method: str | type[Method]
    backbone: Backbone
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 200

    def build(self, names: Sequence[str] = NAMES, seed: int = 1, backbone: Backbone | None = None) -> Method:
        generator = torch.Generator().manual_seed(seed)
        task = Task(tuple(names), shots=4)
        return methods.load(self.method).build(backbone or self.backbone, task, self.options, generator)

    @property
    def facts(self) -> Facts:
        return methods.load(self.method).facts_with(self.options)


def check_method(
    method: str | type[Method],
    backbone: Backbone | None = None,
    options: dict[str, Any] | None = None,
    steps: int = 200,
) -> None:
    """Runs all checks; AssertionError says what does not hold.

    method: a name or a class. backbone: the embedded one if not given. options: of the method, by name.
    steps: length of the training that has to stay finite.
    """
    if backbone is None:
        from vlprompt.backbones.loading import load_backbone

        backbone = load_backbone("embedded", device="cpu")
    subject = Subject(method, backbone, dict(options or {}), steps)
    for check in CHECKS:
        check(subject)


# -- the checks --------------------------------------------------------------------------------------


def declares_itself(subject: Subject) -> None:
    """A title, a source, a cost; and learned numbers if and only if it says that it learns."""
    facts, method = subject.facts, subject.build()
    _hold(
        bool(facts.title and facts.paper and facts.per_step),
        f"{method_name(subject)} lacks a title, paper or per_step in its facts",
    )
    _hold(method.facts == facts, f"{facts.title}: what is built has other facts than were told before")
    count = method.trainable_parameters()
    _hold((count > 0) == facts.learns, f"{facts.title}: learns is {facts.learns}, learned numbers: {count}")


def learns_only_its_own(subject: Subject) -> None:
    """The loss falls in a few steps, own tensors change, the backbone stays as it is bit for bit."""
    if not subject.facts.learns:
        return
    backbone, method = subject.backbone, subject.build()
    frozen = backbone.parameters()
    before = [p.clone() for p in frozen]
    start = {n: p.detach().clone() for n, p in method.named_parameters()}
    losses = take_steps(method, 6)
    _hold(
        losses[-1] < losses[0],
        f"{method.facts.title}: the loss does not fall: {losses[0]:.4f} to {losses[-1]:.4f}",
    )
    _hold(
        all(torch.equal(a, b) for a, b in zip(before, frozen, strict=True)),
        f"{method.facts.title} changed the backbone",
    )
    changed = [n for n, p in method.named_parameters() if not torch.equal(p.detach(), start[n])]
    _hold(bool(changed), f"{method.facts.title}: no tensor changed in six steps")


def is_saved_and_loaded(subject: Subject) -> None:
    """The state holds its own tensors and no tower, and gives equal logits when it is loaded again."""
    if not subject.facts.learns:
        return
    method = subject.build()
    take_steps(method, 2)
    state = method.state_dict()
    towers = sum(p.numel() for p in subject.backbone.parameters())
    _hold(
        {n for n, _ in method.named_parameters()} <= set(state),
        f"{method.facts.title}: learned tensors are not saved",
    )
    _hold(
        sum(t.numel() for t in state.values()) < towers,
        f"{method.facts.title} saves a tower; keep it out of the state",
    )
    again = subject.build(seed=9)
    again.load_state_dict(state)
    _same(
        logits_of(again), logits_of(method), f"{method.facts.title}: loaded again, it gives other logits", 0
    )


def takes_other_classes(subject: Subject) -> None:
    """`for_classes` keeps what was learned; a class that both lists have keeps its logit."""
    method = subject.build()
    if method.facts.learns:
        take_steps(method, 2)
    held = {n: t.clone() for n, t in method.state_dict().items()}
    if not method.facts.takes_new_names:
        try:
            method.for_classes(OTHERS)
        except OptionError:
            some = logits_of(method.for_classes(NAMES[1:3]))
            _same(
                some,
                logits_of(method)[:, 1:3],
                f"{method.facts.title}: fewer classes have other logits",
                2e-4,
            )
            return
        raise AssertionError(
            f"{method.facts.title} says takes_new_names = False, and takes new names all the same"
        )
    found = logits_of(method.for_classes(OTHERS))
    _hold(
        found.shape == (len(LABELS), len(OTHERS)),
        f"{method.facts.title}: logits of shape {tuple(found.shape)}",
    )
    _hold(
        bool(torch.isfinite(found).all()),
        f"{method.facts.title}: other classes have logits that are not finite",
    )
    kept = all(torch.equal(t, held[n]) for n, t in method.state_dict().items())
    _hold(kept, f"{method.facts.title}: for_classes changed what was learned")
    if method.facts.independent_classes:
        _same(
            found[:, 1],
            logits_of(method)[:, 0],
            f"{method.facts.title}: a class's logit depends on the others",
            2e-4,
        )


def order_of_classes_does_not_matter(subject: Subject) -> None:
    """Permuting the classes permutes the logits."""
    method = subject.build()
    if method.facts.learns:
        take_steps(method, 2)
    order = [3, 0, 4, 2, 1]
    other = method.for_classes([NAMES[i] for i in order])
    _same(
        logits_of(other),
        logits_of(method)[:, order],
        f"{method.facts.title}: logits depend on the order of classes",
        2e-4,
    )


def stays_finite(subject: Subject) -> None:
    """A long training without NaN, with the towers in float32 and in bf16; what learns stays float32."""
    if not subject.facts.learns:
        return
    own = subject.backbone
    half = replace(own, text=deepcopy(own.text), image=deepcopy(own.image)).to(own.device, torch.bfloat16)
    for on in (own, half):
        method = subject.build(backbone=on)
        losses = take_steps(method, subject.steps, lr=method.facts.recipe.lr)
        _hold(
            bool(torch.isfinite(torch.tensor(losses)).all()),
            f"{method.facts.title}: a loss is not finite on {on.dtype}",
        )
        good = all(torch.isfinite(p).all() and p.dtype == torch.float32 for p in method.parameters())
        _hold(
            bool(good), f"{method.facts.title}: learned tensors are not finite, or not float32, on {on.dtype}"
        )


def same_seed_same_numbers(subject: Subject) -> None:
    """Everything random comes from the generator that the method was given."""
    if not subject.facts.learns:
        return
    first, second = subject.build(seed=7), subject.build(seed=7)
    _hold(
        take_steps(first, 3) == take_steps(second, 3),
        f"{first.facts.title}: the same seed gives other losses",
    )
    same = all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    _hold(same, f"{first.facts.title}: the same seed gives other tensors")


def starts_where_it_says(subject: Subject) -> None:
    """With `zero_shot_start`, logits before training are those of the class names alone."""
    if subject.facts.zero_shot_start:
        zero_shot = ZeroShot(subject.backbone, Task(NAMES))
        method = subject.build()
        _same(
            logits_of(method),
            logits_of(zero_shot),
            f"{method.facts.title} does not start from zero-shot",
            2e-4,
        )


def fast_equals_plain(subject: Subject) -> None:
    """The fast forward pass and the plain one agree in values and gradients."""
    if subject.facts.learns:
        assert_fast_equals_plain(subject.build())


CHECKS: tuple[Callable[[Subject], None], ...] = (
    declares_itself,
    learns_only_its_own,
    is_saved_and_loaded,
    takes_other_classes,
    order_of_classes_does_not_matter,
    same_seed_same_numbers,
    starts_where_it_says,
    fast_equals_plain,
    stays_finite,
)


# -- what they share ---------------------------------------------------------------------------------


def method_name(subject: Subject) -> str:
    return methods.name_of(subject.method)


def random_batch(method: Method, pictures: int = len(LABELS), seed: int = 2) -> Batch:
    """Random pixels, or what the frozen image tower makes of them, as the method needs it."""
    backbone, side = method.backbone, method.backbone.preprocessing.size
    pixels = torch.randn(pictures, 3, side, side, generator=torch.Generator().manual_seed(seed)).to(
        backbone.device
    )
    return live_batch(backbone, method.facts.needs, pixels)


def logits_of(method: Method) -> Tensor:
    with torch.no_grad():
        return method.eval()(random_batch(method)).logits


def take_steps(method: Method, count: int, lr: float = 0.002) -> list[float]:
    """Trains on one batch of four pictures; the losses, the first before anything was learned."""
    batch, losses = random_batch(method), []
    labels = torch.tensor(LABELS, device=method.backbone.device)

    def loss() -> Tensor:
        return method.total_loss(method.loss(method(batch), labels))

    method.train()
    if batch.features is not None and (not method.facts.trains or type(method).prepare is not Method.prepare):
        losses.append(float(loss().detach()))
        features = batch.features
        method.prepare(features[None], labels, features[:0], labels[:0])
    optimizer = make_optimizer("sgd", method.parameters(), lr=lr)
    for _ in range(count if method.facts.trains else 0):
        total = loss()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    if not method.facts.trains:
        losses.append(float(loss().detach()))
    method.eval()
    return losses


def assert_fast_equals_plain(
    method: Method, pictures: int = 3, make: Callable[[Backbone], Any] = Fast
) -> None:
    """One step under the plain interpreter and one under `make`: outputs, loss terms and gradients agree."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # away from the start, where some terms and gradients are zero
        for p in method.parameters():
            p.add_((torch.randn(p.shape, generator=generator) * 0.05).to(p.device))
    labels = torch.arange(pictures, device=method.backbone.device) % len(method.task.class_names)
    batch = random_batch(method, pictures, seed=5)
    state = {n: t.clone() for n, t in method.state_dict().items()}
    plain_values, plain_gradients = _step(method, batch, labels, Plain)
    method.load_state_dict(state)  # both begin at the same step, if the method counts them
    fast_values, fast_gradients = _step(method, batch, labels, make)
    for name, value in plain_values.items():
        _same(fast_values[name], value, f"{method.facts.title}: {name} of fast and plain differ", TOLERANCE)
    _hold(
        fast_gradients.keys() == plain_gradients.keys(),
        f"{method.facts.title}: fast and plain have other gradients",
    )
    for name, gradient in plain_gradients.items():
        scale = max(1.0, float(gradient.abs().max()))
        said = f"{method.facts.title}: gradients of {name} differ between fast and plain"
        _same(fast_gradients[name] / scale, gradient / scale, said, TOLERANCE)


def _step(
    method: Method, batch: Batch, labels: Tensor, make: Callable[[Backbone], Any]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs and gradients of one step under an interpreter."""
    for part in method.modules():
        if isinstance(part, Method):
            part.interpreter = make(part.backbone)
    method.train().zero_grad()
    output = method(batch)
    terms = method.loss(output, labels)
    total = method.total_loss(terms)
    total.backward()
    values = {"logits": output.logits, "text": output.text, "image": output.image, "loss": total, **terms}
    gradients = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
    return {k: v.detach().clone() for k, v in values.items()}, {k: g.clone() for k, g in gradients.items()}


def _same(found: Tensor, expected: Tensor, said: str, tolerance: float) -> None:
    torch.testing.assert_close(
        found, expected, atol=tolerance, rtol=min(tolerance, 1e-4), msg=lambda text: f"{said}\n{text}"
    )


def _hold(fact: bool, said: str) -> None:
    if not fact:
        raise AssertionError(said)
