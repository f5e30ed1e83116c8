"""Blend: the weighted sum of its parts' logits, and which part answers names that were never learned."""

from __future__ import annotations

import math

import pytest
import torch
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch

NAMES = ("cat", "golden retriever", "tea pot")


def build(**options):
    return methods.load("blend").build(tiny_backbone(), Task(NAMES, shots=2), options).eval()


def batch(backbone):
    features = torch.randn(5, backbone.embed_dim, generator=torch.Generator().manual_seed(0))
    return Batch(features=torch.nn.functional.normalize(features, dim=-1))


def test_the_formula():
    method = build(parts="zeroshot lamm", weights="0.5 2")
    seen = batch(method.backbone)
    with torch.no_grad():
        expected = 0.5 * method.part("zeroshot")(seen).logits + 2 * method.part("lamm")(seen).logits
        torch.testing.assert_close(method(seen).logits, expected)


def test_one_weight_for_each_part():
    with pytest.raises(OptionError):
        build(parts="zeroshot lamm", weights="1")


def test_parts_work_on_kept_features():
    with pytest.raises(OptionError, match="features"):
        build(parts="zeroshot maple", weights="1 1")


MIXED = ("zebra", "tea pot", "red car", "cat")


def test_new_names_beside_learned_ones():
    """Learned classes keep their logits; new ones have those of the parts that speak of them, and the offset."""
    method = build(parts="zeroshot lamm", weights="0.5 2", new_weights="0.7 0", new_offset=1.5)
    seen = batch(method.backbone)
    with torch.no_grad():
        logits = method.for_classes(MIXED)(seen).logits
        learned = method(seen).logits
        new = 0.7 * method.part("zeroshot").for_classes(["zebra", "red car"])(seen).logits
        torch.testing.assert_close(logits[:, [3, 1]], learned[:, [0, 2]])
        torch.testing.assert_close(logits[:, [0, 2]], new + 1.5)
        alone = method.for_classes(["zebra", "red car"])
        torch.testing.assert_close(alone(seen).logits, new)
        again = method.for_classes(MIXED).for_classes(NAMES)
        torch.testing.assert_close(again(seen).logits, learned)


@pytest.mark.parametrize("by", ["best", "mean"])
def test_a_gated_blend_shares_between_learned_and_new_classes_as_the_parts_for_new_names_would(by):
    """Learned ones share theirs as the sum says. By means, the numbers of names on either side do not matter."""
    method = build(
        parts="zeroshot lamm", weights="0.5 2", new_weights="0.7 0", new_offset=1.5, gated=True, gated_by=by
    )
    seen, new_names = batch(method.backbone), ["zebra", "red car"]
    with torch.no_grad():
        logits = method.for_classes(MIXED)(seen).logits
        known, new = logits[:, [3, 1]], logits[:, [0, 2]]
        torch.testing.assert_close(
            known.softmax(-1), method.for_classes(["cat", "tea pot"])(seen).logits.softmax(-1)
        )
        voice = 0.7 * method.part("zeroshot").for_classes([*new_names, "cat", "tea pot"])(seen).logits
        torch.testing.assert_close(new, voice[:, :2] + 1.5 - (math.log(2) if by == "mean" else 0))
        common = voice[:, 2:].amax(-1) if by == "best" else voice[:, 2:].logsumexp(-1) - math.log(2)
        torch.testing.assert_close(known.logsumexp(-1), common)
        torch.testing.assert_close(method(seen).logits, method.for_classes(NAMES)(seen).logits)
        torch.testing.assert_close(method.for_classes(new_names)(seen).logits, voice[:, :2])


def test_without_weights_for_them_a_list_with_new_names_is_left_to_one_part():
    method = build(parts="zeroshot lamm", weights="0.5 2", names="zeroshot")
    seen = batch(method.backbone)
    with torch.no_grad():
        expected = method.part("zeroshot").for_classes(MIXED)(seen).logits
        torch.testing.assert_close(method.for_classes(MIXED)(seen).logits, expected)


@pytest.mark.parametrize("weights", ["1", "1 x", "1 1"])
def test_weights_for_new_names_are_checked(weights):
    """So many as parts, numbers, and none for a part that takes no new names."""
    with pytest.raises(OptionError, match="new_weights"):
        build(parts="zeroshot linear_probe", weights="1 1", new_weights=weights)


