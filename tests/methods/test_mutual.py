"""CTP and TFT: the formulas against plain arithmetic, and what they promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import tiny_backbone

from vlprompt import methods
from vlprompt.backbones.towers.transformer import normalise
from vlprompt.data.task import Task
from vlprompt.errors import BackboneError
from vlprompt.methods.base import Batch, Method
from vlprompt.methods.mutual import CTPTFT, CrossAttention
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.prompts.interpreters.plain import Plain

NAMES = ("cat", "golden retriever", "bird's nest", "annual crop land")
PLACEMENTS = ("context", "feature")


def build(name: str = "ctp+tft", names: tuple[str, ...] = NAMES, away: float = 0.05, **options: Any) -> Any:
    """A method moved away from its start, where the output layers are zero."""
    method = methods.load(name).build(tiny_backbone(2), Task(names, shots=2), options)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in method.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * away)
    return method.eval()


def pictures(method: Method, count: int = 3) -> Batch:
    pixels = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        features, patches = method.backbone.vit.patch_features(pixels)
    return Batch(features=features, patches=patches)


def by_hand(attention: CrossAttention, query: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """One query [d] over tokens [N, d], head by head."""
    d = len(query)
    q, k = (layer(x * d**0.5) for layer, x in ((attention.query, query), (attention.key, tokens)))
    v = attention.value(tokens)
    size = len(q) // attention.heads
    heads = []
    for h in range(attention.heads):
        part = slice(h * size, (h + 1) * size)
        weights = torch.softmax(k[:, part] @ q[part] / size**0.5, dim=0)
        heads.append(weights @ v[:, part])
    return attention.out(torch.cat(heads))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_formulas(placement: str) -> None:
    """Picture by picture and class by class, with the interpreter that is the definition."""
    method: CTPTFT = build(placement=placement)
    batch = pictures(method, 2)
    assert batch.features is not None and batch.patches is not None
    plain = Plain(method.backbone)
    with torch.no_grad():
        found = method(batch)
        labels = ZeroShot(method.backbone, Task(NAMES)).text_features()
        for i in range(2):
            texts = []
            for c in range(len(NAMES)):
                shift = by_hand(method.prompter, labels[c], batch.patches[i])
                context = method.context + shift if placement == "context" else method.context
                feature = plain.text(method._placing.shared(context))[0, c]
                texts.append(feature if placement == "context" else normalise(feature + shift))
            text = torch.stack(texts)
            image = batch.features[i]
            image = normalise(image + by_hand(method.tuner, image, text))
            torch.testing.assert_close(found.text[i], text, atol=2e-5, rtol=1e-4)
            torch.testing.assert_close(found.image[i], image, atol=2e-5, rtol=1e-4)
            expected = method.backbone.logit_scale * text @ image
            torch.testing.assert_close(found.logits[i], expected, atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize("name", ["ctp", "tft", "ctp+tft"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_zero_shot_at_the_start(name: str, placement: str) -> None:
    method = build(name, away=0.0, placement=placement)
    batch = pictures(method)
    with torch.no_grad():
        expected = ZeroShot(method.backbone, Task(NAMES))(Batch(features=batch.features)).logits
        torch.testing.assert_close(method(batch).logits, expected, atol=2e-4, rtol=1e-5)


def test_the_shift_differs_by_class_and_that_of_cocoop_does_not() -> None:
    ctp: CTPTFT = build("ctp")
    batch = pictures(ctp)
    assert batch.patches is not None
    with torch.no_grad():
        shift = ctp.shift(batch.patches)  # [B, C, D]
        context = ctp.texts(ctp.see(batch))[0].suffix[:, : len(ctp.context)]
        cocoop = build("cocoop")
        prefix = cocoop.texts(cocoop.see(batch))[0].prefix
    typical = (shift - ctp.prompter.out.bias).norm(dim=-1).mean()  # the bias is the same for all classes
    assert (shift - shift.mean(dim=1, keepdim=True)).norm(dim=-1).min() > 0.01 * typical
    torch.testing.assert_close(
        context.unflatten(0, (3, 4)), ctp.context + shift[:, :, None].expand(-1, -1, len(ctp.context), -1)
    )
    assert len(prefix) == 3  # one context per picture, which all classes share
    assert not torch.equal(prefix[0], prefix[1])


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_order_of_classes_and_new_names(placement: str) -> None:
    method = build(placement=placement)
    batch, order = pictures(method), [2, 0, 3, 1]
    with torch.no_grad():
        swapped = method.for_classes([NAMES[i] for i in order])
        torch.testing.assert_close(
            swapped(batch).logits, method(batch).logits[:, order], atol=2e-4, rtol=1e-4
        )
        new = method.for_classes(["x-ray fish", "teapot"])
        assert new(batch).logits.shape == (3, 2)
    held = dict(method.named_parameters())
    assert all(p is held[n] for n, p in new.named_parameters())
    assert len(held) == len(dict(new.named_parameters()))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_one_picture_or_many_give_the_same(placement: str) -> None:
    method = build(placement=placement)
    batch = pictures(method)
    assert batch.features is not None and batch.patches is not None
    with torch.no_grad():
        alone = [
            method(Batch(features=batch.features[i : i + 1], patches=batch.patches[i : i + 1])).logits
            for i in range(3)
        ]
        torch.testing.assert_close(torch.cat(alone), method(batch).logits, atol=2e-4, rtol=1e-4)


def test_contrast_over_the_batch() -> None:
    method = build("tft")
    batch, labels = pictures(method), torch.tensor([1, 3, 1])
    with torch.no_grad():
        output = method(batch)
        terms = method.loss(output, labels)
    similar = method.backbone.logit_scale * output.text[labels] @ output.image.t()
    logs = torch.log_softmax(similar, dim=1)
    expected = -(logs[0, [0, 2]].mean() + logs[1, 1] + logs[2, [0, 2]].mean()) / 3
    torch.testing.assert_close(terms["contrastive"], expected)
    assert method.total_loss(terms) == pytest.approx(float(terms["ce"] + 0.1 * expected), rel=1e-5)
    assert "contrastive" not in build("tft", contrastive_weight=0).loss(output, labels)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("reference", ["paper", "published_code"])
def test_lamm_on_top(placement: str, reference: str) -> None:
    method = build("ctp+tft+lamm", away=0.0, placement=placement, reference=reference).train()
    batch, labels = pictures(method), torch.tensor([1, 3, 0])
    output = method(batch)
    assert output.logits.shape == (3, 4) and output.text.shape == (3, 4, 96)
    torch.testing.assert_close(output.extra["reference_logits"], output.logits, atol=2e-4, rtol=1e-4)
    method.total_loss(method.loss(output, labels)).backward()
    assert all(method.label_tokens.grad[c].norm() > 0 for c in range(4))
    assert method.base.prompter.out.weight.grad.norm() > 0


class Flat(torch.nn.Identity):
    """An image tower that says that it has no patches."""

    takes_prompts = gives_patches = has_stem = False
    kind = "flat image tower"


def test_ctp_needs_patches_and_tft_does_not() -> None:
    assert build("tft").facts.needs == {"features"} and "patches" in build("ctp").facts.needs
    assert build("ctp").facts.per_image_text and not build("ctp", placement="feature").facts.per_image_text
    backbone = tiny_backbone(2)
    backbone.image = Flat()  # type: ignore[assignment]
    with pytest.raises(BackboneError, match="ViT"):
        methods.load("ctp").build(backbone, Task(NAMES))
