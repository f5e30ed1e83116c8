"""What every method file promises (`vlprompt.contract`); the tests find methods by themselves."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_backbone
from torch import Tensor, nn

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.contract import CHECKS, NAMES, BrokenPromises, Subject, check_method, logits_of
from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.methods.base import Method, Seen
from vlprompt.methods.coop import CoOp
from vlprompt.methods.facts import Facts, read_facts
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.prompts.tokens import Output, Text

ALL = methods.names()
LEARNING = [n for n in ALL if methods.load(n).facts.learns]


@lru_cache(maxsize=1)
def backbone() -> Backbone:
    return tiny_backbone(4).to("cpu")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ALL)
def test_every_method(name: str, check: Any) -> None:
    check(Subject(name, backbone()))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in ALL if name != "blend"),  # whose parts say where it begins
        *(("coop", {"context_init": start}) for start in ("a photo of a", "a picture of a")),
        ("coop", {"context_init": "a photo of a", "name_position": "front"}),
        ("kgcoop", {"context_init": "the"}),
        ("kgcoop+lamm", {}),
        ("coop+lamm", {}),
        ("lamm", {"random_labels": True}),
        ("lamm", {"label_tokens": 1}),
        ("lamm", {"reference": "published_code"}),
    ],
    ids=str,
)
def test_begins_as_zero_shot_only_if_it_says_so(name: str, options: dict[str, Any]) -> None:
    """The other half of `starts_where_it_says`."""
    method = Subject(name, backbone(), options).build()
    zero_shot = logits_of(ZeroShot(backbone(), Task(NAMES)))
    assert torch.allclose(logits_of(method), zero_shot, atol=2e-4) == method.facts.zero_shot_start


@pytest.mark.parametrize("name", ALL)
def test_is_a_file_whose_options_explain_themselves(name: str) -> None:
    assert methods.load(name).outermost.__module__.rpartition(".")[0] == "vlprompt.methods"
    for options in methods.load(name).kinds:
        for field in dataclasses.fields(options):
            assert field.metadata["help"], field.name


class TrainsTheBackbone(CoOp):
    """Breaks a promise: a tensor of the text tower is among those that learn."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stolen = self.backbone.text.ln_final.weight.requires_grad_(True)


class KeepsNothing(CoOp):
    """Breaks a promise: what it learns is not part of its state."""

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {}


class DependsOnOrder(CoOp):
    """Breaks a promise: the first class gets a bonus, whichever it is."""

    def output(self, image: Tensor, text: Tensor, **extra: Tensor) -> Output:
        found = super().output(image, text, **extra)
        bonus = nn.functional.one_hot(torch.tensor(0), found.logits.shape[1]).to(found.logits)
        return dataclasses.replace(found, logits=found.logits + bonus)


