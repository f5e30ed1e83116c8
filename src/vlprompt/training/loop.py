"""The one training loop: batch -> prompts -> forward -> output -> loss -> step, and plain records of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vlprompt.errors import TrainingError
from vlprompt.feeding.inputs import Inputs
from vlprompt.methods.base import Method
from vlprompt.seeds import generator
from vlprompt.training.checkpoints import Checkpoints, State, pack, unpack
from vlprompt.training.interrupts import Interrupted, asked_to_stop
from vlprompt.training.optimizers import WHOLE, Optimizer, grouped_optimizer
from vlprompt.training.schedule import learning_rate
from vlprompt.training.train_options import ALL_PICTURES, TrainOptions

Record = dict[str, Any]
Emit = Callable[[Record], None]
OnEpoch = Callable[[int, Method], dict[str, float]]


@dataclass(frozen=True)
class Trained:
    """What a training took and gave. seconds: of all processes that took part, if it was interrupted."""

    epochs: int
    steps: int
    batch: int
    seconds: float
    images_per_s: float
    loss: float
    accuracy: float
    best_epoch: int | None = None


def batches(count: int, batch: int, seed: int, epoch: int) -> list[Tensor]:
    """Picture numbers of every step of an epoch: shuffled, the last incomplete batch left out (published)."""
    order = torch.randperm(count, generator=generator(seed, "order of pictures", epoch))
    return [order[i : i + batch] for i in range(0, count - batch + 1, batch)]


def train(
    method: Method,
    inputs: Inputs,
    options: TrainOptions,
    *,
    seed: int = 1,
    emit: Emit = lambda record: None,
    on_epoch: OnEpoch | None = None,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Trains a method in place.

    inputs: training pictures; options: resolved (no value left to a recipe). emit is told about every
    step and epoch. on_epoch(epoch, method) gives named values, of which "val_accuracy" decides for
    select="best". Raises TrainingError for no pictures and for a loss that is not finite, before the
    update that it would spoil.
    """
    count = len(inputs)
    batch = options.pictures_of_step(count)
    if count == 0 or batch == 0:
        raise TrainingError(
            "there is nothing to train on: no usable training picture, so zero steps per epoch"
        )
    if batch < options.batch:
        emit(message(f"batch {options.batch} is more than there are pictures; each step takes all {batch}"))
    if options.optimizer == WHOLE and batch < count:
        text = f"{WHOLE} compares the losses of its steps, here of other pictures each time: batch {ALL_PICTURES} takes all"
        emit(message(text))
    if options.select == "best" and on_epoch is None:
        emit(message("there are no validation pictures to tell the best epoch by: the last one is kept"))
    steps = count // batch
    emit(
        {
            "event": "training",
            "epochs": options.epochs,
            "steps": steps,
            "batch": batch,
            "pictures": count,
            "parameters": method.trainable_parameters(),
        }
    )
    optimizer = grouped_optimizer(
        options.optimizer,
        method.parameters(),
        method.parameter_groups(),
        lr=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )
    run = _Training(method, inputs, options, optimizer, seed, batch, steps, emit, on_epoch, checkpoints)
    return run.go()


def message(text: str, **more: Any) -> Record:
    return {"event": "message", "text": text, **more}


