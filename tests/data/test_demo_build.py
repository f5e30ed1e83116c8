"""The parts of the demo recipe that decide what lies in which split."""

import importlib.util
import json
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "demo"


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("demo_build", RECIPE / "build_emoji.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("dog", "dog2"),
        ("monkey", "monkey_face"),
        ("blue_heart", "heart"),
        ("bus", "oncoming_bus"),
        ("mermaid", "merman"),
    ],
)
def test_variants_are_one_concept(build, one, other):
    assert build.concept(one) == build.concept(other)


def test_different_things_are_different_concepts(build):
    assert len({build.concept(name) for name in ("dog", "cat", "polar_bear", "bear", "+1", "-1", "man")}) == 7


@pytest.mark.parametrize("total", [8, 9, 12, 24])
def test_concepts_stay_together_and_training_keeps_enough(build, total):
    groups = [[{"short_name": f"{number}"}] for number in range(total - 2)] + [[{"short_name": "x"}] * 2]
    parts = build.split(groups)
    assert sum(map(len, parts.values())) == total
    assert len(parts["train"]) >= build.SMALLEST_TRAINING
    assert len(parts["test"]) >= 2
    assert sum(groups[-1][0] in entries for entries in parts.values()) == 1


def test_groceries_are_chosen_within_their_own_split():
    spec = importlib.util.spec_from_file_location("groceries_build", RECIPE / "build_groceries.py")
    groceries = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(groceries)
    parts = {
        "train": [f"train/{i}" for i in range(40)],
        "val": ["val/0"],
        "test": [f"test/{i}" for i in range(30)],
    }
    chosen = groceries.choose(parts)
    assert {part: len(paths) for part, paths in chosen.items()} == {"train": 20, "val": 5, "test": 16}
    assert not set(chosen["train"]) & set(chosen["val"])
    assert all(path.startswith(("train/", "val/")) for path in chosen["train"] + chosen["val"])
    assert all(path.startswith("test/") for path in chosen["test"])
    assert chosen == groceries.choose({part: paths[::-1] for part, paths in parts.items()})
    with pytest.raises(SystemExit, match="too few"):
        groceries.choose(parts | {"test": []})


def test_class_rules_are_well_formed():
    rules = json.loads((RECIPE / "emoji_classes.json").read_text())
    assert len(rules) == 14
    assert all(set(rule) <= {"subgroups", "without", "neutral"} for rule in rules.values())
