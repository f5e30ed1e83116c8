"""What every method file promises (`vlprompt.contract`); the tests find methods by themselves."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import pytest
import torch
from support import tiny_backbone
from torch import Tensor, nn

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.contract import CHECKS, Subject, check_method
from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.methods.base import Method
from vlprompt.methods.coop import CoOp
from vlprompt.prompts.tokens import Output

ALL = methods.names()
LEARNING = [n for n in ALL if methods.load(n).facts.learns]


@lru_cache(maxsize=1)
def backbone() -> Backbone:
    return tiny_backbone(4).to("cpu")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ALL)
def test_every_method(name: str, check: Any) -> None:
    check(Subject(name, backbone()))


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
