"""Fast equals plain on every kind of tower, for every way in which prompts enter: values and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_towers import IMAGE_FORMS, TEXT_FORMS, small_backbone, small_image, small_text
from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.towers import ImageForm, TextForm
from vlprompt.backbones.towers.vit import PoolForm
from vlprompt.errors import BackboneError
from vlprompt.prompts.interpreters.entering import row_features
from vlprompt.prompts.interpreters.fast import Fast
from vlprompt.prompts.interpreters.plain import Plain
from vlprompt.prompts.tokens import BlockTokens, ImagePrompt, TextPrompt

MANY = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@st.composite
def text_forms(draw: Any) -> TextForm:
    causal, read = draw(st.booleans()), draw(st.sampled_from(["end", "first", "last", "mean", "class"]))
    return TextForm(
        causal=causal or read == "class",
        start=1 if read == "first" else draw(st.integers(0, 1)),
        read=read,
        padded=read == "last" or (read != "class" and draw(st.booleans())),
        pad_id=draw(st.integers(0, 5)),
        class_sees=draw(st.sampled_from(["next", "itself"])),
        post_norm=draw(st.booleans()),
        norm_first=draw(st.booleans()),
        norm_last=draw(st.booleans()),
        head=draw(st.sampled_from([(), ("unit", "linear", "exp"), ("linear", "gelu")])),
        bias=draw(st.booleans()),
    )


@st.composite
def image_forms(draw: Any) -> ImageForm:
    read = draw(st.sampled_from(["first", "mean", "attention"]))
    after = draw(st.booleans())
    pool = (
        PoolForm(96, 4, draw(st.booleans()), draw(st.sampled_from([0, 40]))) if read == "attention" else None
    )
    return ImageForm(
        class_token=read == "first" or draw(st.booleans()),
        patch_bias=draw(st.booleans()),
        norm_pre=draw(st.booleans()),
        post_norm=draw(st.booleans()),
        read=read,
        norm_post="after" if after else "before",
        projection=draw(st.booleans()),
        bias=draw(st.booleans()),
        pool=pool,
    )


@st.composite
def entries(draw: Any, own: int = 0) -> list[tuple[int, int, bool, float, bool]]:
    """(block, tokens, insert, weight, each class's own) of vectors that enter; what overwrites finds at most 2 tokens."""
    found = []
    for _ in range(draw(st.integers(0, 3))):
        insert = draw(st.booleans())
        n = draw(st.integers(1, 3 if insert else 2))
        weight = 1.0 if insert else draw(st.sampled_from([1.0, 0.3]))
        found.append((draw(st.integers(0, 4)), n, insert, weight, bool(own) and draw(st.booleans())))
    return found


def noise(generator: torch.Generator, *shape: int) -> Tensor:
    return (torch.randn(*shape, generator=generator) * 0.3).requires_grad_()


def tokens_of(drawn: list[tuple[int, int, bool, float, bool]], width: int, classes: int) -> list[BlockTokens]:
    generator = torch.Generator().manual_seed(11)
    return [
        BlockTokens(noise(generator, *((classes, n) if own else (n,)), width), block, insert, weight)
        for block, n, insert, weight, own in drawn
    ]


def compared(run: Any, leaves: list[Tensor], first: Any, second: Any) -> None:
    """Values and gradients of `run(interpreter)` agree within 1e-4."""
    found = []
    for interpreter in (first, second):
        for leaf in leaves:
            leaf.grad = None
        value = run(interpreter)
        weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(5))
        if value.requires_grad:
            (value * weights).sum().backward()
        found.append((value.detach(), [None if leaf.grad is None else leaf.grad.clone() for leaf in leaves]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-4, rtol=1e-4)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        if one is None or other is None:
            rest = other if one is None else one
            assert rest is None or not rest.any()
            continue
        scale = max(1.0, float(one.abs().max()))
        torch.testing.assert_close(one / scale, other / scale, atol=1e-4, rtol=1e-4)


def backbone_of(text: TextForm, image: ImageForm) -> Backbone:
    return small_backbone(text, image)


def text_prompt(
    form: TextForm, groups: int, lengths: list[int], context: int, deep: int, inner: list[BlockTokens]
) -> TextPrompt:
    """A learned context of `context` tokens in the prefix, words in the suffixes."""
    generator = torch.Generator().manual_seed(3)
    words = noise(generator, len(lengths), max(lengths) + 2, 64)
    prefix = noise(generator, groups, form.start + context, 64)
    own = [noise(generator, context, 64) for _ in range(deep)]
    return TextPrompt(prefix, words, tuple(lengths), own, start=form.start, inner=inner)


@MANY
@given(
    form=text_forms(),
    groups=st.integers(1, 2),
    lengths=st.lists(st.integers(3, 7), min_size=1, max_size=5),
    context=st.integers(2, 3),
    deep=st.integers(0, 3),
    drawn=entries(own=1),
    budget=st.sampled_from([1 << 30, 60_000]),
)
def test_text(
    form: TextForm, groups: int, lengths: list[int], context: int, deep: int, drawn: list[Any], budget: int
) -> None:
    backbone = backbone_of(form, IMAGE_FORMS["clip"])
    prompt = text_prompt(form, groups, lengths, context, deep, tokens_of(drawn, 64, len(lengths)))
    compared(lambda i: i.text(prompt), prompt.tensors(), Plain(backbone), Fast(backbone, budget))


@MANY
@given(
    form=image_forms(),
    appended=st.integers(0, 3),
    deep=st.integers(0, 3),
    drawn=entries(),
    budget=st.sampled_from([1 << 30, 60_000]),
)
def test_image(form: ImageForm, appended: int, deep: int, drawn: list[Any], budget: int) -> None:
    backbone = backbone_of(TEXT_FORMS["clip"], form)
    generator = torch.Generator().manual_seed(4)
    tokens = noise(generator, appended, 96) if appended else None
    own = [noise(generator, appended, 96) for _ in range(deep)] if appended else []
    prompt = ImagePrompt(tokens, own, tokens_of(drawn, 96, 1))
    pixels = torch.randn(3, 3, 24, 24, generator=generator)

    def run(interpreter: Any) -> Tensor:
        features, inserted = interpreter.image_and_inserted(pixels, prompt)
        assert inserted.shape == (3, prompt.inserted(3), 96)
        return torch.cat([features, inserted.flatten(1)], dim=1)

    compared(run, prompt.tensors(), Plain(backbone), Fast(backbone, budget))
    torch.testing.assert_close(backbone.image(pixels), Plain(backbone).image(pixels), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", TEXT_FORMS)
@pytest.mark.parametrize("grad", [True, False])
def test_texts_without_prompts(kind: str, grad: bool) -> None:
    """The frozen texts of a tower, as plain reads them and as the tower itself does; what is exported gives the same."""
    backbone = small_backbone(kind)
    rows = [backbone.tokenizer.encode(t) for t in ("a", "a photo of a cat", "x-ray fish and others")]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    lengths = tuple(map(len, rows))
    start = len(backbone.tokenizer.start)
    embedded = backbone.text.embed(ids)
    prompt = TextPrompt(
        embedded[:1, :start], embedded[:, start:], tuple(n - start for n in lengths), start=start
    )
    texts = ["a", "a photo of a cat", "x-ray fish and others"]
    with torch.set_grad_enabled(grad):
        expected = Plain(backbone).text(prompt)[0]
        for found in (
            Fast(backbone).text(prompt)[0],
            row_features(backbone.text.without_vocabulary(), prompt)[0],
            backbone.text_features(texts),
        ):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", IMAGE_FORMS)
def test_patches_lie_in_the_joint_space(kind: str) -> None:
    backbone = small_backbone(image=kind)
    pixels = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    features, patches = backbone.patch_features(pixels)
    assert patches.shape == (2, backbone.patches, backbone.embed_dim) == (2, 9, 96)
    torch.testing.assert_close(features, backbone.image_features(pixels), atol=1e-4, rtol=0)
    torch.testing.assert_close(patches.norm(dim=-1), torch.ones(2, 9))


def test_an_activation_that_there_is_not() -> None:
    with pytest.raises(BackboneError, match="swish_5"):
        small_text(TextForm(), activation="swish_5")
    with pytest.raises(BackboneError, match="swish_5"):
        small_image(ImageForm(), activation="swish_5")


def test_logits_have_scale_and_bias() -> None:
    backbone = small_backbone(logit_scale=10.0, logit_bias=-3.0)
    image, text = torch.eye(96)[:2], torch.eye(96)[:4]
    expected = 10 * torch.eye(4)[:2] - 3
    torch.testing.assert_close(backbone.logits(image, text), expected)
    torch.testing.assert_close(backbone.logits(image, text.expand(2, -1, -1)), expected)
