"""Zero-shot CLIP against formulas: one template, and the mean of several."""

from __future__ import annotations

from by_hand import unit
from on_tiny_clip import NAMES, build, clip, evaluated, pixels, same

from vlprompt.data.task import Task


def test_one_template() -> None:
    plain, found = clip(), evaluated(build("zeroshot"))
    text, image = plain.of([f"a photo of a {name}." for name in NAMES]), plain.image(pixels())
    same(found.text, text)
    same(found.image, image)
    same(found.logits, plain.scale * image @ text.t(), 100)


def test_features_of_several_templates_are_averaged_at_unit_length() -> None:
    templates = ("a photo of a {}.", "a drawing of the {}.", "{}.")
    found = evaluated(build("zeroshot", task=Task(NAMES, templates)))
    each = [clip().of([template.format(name) for name in NAMES]) for template in templates]
    same(found.text, unit(sum(each)))


def test_underscores_are_spaces() -> None:
    found = evaluated(build("zeroshot", names=("golden_retriever", "cat")))
    same(found.text, clip().of(["a photo of a golden retriever.", "a photo of a cat."]))
