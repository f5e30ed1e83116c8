"""Methods of one's own, as files that know nothing but the public names: they work without touching the library."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_data import picture_folder
from support import tiny_backbone

from vlprompt import methods
from vlprompt.contract import CHECKS, Subject
from vlprompt.data.opening import open_dataset
from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.feeding.inputs import FeatureInputs
from vlprompt.methods.base import Batch, Method, Recipe
from vlprompt.methods.tip_adapter import TipAdapter
from vlprompt.runs.run import Run
from vlprompt.training.checkpoints import Checkpoints
from vlprompt.training.loop import train
from vlprompt.training.train_options import TrainOptions

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "add-a-method.md"
TASK = Task(("red cat", "green dog", "blue sea"), shots=4)
GROWING = "growing_contexts.GrowingContexts"
OURS = ("my_kgcoop.KgCoOp", "averaged_coop.AveragedCoOp", "two_rates.TwoRates", GROWING)


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(HERE))
    yield
    for name in ("my_kgcoop", "averaged_coop", "two_rates", "growing_contexts", "former_nudge"):
        sys.modules.pop(name, None)


def build(name: str, **options: Any) -> Method:
    return methods.load(name).build(tiny_backbone(), TASK, options, torch.Generator().manual_seed(1))


def random_inputs(count: int = 12) -> FeatureInputs:
    features = torch.nn.functional.normalize(
        torch.randn(1, count, 96, generator=torch.Generator().manual_seed(3)), dim=-1
    )
    return FeatureInputs(torch.arange(count) % 3, list(range(count)), [], features)  # type: ignore[arg-type]


def settings(**values: Any) -> TrainOptions:
    given = {"epochs": 4, "batch": 4, "views": "center", "lr": 0.05, "warmup_epochs": 0} | values
    return TrainOptions(**given).resolved(Recipe(), {"features"})


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", [*OURS, *(f"{name}+lamm" for name in OURS)])
def test_the_contract(name: str, check: Any) -> None:
    check(Subject(name, tiny_backbone(4), steps=20))


def test_the_page_shows_the_very_file() -> None:
    shown = re.findall(
        r"```python title=\"my_kgcoop.py\"\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert shown == [(HERE / "my_kgcoop.py").read_text(encoding="utf-8")]


def test_kgcoop_by_hand() -> None:
    method = build("my_kgcoop.KgCoOp")
    with torch.no_grad():
        method.context.add_(
            0.1 * torch.randn(method.context.shape, generator=torch.Generator().manual_seed(5))
        )
    batch, labels = random_inputs().batch(torch.arange(4)), torch.tensor([0, 1, 2, 1])
    output = method.train()(batch)
    terms = method.loss(output, labels)
    teacher = method.backbone.text_features([f"a photo of a {name}." for name in TASK.class_names])
    cosines = torch.nn.functional.cosine_similarity(output.text, teacher, dim=-1)
    torch.testing.assert_close(terms["distance"], 1 - cosines.mean())
    expected = torch.nn.functional.cross_entropy(output.logits, labels) + 8 * (1 - cosines.mean())
    torch.testing.assert_close(method.total_loss(terms), expected)


def averaged(contexts: list[torch.Tensor], mean: float, deviation: float) -> torch.Tensor:
    """Section by section as the paper has it."""
    bell = [
        torch.exp(torch.tensor(-((e - mean) ** 2) / (2 * deviation**2))) for e in range(1, len(contexts) + 1)
    ]
    return sum(b * c for b, c in zip(bell, contexts, strict=True)) / sum(bell)


def test_the_average_over_epochs_by_hand() -> None:
    method, plain = (build("averaged_coop.AveragedCoOp", mean=3.0, deviation=1.5) for _ in range(2))
    ends: list[torch.Tensor] = []
    plain.end_of_epoch = lambda epoch, epochs: ends.append(plain.context.detach().clone())  # type: ignore[method-assign]
    for one in (method, plain):
        train(one, random_inputs(), settings())
    assert len(ends) == 4
    torch.testing.assert_close(method.context.detach(), averaged(ends, 3.0, 1.5), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(method.context, ends[-1], atol=1e-4)
    assert set(method.state_dict()) == {"context"}


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    "name", ["averaged_coop.AveragedCoOp", "averaged_coop.AveragedCoOp+lamm", "two_rates.TwoRates"]
)
@pytest.mark.parametrize("after", [5, 6, 7])  # of 4 epochs of 3 steps: in an epoch, at its end, in the next
def test_a_training_that_goes_on_ends_in_the_same_bits(name: str, after: int, tmp_path: Path) -> None:
    """What only the training needs, and the buffers of every optimiser, are in the checkpoint."""
    inputs = random_inputs() if "two" not in name else pixel_inputs()
    whole, broken, again = (build(name) for _ in range(3))
    train(whole, inputs, settings())
    steps = []

    def emit(record: dict[str, Any]) -> None:
        steps.extend([1] if record["event"] == "step" else [])
        if len(steps) > after:
            raise Stop

    with pytest.raises(Stop):
        train(broken, inputs, settings(), emit=emit, checkpoints=Checkpoints(tmp_path, "same", every=0))
    train(again, inputs, settings(), checkpoints=Checkpoints(tmp_path, "same", every=0))
    for key, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


class PixelsAndFeatures(FeatureInputs):
    def batch(self, index: torch.Tensor, view: int = 0) -> Batch:
        pixels = torch.stack(
            [torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(int(i))) for i in index]
        )
        return Batch(features=tiny_backbone().image_features(pixels), pixels=pixels)


def pixel_inputs() -> FeatureInputs:
    held = random_inputs()
    return PixelsAndFeatures(held.labels, held.items, [], held.features)


def test_tensors_learn_by_optimisers_of_their_own() -> None:
    method, inputs = build("two_rates.TwoRates"), pixel_inputs()
    context, shift = method.context.detach().clone(), method.shift.detach().clone()
    train(method, inputs, settings(epochs=1, batch=12))
    step = (method.shift - shift).abs()
    torch.testing.assert_close(
        step, torch.full_like(step, 1e-4), atol=2e-6, rtol=0
    )  # Adam's first step: the rate
    assert (method.context - context).abs().max() > 1e-3


def test_features_are_those_of_the_views_that_are_fed(tmp_path: Path) -> None:
    """A run from pictures with random crops: the method itself compares features and pixels of every batch."""
    from vlprompt import fit

    data = open_dataset(picture_folder(tmp_path / "data"))
    more = {"train": {"epochs": 2, "batch": 4, "views": "epoch"}, "shots": 2}
    for cache in (True, False):
        run = fit(data, "two_rates.TwoRates", tiny_backbone(), cache=cache, **more)
        assert run.scores["test"]["count"] == 8


def test_the_saved_run_holds_what_was_learned_and_no_more(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from vlprompt import fit
    from vlprompt.runs.run import KNOWN

    data = open_dataset(picture_folder(tmp_path / "data"))
    train_ = {"epochs": 2, "batch": 4, "views": "center"}
    fit(data, "averaged_coop.AveragedCoOp", tiny_backbone(), train=train_, shots=2, out=tmp_path / "run")
    (file,) = (tmp_path / "run").glob("*.safetensors")
    assert set(load_file(file)) - {KNOWN} == {"context"}  # the run keeps what its classes look like beside
    assert Run.load(tmp_path / "run", tiny_backbone()).learned.facts.title == "Averaged CoOp"


def test_any_method_can_grow_and_keeps_every_bit_of_what_it_has(tmp_path: Path) -> None:
    from vlprompt.protocols.class_incremental import class_incremental

    data = open_dataset(picture_folder(tmp_path / "data"))
    more: dict[str, Any] = {"train": {"epochs": 2, "batch": 4, "views": 1, "warmup_epochs": 0, "lr": 0.1}}
    (record,) = class_incremental(
        data,
        GROWING,
        tiny_backbone(),
        sessions=3,
        out=tmp_path / "runs",
        shots=2,
        seeds=[1],
        cache=False,
        **more,
    )
    assert record["text_change"] == 0.0 and record["own_forgetting"] == 0.0
    first, last = (
        Run.load(tmp_path / "runs" / "seed1" / f"session{i}", tiny_backbone()).learned for i in (1, 3)
    )
    assert torch.equal(last.rows("context")[:2], first.context)
    assert last.context.shape[0] == 1 and not torch.equal(last.kept["context"][2], last.context[0])
    assert len(last.kept) == 3 and last.trainable_parameters() == last.context.numel()
    some = last.for_classes([last.task.class_names[i] for i in (3, 0)])
    assert torch.equal(some.context, last.rows("context")[[3, 0]])
    with pytest.raises(OptionError, match="knows only the classes"):
        last.for_classes(["teapot"])


class NoNames(TipAdapter):
    """Inherits that its prompts hold no names."""


@pytest.mark.parametrize(
    "name",
    [
        "vlprompt.methods.tip_adapter.TipAdapter+lamm",
        "vlprompt.methods.zeroshot+lamm",
        "vlprompt.methods.lamm+lamm",
        "vlprompt.methods.lamm.LAMM+lamm",
        "my_kgcoop.KgCoOp+lamm+lamm",
        "lamm+lamm",
        "tip_adapter+lamm",
        f"{__name__}.NoNames+lamm",
    ],
)
def test_wrapping_what_holds_no_names_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    with pytest.raises(OptionError, match="hold no class names that lamm could learn"):
        methods.load(name)


def test_wrapping_it_by_hand_is_refused_too() -> None:
    with pytest.raises(OptionError, match="Tip-Adapter hold no class names"):
        methods.method_class("lamm")(tiny_backbone(), TASK, base=build("tip_adapter"))


def test_a_method_of_the_release_before_still_works() -> None:
    with pytest.warns(DeprecationWarning, match="former_nudge.Nudge") as told:
        importlib.import_module("former_nudge")
    said = " ".join(str(one.message) for one in told)
    assert "facts = Facts(title=..., ...)" in said and "texts(seen)" in said and "add-a-method" in said
    for check in CHECKS:
        check(Subject("former_nudge.Nudge", tiny_backbone(4), steps=20))
        check(Subject("former_nudge.Nudge+lamm", tiny_backbone(4), steps=20))
    facts = methods.load("former_nudge.Nudge").facts
    assert facts.title == "Nudge" and facts.needs == {"features"} and facts.zero_shot_start


def test_prompts_of_a_run_can_still_be_asked_for() -> None:
    method = build("my_kgcoop.KgCoOp")
    with pytest.warns(DeprecationWarning, match="method.texts"):
        prompts = method.prompts()
    assert torch.equal(prompts.text.prefix, method.eval().texts()[0].prefix)


def test_a_forward_of_its_own_is_refused() -> None:
    with pytest.raises(OptionError, match="give see.*texts.*compare.*add-a-method"):

        class Own(Method):
            def forward(self, batch: Batch) -> Any:  # type: ignore[override]
                return batch
