"""Every method on every kind of backbone: it learns, keeps what the contract promises, and fast equals plain."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch
from small_towers import embedded_kind, small_backbone
from support import tiny_resnet

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.contract import (
    Subject,
    fast_equals_plain,
    learns_only_its_own,
    order_of_classes_does_not_matter,
    starts_where_it_says,
    take_steps,
    takes_other_classes,
)
from vlprompt.errors import BackboneError

KINDS: dict[str, Callable[[], Backbone]] = {
    "embedded": embedded_kind,
    "siglip": lambda: small_backbone("siglip", "siglip", logit_bias=-5.0),
    "clipa": lambda: small_backbone("clipa", "average"),
    "bert": lambda: small_backbone("bert, first", "average, no class token"),
    "xlm-r": lambda: small_backbone("xlm-r", "post-norm"),
    "coca": lambda: small_backbone("coca", "coca"),
}
CHECKS = (
    learns_only_its_own,
    takes_other_classes,
    order_of_classes_does_not_matter,
    starts_where_it_says,
    fast_equals_plain,
)
SOME = ("coop", "cocoop", "maple+lamm", "ctp+tft", "vpt", "ivlp")


@lru_cache(maxsize=8)
def backbone(kind: str) -> Backbone:
    return KINDS[kind]().to("cpu")


@pytest.mark.parametrize("name", methods.names())
@pytest.mark.parametrize("kind", ["embedded", "siglip"])
def test_every_method_on_the_commonest_other_kinds(kind: str, name: str) -> None:
    for check in CHECKS:
        check(Subject(name, backbone(kind)))


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("kind", ["clipa", "bert", "xlm-r", "coca"])
def test_some_methods_on_the_others(kind: str, name: str) -> None:
    for check in (learns_only_its_own, fast_equals_plain):
        check(Subject(name, backbone(kind)))


@pytest.mark.parametrize("kind", ["embedded", "siglip"])
def test_half_precision(kind: str) -> None:
    half = KINDS[kind]().to("cpu", torch.bfloat16)
    for name in ("coop", "maple", "lamm"):
        losses = take_steps(Subject(name, half).build(), 3)
        assert torch.isfinite(torch.tensor(losses)).all()


@pytest.mark.parametrize("name", ["vpt", "ivlp", "maple", "maple+lamm", "ctp+tft"])
def test_a_resnet_is_refused_by_name(name: str) -> None:
    with pytest.raises(BackboneError, match="ResNet image tower"):
        Subject(name, tiny_resnet()).build()