class _Training:
    """The state of one call of `train`."""

    def __init__(
        self,
        method: Method,
        inputs: Inputs,
        options: TrainOptions,
        optimizer: Optimizer,
        seed: int,
        batch: int,
        steps: int,
        emit: Emit,
        on_epoch: OnEpoch | None,
        checkpoints: Checkpoints | None,
    ) -> None:
        self.method, self.inputs, self.options, self.optimizer = method, inputs, options, optimizer
        self.seed, self.batch, self.steps, self.emit = seed, batch, steps, emit
        self.on_epoch, self.checkpoints = on_epoch, checkpoints
        self.weights = method.loss_weights()
        self.best: dict[str, Tensor] = {}
        self.numbers: dict[str, Any] = {"seconds": 0.0, "sums": {}, "best": None, "best_epoch": None}
        self.views = max(1, options.view_count())

    def go(self) -> Trained:
        state = self._resume()
        self.method.train()
        self._began, self._before = time.perf_counter(), self.numbers["seconds"]
        self._done_before = state.epoch * self.steps + state.step
        record: Record = {}
        with asked_to_stop() as self._asked:
            for epoch in range(state.epoch, self.options.epochs):
                record = self._epoch(epoch, state.step if epoch == state.epoch else 0)
        if self.options.select == "best" and self.best:
            self.method.load_state_dict(self.best)
        for name, value in self.method.named_parameters():
            if not torch.isfinite(value).all():
                raise self._not_finite(self.options.epochs - 1, self.steps - 1, f"{name} is")
        record = record or self.numbers.get("last", {})
        return Trained(
            self.options.epochs,
            self.options.epochs * self.steps,
            self.batch,
            self._seconds(),
            record.get("images_per_s", 0.0),
            record.get("loss", math.nan),
            record.get("accuracy", math.nan),
            self.numbers["best_epoch"] if self.options.select == "best" else None,
        )

    def _resume(self) -> State:
        state = self.checkpoints.load() if self.checkpoints is not None else None
        if state is None:
            return State()
        unpack(state, self.method, self.optimizer)
        self.best = state.part("best")
        self.numbers = state.numbers
        epoch, step = divmod(state.epoch * self.steps + state.step, self.steps)
        self.emit(
            message(
                f"going on at epoch {epoch + 1}, step {step + 1}",
                resumed=True,
                epoch=state.epoch + 1,
                step=state.step,
            )
        )
        return state

    def _epoch(self, epoch: int, first: int) -> Record:
        lr = self._set_rates(epoch)
        if first == 0:
            self.numbers["sums"] = {}
        todo = batches(len(self.inputs), self.batch, self.seed, epoch)[first:]
        for step, (index, inputs) in enumerate(self._load(todo, epoch % self.views), start=first):
            if self.options.schedule == "step":
                lr = self._set_rates(epoch + step / self.steps)
            record = self._step(epoch, step, index, inputs) | {"lr": lr}
            self.emit(record)
            self._save(epoch, step + 1)
            self._stop_if_asked(epoch, step + 1)
        if self.optimizer.judges and epoch == self.options.epochs - 1:
            self._judge_the_last_move()
        return self._end_of_epoch(epoch, lr)

    def _set_rates(self, epoch: float) -> float:
        """Every group's rate at an epoch or a step in it; gives that of the tensors that ask for none of their own."""
        options = self.options
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(
                epoch,
                lr=group["highest_lr"],
                epochs=options.epochs,
                warmup_epochs=options.warmup_epochs,
                warmup_lr=options.warmup_lr,
                final_lr=group["highest_lr"] if options.schedule == "constant" else options.final_lr,
            )
        return self.optimizer.param_groups[0]["lr"]

    def _load(self, todo: list[Tensor], view: int) -> Iterator[tuple[Tensor, list[Any]]]:
        """Each batch in its parts, (numbers of pictures, what the method is fed)."""
        parts = [list(index.tensor_split(min(self.options.accumulate, len(index)))) for index in todo]
        loaded = self.inputs.stream([part for batch in parts for part in batch], view)
        for index, batch in zip(todo, parts, strict=True):
            yield index, [(part, next(loaded)) for part in batch]

    def _step(self, epoch: int, step: int, index: Tensor, parts: list[Any]) -> Record:
        """One update from one batch, whose parts' gradients are summed with their share as weight."""
        method, device = self.method, self.method.backbone.device
        self.optimizer.zero_grad(set_to_none=True)
        names: list[str] = []
        sums: Tensor | None = None
        for numbers, inputs in parts:
            labels = self.inputs.labels[numbers].to(device)
            output = method(inputs)
            terms = method.loss(output, labels)
            share = len(numbers) / len(index)
            loss = method.total_loss(terms) * share
            loss.backward()
            names = ["loss", *terms, "correct"]
            correct = (output.logits.argmax(-1) == labels).sum()
            values = torch.stack(
                [loss.detach(), *(t.detach() * share for t in terms.values()), correct.float()]
            )
            sums = values if sums is None else sums + values
        assert sums is not None
        found = dict(zip(names, sums.tolist(), strict=True))  # the one wait for the device in a step
        if not math.isfinite(found["loss"]):
            raise self._not_finite(epoch, step, f"the loss is {found['loss']} and")
        self.optimizer.step(found["loss"])
        held = self.numbers["sums"]
        for name, value in found.items():
            held[name] = held.get(name, 0.0) + value
        self.numbers["seconds"] = self._seconds()
        return {
            "event": "step",
            "epoch": epoch + 1,
            "step": step + 1,
            "loss": found["loss"],
            "terms": {n: found[n] for n in names[1:-1]},
            "accuracy": 100 * found["correct"] / len(index),
            **self._pace(epoch, step + 1),
        }

    @torch.no_grad()
    def _judge_the_last_move(self) -> None:
        """One more look at the last batch, without gradients: an optimiser that tries its steps is not left at a bad try."""
        epoch = self.options.epochs - 1
        last = batches(len(self.inputs), self.batch, self.seed, epoch)[-1]
        device, loss = self.method.backbone.device, 0.0
        for index, parts in self._load([last], epoch % self.views):
            for numbers, inputs in parts:
                terms = self.method.loss(self.method(inputs), self.inputs.labels[numbers].to(device))
                loss += float(self.method.total_loss(terms)) * len(numbers) / len(index)
        self.optimizer.end(loss)

    def _end_of_epoch(self, epoch: int, lr: float) -> Record:
        self.method.end_of_epoch(epoch, self.options.epochs)
        sums, n = self.numbers["sums"], self.steps
        record: Record = {
            "event": "epoch",
            "epoch": epoch + 1,
            "epochs": self.options.epochs,
            "steps": n,
            "lr": lr,
            "loss": sums["loss"] / n,
            "accuracy": 100 * sums["correct"] / (n * self.batch),
            "terms": {k: v / n for k, v in sums.items() if k not in ("loss", "correct")},
            **self._pace(epoch, n),
        }
        if self.on_epoch is not None:
            record |= self.on_epoch(epoch, self.method)
            self.method.train()
        score = record.get("val_accuracy")
        if score is not None and (self.numbers["best"] is None or score > self.numbers["best"]):
            self.numbers |= {"best": score, "best_epoch": epoch + 1}
            if self.options.select == "best":
                self.best = {k: v.detach().clone() for k, v in self.method.state_dict().items()}
        self.numbers["last"] = {k: record[k] for k in ("loss", "accuracy", "images_per_s")}
        self.emit(record)
        self._save(epoch + 1, 0)
        return record

    def _stop_if_asked(self, epoch: int, step: int) -> None:
        """After Ctrl-C: keeps where it stands, and ends. What cannot be kept is no training that goes on."""
        if not self._asked():
            return
        if self.checkpoints is None or not self._save(epoch, step, now=True):
            raise KeyboardInterrupt
        raise Interrupted(self.checkpoints.path, epoch, step)

    def _save(self, epoch: int, step: int, *, now: bool = False) -> bool:
        """Keeps where it stands if it is time, or now; whether that was done."""
        if self.checkpoints is None or not (now or self.checkpoints.due()):
            return False
        tensors = pack(self.method, self.optimizer) | {f"best.{k}": v for k, v in self.best.items()}
        return self.checkpoints.save(State(epoch, step, tensors, self.numbers))

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._began

    def _pace(self, epoch: int, step: int) -> Record:
        """images/s and the time left, from the steps of this process."""
        taken = time.perf_counter() - self._began
        done = epoch * self.steps + step - self._done_before
        left = self.options.epochs * self.steps - self._done_before - done
        per_step = taken / max(1, done)
        return {
            "seconds": round(self._seconds(), 3),
            "images_per_s": round(self.batch / max(per_step, 1e-9), 2),
            "eta": round(left * per_step, 2),
        }

    def _not_finite(self, epoch: int, step: int, what: str) -> TrainingError:
        return TrainingError(
            f"{self.method.facts.title}: {what} not finite in epoch {epoch + 1}, step {step + 1} of {self.steps}: "
            "try a smaller lr or --precision float32"
        )
