import math
from dataclasses import replace

import pytest
import torch
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.errors import TrainingError
from vlprompt.feeding.inputs import FeatureInputs
from vlprompt.methods.base import Recipe
from vlprompt.seeds import generator
from vlprompt.training.loop import batches, train
from vlprompt.training.optimizers import Optimizer
from vlprompt.training.train_options import TrainOptions

TASK = Task(("red cat", "green dog", "blue sea"), shots=4)


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


def random_inputs(backbone, count: int = 12) -> FeatureInputs:
    features = torch.nn.functional.normalize(
        torch.randn(1, count, backbone.embed_dim, generator=generator(1, "x")), dim=-1
    )
    return FeatureInputs(torch.arange(count) % 3, list(range(count)), [], features)  # type: ignore[arg-type]


def options(**values) -> TrainOptions:
    defaults = {"epochs": 2, "batch": 4, "views": "center"}
    return TrainOptions(**(defaults | values)).resolved(Recipe(), {"features"})


def make(backbone, name: str = "coop", **more):
    return methods.load(name).build(backbone, TASK, more, generator(1, "initial values"))


@pytest.mark.parametrize("epochs", range(1, 8))
def test_a_training_does_not_end_at_a_step_that_failed(backbone, epochs):
    """With steps that are far too long, the loss at the end is one of those that were good."""
    method, inputs, losses = make(backbone, "lamm"), random_inputs(backbone), []
    how = options(epochs=epochs, batch=12, lr=3.0, optimizer="lbfgs", schedule="constant", weight_decay=0.0)

    def note(record):
        if record["event"] == "step":
            losses.append(record["loss"])

    train(method, inputs, how, seed=3, emit=note)
    with torch.no_grad():
        terms = method.train().loss(method(inputs.batch(torch.arange(12))), inputs.labels)
    assert len(losses) == epochs and float(method.total_loss(terms)) <= max(losses[-4:]) + 1e-5


def test_order_depends_on_seed_and_epoch_alone_and_drops_the_last_part():
    first = batches(10, 4, seed=1, epoch=3)
    assert [len(b) for b in first] == [4, 4]
    assert all(torch.equal(a, b) for a, b in zip(first, batches(10, 4, seed=1, epoch=3), strict=True))
    assert not torch.equal(torch.cat(first), torch.cat(batches(10, 4, seed=1, epoch=4)))
    assert not torch.equal(torch.cat(first), torch.cat(batches(10, 4, seed=2, epoch=3)))


def test_steps_are_those_of_sgd_with_momentum_and_decay(backbone):
    method = make(backbone)
    twin = make(backbone)
    value, buffer = twin.context.detach().clone(), torch.zeros_like(twin.context)
    inputs, records = random_inputs(backbone), []
    train(method, inputs, options(), seed=3, emit=records.append)
    for epoch, lr in ((0, 1e-5), (1, 0.002)):
        for index in batches(12, 4, 3, epoch):
            with torch.no_grad():
                twin.context.copy_(value)
            terms = twin.loss(twin(inputs.batch(index)), inputs.labels[index])
            (gradient,) = torch.autograd.grad(twin.total_loss(terms), twin.context)
            buffer = 0.9 * buffer + gradient + 5e-4 * value
            value = value - lr * buffer
    torch.testing.assert_close(method.context.detach(), value, atol=1e-6, rtol=1e-5)
    steps = [r for r in records if r["event"] == "step"]
    epochs = [r for r in records if r["event"] == "epoch"]
    assert len(steps) == 6 and [r["lr"] for r in epochs] == [1e-5, 0.002]
    assert epochs[-1]["loss"] == pytest.approx(sum(r["loss"] for r in steps[3:]) / 3)
    assert steps[-1]["eta"] == 0 and steps[0]["images_per_s"] > 0


@pytest.mark.parametrize("name", ["coop", "coop+lamm"])
def test_accumulation_keeps_the_numbers(backbone, name):
    found = []
    for parts in (1, 3):
        method = make(backbone, name)
        train(method, random_inputs(backbone), options(batch=6, accumulate=parts))
        found.append(method.state_dict())
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, atol=2e-6, rtol=1e-4)


def test_batch_is_clamped_and_said(backbone):
    records = []
    trained = train(make(backbone), random_inputs(backbone, 3), options(batch=32), emit=records.append)
    assert (trained.batch, trained.steps) == (3, 2)
    assert "takes all 3" in records[0]["text"]
    assert next(r for r in records if r["event"] == "training")["steps"] == 1


def test_zero_steps_are_refused(backbone):
    with pytest.raises(TrainingError, match="zero steps"):
        train(make(backbone), random_inputs(backbone, 0), options())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(backbone, bad):
    method = make(backbone)
    inputs = random_inputs(backbone)
    index = batches(12, 4, 1, 1)[1][0]  # met again in epoch 2, step 2; epoch 1 sees it too
    inputs.features[0, index] = bad
    before = method.context.detach().clone()
    first = next(i for i, b in enumerate(batches(12, 4, 1, 0)) if index in b)
    with pytest.raises(TrainingError, match=rf"CoOp: .* epoch 1, step {first + 1} of 3") as caught:
        train(method, inputs, options(), seed=1)
    assert torch.isfinite(method.context).all()
    assert "\n" not in str(caught.value)
    if first == 0:
        assert torch.equal(method.context, before)


def test_the_best_epoch_is_kept(backbone):
    kept = {}

    def on_epoch(epoch, method):
        kept[epoch] = {k: v.clone() for k, v in method.state_dict().items()}
        return {"val_accuracy": [10.0, 30.0, 20.0][epoch]}

    method = make(backbone)
    trained = train(method, random_inputs(backbone), options(epochs=3, select="best"), on_epoch=on_epoch)
    assert trained.best_epoch == 2
    assert torch.equal(method.context, kept[1]["context"])
    assert not torch.equal(kept[1]["context"], kept[2]["context"])


def test_without_validation_the_last_epoch_is_kept_and_that_is_said(backbone):
    said = []
    train(make(backbone), random_inputs(backbone), options(epochs=1, select="best"), emit=said.append)
    assert any("no validation pictures" in record.get("text", "") for record in said)


def test_adamw_learns_too(backbone):
    method = make(backbone)
    trained = train(
        method, random_inputs(backbone), options(epochs=8, optimizer="adamw", lr=0.01, warmup_epochs=0)
    )
    assert trained.loss < 1.09


def test_generators_are_told_apart_by_purpose():
    draws = [
        torch.rand(3, generator=generator(1, *purpose)) for purpose in (("a",), ("b",), ("a", 1), ("a", 11))
    ]
    assert len({tuple(d.tolist()) for d in draws}) == 4
    assert replace(TASK, shots=1) != TASK


def test_the_last_move_is_judged_before_the_epoch_ends(backbone, monkeypatch):
    """A method may put an average in the place of its values then, which is no move."""
    method, order = make(backbone, "lamm"), []
    monkeypatch.setattr(type(method), "end_of_epoch", lambda self, epoch, epochs: order.append(epoch))
    end = Optimizer.end
    monkeypatch.setattr(Optimizer, "end", lambda self, loss: (order.append("judged"), end(self, loss)))
    how = options(epochs=2, batch=12, lr=0.1, optimizer="lbfgs", schedule="constant")
    train(method, random_inputs(backbone), how, seed=3)
    assert order == [0, "judged", 1]