def test_a_part_may_say_its_strength():
    """Two bilinear probes of different strength are two parts: one for learned classes, one for new names."""
    method = build(
        parts="bilinear_probe:100:3 bilinear_probe:2",
        weights="1 0",
        new_weights="0 1",
        names="bilinear_probe:2",
    )
    loose, close = method.each()
    assert (loose.options.strength, close.options.strength) == (100.0, 2.0)
    assert (loose.options.own, close.options.own) == (3.0, 0.3)
    assert build(parts="linear_probe:3 zeroshot", strength=7.0).part("linear_probe:3").options.strength == 3.0
    assert build(strength=7.0).part("linear_probe").options.strength == 7.0
    features = torch.nn.functional.normalize(torch.randn(1, 9, method.backbone.embed_dim), dim=-1)
    method.prepare(features, torch.arange(3).repeat(3), features[0, :0], torch.zeros(0, dtype=torch.long))
    seen = batch(method.backbone)
    with torch.no_grad():
        new = close.for_classes(["zebra"])(seen).logits
        torch.testing.assert_close(method.for_classes(["zebra"])(seen).logits, new)
        torch.testing.assert_close(method(seen).logits, loose(seen).logits)


@pytest.mark.parametrize(
    "part",
    [
        *(
            "lamm:3",
            "linear_probe:",
            "linear_probe:x",
            "linear_probe:-1",
            "linear_probe:inf",
            "linear_probe:1:2",
        ),
        *("bilinear_probe:1:", "bilinear_probe:1:x", "bilinear_probe:1:2:3"),
    ],
)
def test_a_strength_is_a_number_behind_a_method_that_has_one(part):
    with pytest.raises(OptionError, match="parts has"):
        build(parts=f"{part} zeroshot")


def test_a_part_that_looks_at_patches_is_needed_for_new_names_alone():
    """Learned classes ask for features of whole pictures; a list with a new name asks for patches too."""
    method = build(
        parts="linear_probe:10 patch_map zeroshot",
        weights="1 0 0.5",
        new_weights="0 0.6 0.4",
        new_offset=2.0,
        names="patch_map",
    )
    assert method.facts.needs == {"features"} and method.facts.shown_patches
    backbone = method.backbone
    size = backbone.image_sizes.resolution
    pixels = torch.randn(6, 3, size, size, generator=torch.Generator().manual_seed(2))
    features, states = backbone.patch_states(pixels)
    labels, none = torch.arange(6) % 3, torch.zeros(0, dtype=torch.long)
    method.prepare_patches(states, labels)
    method.prepare(features[None], labels, features[:0], none)
    assert not torch.equal(method.part("patch_map").map, torch.eye(backbone.image_width))
    mixed = method.for_classes(MIXED)
    assert mixed.facts.needs == {"features", "patch_states"}
    whole, both = Batch(features=features), Batch(features=features, patch_states=states)
    with torch.no_grad():
        learned = method(whole).logits
        names = ["zebra", "red car"]
        new = 0.6 * method.part("patch_map").for_classes(names)(both).logits
        new = new + 0.4 * method.part("zeroshot").for_classes(names)(whole).logits
        found = mixed(both).logits
        torch.testing.assert_close(found[:, [3, 1]], learned[:, [0, 2]])
        torch.testing.assert_close(found[:, [0, 2]], new + 2.0)
        torch.testing.assert_close(mixed(Batch(pixels=pixels)).logits, found)


def test_a_part_that_looks_at_patches_in_training_steps_takes_no_part():
    with pytest.raises(OptionError, match="features"):
        build(parts="zeroshot gallop", weights="1 1")


def test_parts_that_look_at_patches_learn_beside_a_prompt_that_takes_steps():
    """Whose steps are the training loop's: the other parts' tensors take none of those."""
    method = build(parts="lamm patch_map", weights="1 0", new_weights="0 1", names="patch_map").train()
    states = torch.randn(3, 4, method.backbone.image_width, generator=torch.Generator().manual_seed(1))
    method.prepare_patches(states, torch.arange(3))
    learned = {name for name, p in method.named_parameters() if p.requires_grad}
    assert learned and all(name.startswith("parts.0.") for name in learned)
    assert not torch.equal(method.part("patch_map").map, torch.eye(method.backbone.image_width))
