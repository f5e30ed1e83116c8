"""PromptSRC: its formula, the average over epochs, and a resumed average."""

from __future__ import annotations

import by_hand
import pytest
import torch
from against_formulas import NAMES, build, check, pixels

from vlprompt.methods.base import Batch
from vlprompt.methods.promptsrc import epoch_weights, templates
from vlprompt.prompts.tokens import FrozenText
from vlprompt.training.checkpoints import State, pack, unpack
from vlprompt.training.optimizers import make_optimizer

TEACHERS = [[template.format(name) for name in NAMES] for template in templates()]
SMALL = {"context_tokens": 2, "text_depth": 2, "image_tokens": 3, "image_depth": 3}


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
@pytest.mark.parametrize(("reference", "factor"), [("paper", len(NAMES)), ("published_code", 1.0)])
def test_the_formula(reference: str, factor: float, plain: bool) -> None:
    texts = [f"a photo of a {name}." for name in NAMES]
    check(
        "promptsrc",
        {**SMALL, "reference": reference, "text_weight": 5.0, "image_weight": 3.0},
        lambda *given: by_hand.promptsrc(*given, texts, TEACHERS),
        weights={"ce": 1.0, "text": 5.0, "image": 3.0, "logits": 1.0},
        factors={"logits": factor},
        plain=plain,
    )


def test_weights_of_the_epochs() -> None:
    weights = epoch_weights(20, 15, 1)
    assert sum(weights) == pytest.approx(1) and max(weights) == weights[14]
    assert weights[13] == pytest.approx(weights[15]) and weights[15] / weights[14] == pytest.approx(
        0.60653, rel=1e-4
    )
    assert epoch_weights(10, 0.8, 0.1) == pytest.approx(epoch_weights(10, 8, 1), rel=1e-12)
    assert epoch_weights(3, 500, 0.01) == [
        0,
        0,
        1,
    ]  # far outside: the epoch nearest to the mean, and no 0 / 0
    for odd in ((1e-12, 1e-200), (1e6, 1e-200), (0, 0.5), (1, 1e6)):
        assert sum(epoch_weights(3, *odd)) == pytest.approx(1)
    recorded = [0.31955876066847566, 0.3342673665371275, 0.3461738727943969]
    assert epoch_weights(3, 6, 10) == pytest.approx(recorded)


def go_through(method: torch.nn.Module, epochs: range, last: int) -> list[dict[str, torch.Tensor]]:
    """Epochs in which every tensor becomes the epoch's number; the tensors at the end of each, before an average."""
    seen = []
    for epoch in epochs:
        with torch.no_grad():
            for value in method.parameters():
                value.fill_(float(epoch + 1))
        seen.append({n: p.detach().clone() for n, p in method.named_parameters()})
        method.end_of_epoch(epoch, last)
    return seen


def test_prompts_are_averaged_after_the_last_epoch_and_not_before() -> None:
    method = build("promptsrc", SMALL | {"average_mean": 3, "average_std": 2})
    go_through(method, range(3), 4)
    assert all((p == 3).all() for p in method.parameters())
    go_through(method, range(3, 4), 4)
    mean = sum((i + 1) * weight for i, weight in enumerate(epoch_weights(4, 3, 2)))
    for value in method.parameters():
        torch.testing.assert_close(value.detach(), torch.full_like(value, mean))


def test_without_a_width_there_is_no_average() -> None:
    method = build("promptsrc", SMALL | {"average_std": 0})
    go_through(method, range(4), 4)
    assert all((p == 4).all() for p in method.parameters())


def test_without_visual_prompts_pictures_are_encoded_once() -> None:
    method = build("promptsrc", SMALL | {"image_depth": 0}).train()
    assert method.facts.needs == {"features"}
    output = method(Batch(pixels=pixels()))
    torch.testing.assert_close(output.image, output.extra["teacher_image"])


def test_features_that_come_with_the_pixels_are_the_targets() -> None:
    method = build("promptsrc", SMALL).train()
    features = torch.nn.functional.normalize(torch.ones(3, method.backbone.embed_dim), dim=-1)
    assert method(Batch(features=features, pixels=pixels())).extra["teacher_image"] is features


def test_templates_are_averaged_as_the_tower_gives_them() -> None:
    method = build("promptsrc", SMALL).train()
    (frozen,) = [text for text in method.texts() if isinstance(text, FrozenText)]
    assert len(frozen.templates) == 60
    (mean,) = method.read([frozen])[0]
    each = [method.backbone.text_features(row, unit=False) for row in TEACHERS]
    torch.testing.assert_close(mean, torch.nn.functional.normalize(torch.stack(each).mean(0), dim=-1))
    usual = torch.nn.functional.normalize(torch.stack([by_hand.unit(e) for e in each]).mean(0), dim=-1)
    assert float((mean - usual).abs().max()) > 1e-4


def test_label_tokens_learn_and_the_templates_stay() -> None:
    method = build("promptsrc+lamm", SMALL).train()
    output = method(Batch(pixels=pixels()))
    method.loss(output, torch.tensor([2, 0, 3]))["text"].backward()
    assert float(method.label_tokens.grad.abs().sum()) > 0
    torch.testing.assert_close(
        output.extra["teacher_text"],
        build("promptsrc", SMALL).read([FrozenText(NAMES, templates(), unit_first=False)])[0][0],
    )


def test_a_training_that_was_interrupted_ends_in_the_same_average() -> None:
    """The sum of the epochs so far is in checkpoints, and not in what a run saves."""

    def learn(epochs: range, held: torch.nn.Module | None = None) -> torch.nn.Module:
        method = build("promptsrc", SMALL | {"average_mean": 3, "average_std": 2})
        optimizer = make_optimizer("sgd", method.parameters(), lr=0.1)
        if held is not None:
            tensors = {k: v.clone() for k, v in pack(held, optimizer).items()}
            unpack(State(0, 0, tensors, {}), method, optimizer)
        go_through(method, epochs, 4)
        return method

    whole = learn(range(4))
    resumed = learn(range(2, 4), learn(range(2)))
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not [name for name in whole.state_dict() if "sum_of" in name]
