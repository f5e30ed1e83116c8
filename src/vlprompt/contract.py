"""The contract of a method, checked on random pictures: `check_method(MyMethod)`.

What every method promises beside its formula: it learns, and only its own tensors; it can be saved and
loaded; classes may be others or stand in another order; numbers stay finite; the fast forward pass
equals the plain one; what its facts say is so. The tests run these checks over every method of the library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.data.task import Task
from vlprompt.errors import OptionError, nearest
from vlprompt.feeding.inputs import live_batch
from vlprompt.methods.base import Batch, Facts, Method
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.prompts.interpreters.fast import Fast
from vlprompt.prompts.interpreters.plain import Plain
from vlprompt.prompts.tokens import TextPrompt
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


class BrokenPromises(AssertionError):
    """Checks of a method that do not hold. failures: name of each check -> what it found."""

    def __init__(self, method: str, failures: Mapping[str, str]) -> None:
        self.failures = dict(failures)
        lines = "\n".join(f"- {name}: {said}" for name, said in self.failures.items())
        count = "1 check does" if len(self.failures) == 1 else f"{len(self.failures)} checks do"
        super().__init__(f"{method}: {count} not hold\n{lines}")


def check_method(
    method: str | type[Method],
    backbone: Backbone | None = None,
    options: dict[str, Any] | None = None,
    steps: int = 200,
    *,
    expected: Mapping[str, str] | None = None,
) -> None:
    """Runs all checks; BrokenPromises, an AssertionError, lists everything that does not hold.

    method: a name or a class. backbone: the embedded one if not given. options: of the method, by name.
    steps: length of the training that has to stay finite. expected: checks that are known not to hold, with the
    reason; one of them that does hold is listed too. OptionError for the name of no check.
    """
    if backbone is None:
        from vlprompt.backbones.loading import load_backbone

        backbone = load_backbone("embedded", device="cpu")
    subject = Subject(method, backbone, dict(options or {}), steps)
    reasons = dict(expected or {})
    known = {check.__name__ for check in CHECKS}
    for name, reason in reasons.items():
        if name not in known:
            raise OptionError(f'no check "{name}": {nearest(name, known)}')
        if not reason.strip():
            raise OptionError(f"expected: say why {name} does not hold")
    failures: dict[str, str] = {}
    for check in CHECKS:
        name = check.__name__
        try:
            check(subject)
        except Exception as error:
            if name not in reasons:
                told = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
                failures[name] = told
            continue
        if name in reasons:
            failures[name] = f"it holds, though it was expected not to ({reasons[name]})"
    if failures:
        raise BrokenPromises(method_name(subject), failures)


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
    try:
        other = method.for_classes(OTHERS)
    except OptionError as error:
        _hold(
            not method.facts.takes_new_names,
            f"{method.facts.title} says takes_new_names = True, and refuses new names: {error}",
        )
        other = None
    if not method.facts.takes_new_names:
        if other is None:
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
    assert other is not None
    found = logits_of(other)
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


def says_what_its_texts_are(subject: Subject) -> None:
    """Texts hold class names if its facts say so, and differ by picture if and only if they say so."""
    method, title = subject.build().eval(), subject.facts.title
    move_away(method)
    batch, other = random_batch(method), random_batch(method, seed=6)
    with torch.no_grad():
        texts = method.texts(method.see(batch))
        first, second = method(batch).text, method(other).text
    if methods.load(subject.method).wrapper is None:
        held = any(isinstance(text, TextPrompt) and text.holds_names for text in texts)
        said = subject.facts.prompts_hold_names  # a method may have other reasons to say that it does not
        _hold(held or not said, f"{title}: prompts_hold_names is True, and no text of it holds any")
    differ = first.dim() == 3 and not torch.equal(first, second)
    if subject.facts.per_image_text:
        _hold(differ, f"{title}: per_image_text is True, and two pictures have the same text features")
        return
    with torch.no_grad():
        constant = method.constant_texts()
        same = torch.equal(method(batch, constant).logits, method(batch).logits)
    _hold(same, f"{title}: per_image_text is False, and its texts differ without a picture")


def every_tensor_receives_a_gradient(subject: Subject) -> None:
    """What is learned moves the loss, and what the method gives out; alone, and under every wrapper."""
    spec = methods.load(subject.method)
    if spec.facts.takes_steps:
        _receives_gradients(subject)
    if spec.wrapper is None and spec.facts.prompts_hold_names:
        name = method_name(subject)
        for wrapper in methods.wrapper_names():
            _receives_gradients(replace(subject, method=f"{name}+{wrapper}"))


def _receives_gradients(subject: Subject) -> None:
    """Away from the start, where some gradients are zero; a second draw may reach what the first did not."""
    missing: dict[str, set[str]] = {}
    for seed in (3, 4):
        method = subject.build()
        batch = random_batch(method, seed=seed)
        labels = torch.tensor(LABELS, device=method.backbone.device)
        method.train()
        _prepare(method, batch, labels)
        move_away(method, seed)
        output = method(batch)
        loss = method.total_loss(method.loss(output, labels))
        learned = {name: p for name, p in method.named_parameters() if p.requires_grad}
        given = [output.logits, output.image, output.text, *output.extra.values()]
        generator = torch.Generator().manual_seed(seed)
        shown = torch.stack(
            [
                (part * torch.randn(part.shape, generator=generator).to(part)).sum()
                for part in given
                if isinstance(part, Tensor) and part.requires_grad
            ]
        ).sum()
        for what, value in (("the loss", loss), ("what it gives out", shown)):
            gradients = torch.autograd.grad(
                value, list(learned.values()), retain_graph=True, allow_unused=True
            )
            zero = {
                name
                for name, gradient in zip(learned, gradients, strict=True)
                if gradient is None or not bool((gradient != 0).any())
            }
            missing[what] = missing.get(what, zero) & zero
    for what, names in missing.items():
        listed = ", ".join(sorted(names))
        _hold(not names, f"{subject.facts.title}: {what} does not depend on {listed}, which learn")


CHECKS: tuple[Callable[[Subject], None], ...] = (
    declares_itself,
    says_what_its_texts_are,
    every_tensor_receives_a_gradient,
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
    if _is_prepared(method, batch):
        losses.append(float(loss().detach()))
        _prepare(method, batch, labels)
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


def _is_prepared(method: Method, batch: Batch) -> bool:
    """Whether the method learns, or begins, from features of the training pictures."""
    return batch.features is not None and (
        not method.facts.trains or method.facts.shown_patches or type(method).prepare is not Method.prepare
    )


def _prepare(method: Method, batch: Batch, labels: Tensor) -> None:
    if _is_prepared(method, batch):
        features = batch.features
        assert features is not None
        if method.facts.shown_patches:
            assert batch.patch_states is not None
            method.prepare_patches(batch.patch_states, labels)
        method.prepare(features[None], labels, features[:0], labels[:0])


@torch.no_grad()
def move_away(method: Method, seed: int = 3) -> None:
    """Away from the start, where some terms and gradients are zero."""
    generator = torch.Generator().manual_seed(seed)
    for p in method.parameters():
        p.add_((torch.randn(p.shape, generator=generator) * 0.05).to(p.device))


def assert_fast_equals_plain(
    method: Method, pictures: int = 3, make: Callable[[Backbone], Any] = Fast
) -> None:
    """One step under the plain interpreter and one under `make`: outputs, loss terms and gradients agree."""
    move_away(method)
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