@pytest.mark.parametrize(
    ("kind", "said"),
    [(TrainsTheBackbone, "changed the backbone"), (KeepsNothing, "not saved"), (DependsOnOrder, "logit")],
)
def test_a_broken_promise_is_told(kind: type[Method], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_method(kind, tiny_backbone(4), steps=2)


class IgnoresItsLabels(CoOp):
    """Breaks a promise under every wrapper: what a wrapper puts in the names' places never arrives."""

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        return super().compare(seen, self.read(self.texts(seen)))


class LearnsInVain(CoOp):
    """Breaks a promise: a tensor has no part in anything."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spare = nn.Parameter(torch.ones(2))


class KnowsItsClassesOnly(CoOp):
    """Breaks a promise: it says that it takes new names."""

    def for_classes(self, names: Sequence[str]) -> Method:
        if set(names) - set(self.task.class_names):
            raise OptionError("these I do not know")
        return super().for_classes(names)


class SaysItFollowsPictures(CoOp):
    """Breaks a promise: its texts are the same for all pictures."""

    facts = dataclasses.replace(CoOp.facts, per_image_text=True)

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        return self.output(seen.features, features[0].expand(len(seen.features), -1, -1))


class SaysItHoldsNames(CoOp):
    """Breaks a promise: nothing in its texts says where a name stands, so LAMM would learn in vain."""

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return [dataclasses.replace(text, label_counts=()) for text in super().texts(seen)]


@pytest.mark.parametrize(
    ("kind", "check", "said"),
    [
        (IgnoresItsLabels, "every_tensor_receives_a_gradient", "CoOp . LAMM: .*gives out.*label_tokens"),
        (LearnsInVain, "every_tensor_receives_a_gradient", "spare"),
        (KnowsItsClassesOnly, "takes_other_classes", "refuses new names"),
        (SaysItFollowsPictures, "says_what_its_texts_are", "per_image_text is True"),
        (SaysItHoldsNames, "says_what_its_texts_are", "prompts_hold_names is True"),
    ],
)
def test_facts_and_gradients_are_checked(kind: type[Method], check: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        next(one for one in CHECKS if one.__name__ == check)(Subject(kind, backbone()))


class BreaksTwo(KeepsNothing, LearnsInVain):
    """Breaks two promises, which are told at once."""


def test_all_failures_are_listed_and_expected_ones_are_not() -> None:
    with pytest.raises(BrokenPromises) as caught:
        check_method(BreaksTwo, tiny_backbone(4), steps=2)
    failures = set(caught.value.failures)
    assert {"is_saved_and_loaded", "every_tensor_receives_a_gradient"} <= failures
    assert all(f"- {name}: " in str(caught.value) for name in failures)
    reasons = dict.fromkeys(failures, "made to fail, for a test")
    check_method(BreaksTwo, tiny_backbone(4), steps=2, expected=reasons)
    with pytest.raises(BrokenPromises, match="it holds, though it was expected not to") as caught:
        check_method(
            "coop", tiny_backbone(4), steps=2, expected={"stays_finite": "it does not, on our machine"}
        )
    assert set(caught.value.failures) == {"stays_finite"}
    with pytest.raises(OptionError, match="no check"):
        check_method("coop", tiny_backbone(4), expected={"is_fast": "it is not"})
    with pytest.raises(OptionError, match="say why"):
        check_method("coop", tiny_backbone(4), expected={"stays_finite": " "})


@pytest.mark.parametrize("name", ALL)
def test_facts_are_known_without_importing_the_method(name: str) -> None:
    assert methods.facts_of(name) == methods.load(name).facts
    facts = methods.known_facts(name)
    assert facts.order < 1000 and facts.colour and facts.marker
    assert facts.link.startswith("https://") == bool(re.search(r"\d{4}", facts.paper))  # what was published
    assert bool(facts.plain_words) == facts.learns


def test_every_method_file_has_a_test_file() -> None:
    here, package = Path(__file__).parent, Path(methods.__file__).parent
    files = {file.stem for file in package.glob("*.py") if read_facts(file, file.stem)}
    assert len(files) >= 12
    own = {name for name in files if (here / f"test_{name}.py").is_file()}
    # a variant may be tested beside what it varies, and what is not a paper's where it is used
    elsewhere = "\n".join(file.read_text(encoding="utf-8") for file in here.parent.rglob("test_*.py"))
    assert not {name for name in files - own if f'"{name}"' not in elsewhere} and len(own) >= len(files) - 2


def test_looks_of_methods_differ() -> None:
    plain = [methods.known_facts(name) for name in methods.plain_names()]
    for part in ("colour", "order", "title"):
        values = [getattr(facts, part) for facts in plain]
        assert len(set(values)) == len(values), part


def test_facts_that_are_no_plain_values_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text("FACTS = Facts(title=f'a{1}')\n")
    with pytest.raises(ValueError, match="one.py.*plain values"):
        read_facts(file, "one")
    file.write_text("X = 1\n")
    with pytest.raises(OptionError, match="expected some of"):
        Facts("a", needs={"sound"})


def test_a_class_is_loaded_by_its_path() -> None:
    assert methods.load(CoOp).base is CoOp
    assert methods.load(CoOp).name == "vlprompt.methods.coop.CoOp"
    assert methods.load("vlprompt.methods.coop.CoOp+lamm").base is CoOp
    assert methods.load("vlprompt.methods.coop").base is CoOp  # the file, by its METHOD


def test_what_is_no_method_is_refused() -> None:
    class Hidden(CoOp):
        pass

    for wrong, said in (
        (Hidden, "inside a function"),
        (int, "expected a name, or a subclass"),
        ("vlprompt.errors", "no METHOD"),
        ("vlprompt.errors.DataError", "no subclass"),
        ("vlprompt.errors.Nothing", "has no Nothing"),
        ("nowhere.to.be", "cannot be imported"),
    ):
        with pytest.raises(OptionError, match=said):
            methods.load(wrong)


@pytest.mark.parametrize("name", ALL)
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="no option"):
        methods.load(name).options({"contxt_tokens": 3})


@pytest.mark.parametrize("name", ["cop", "lamm+coop", "coop+lamm+lamm", "zeroshot+lamm", ""])
def test_unknown_names_offer_the_nearest(name: str) -> None:
    with pytest.raises(OptionError, match="known:"):
        methods.load(name)


@pytest.mark.parametrize("name", LEARNING)
def test_names_that_read_the_same_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="read the same"):
        methods.load(name).build(backbone(), Task(("golden_retriever", "Golden Retriever")))


def test_options_are_checked() -> None:
    bad: list[dict[str, Any]] = [{"context_tokens": 0}, {"context_tokens": 2.5}, {"name_position": "behind"}]
    for values in bad:
        with pytest.raises(OptionError):
            methods.load("coop").options(values)
