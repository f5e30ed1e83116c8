"""How to train: every choice of the loop, declared once; what is not given comes from the method's recipe."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from vlprompt.errors import OptionError
from vlprompt.options import OptionSet, option

if TYPE_CHECKING:
    from vlprompt.methods.facts import Recipe

RECIPE = "as the method's recipe says"
# Measured with the embedded backbone on validation pictures (recipes/small/views.py, docs/methods.md): random crops of
# 8 to 100 % of a picture cost CoOp 4 to 5 points beside the test crop. With live pixels a new crop costs nothing.
LATER = {
    "schedule": "epoch",
    "final_lr": 0.0,
    "least_steps": 0,
}  # options of later releases, with what was done before
ALL_PICTURES = -1
MOST_EPOCHS = 1_000_000
FROZEN_VIEWS, LIVE_VIEWS = "center", "epoch"
OF_PICTURES = {"views", "memory"}  # options that count for what is learned without steps, too


@dataclass(frozen=True)
class TrainOptions(OptionSet):
    """Every choice of the loop; values that say so are left to the method's recipe."""

    epochs: int = option(0, f"passes over the training pictures; 0: {RECIPE}", low=0, high=MOST_EPOCHS)
    least_steps: int = option(
        0,
        "with few pictures, epochs are added until there are so many steps; 0: as many as the epochs give",
        low=0,
        high=MOST_EPOCHS,
    )
    batch: int = option(0, f"pictures per step; -1: all; 0: {RECIPE}", low=ALL_PICTURES)
    lr: float = option(0.0, f"highest learning rate; 0: {RECIPE}", low=0)
    optimizer: str = option(
        "auto",
        f"how steps are made; auto: {RECIPE}; lbfgs: all pictures in every step, lr is the longest step; "
        "muon: lr is how far every number moves",
        choices=("auto", "sgd", "adam", "adamw", "lbfgs", "muon"),
    )
    momentum: float = option(-1.0, f"momentum of sgd and muon; -1: {RECIPE}", low=-1, high=1)
    weight_decay: float = option(-1.0, f"decay of all learned tensors; -1: {RECIPE}", low=-1)
    warmup_epochs: int = option(-1, f"first epochs at warmup_lr; -1: {RECIPE}", low=-1)
    warmup_lr: float = option(-1.0, f"learning rate of the warm-up; -1: {RECIPE}", low=-1)
    schedule: str = option(
        "auto",
        f"when the rate falls: every epoch, every step, or never; auto: {RECIPE}",
        choices=("auto", "epoch", "step", "constant"),
    )
    final_lr: float = option(-1.0, f"rate that the cosine ends at; -1: {RECIPE}", low=-1)
    accumulate: int = option(
        1,
        "parts in which a batch is computed to save memory; a loss that is a mean over pictures stays the same",
        low=1,
    )
    views: str = option(
        "auto",
        "training views: a number of random crops per picture that are kept, epoch: a new crop in every epoch "
        "(as published), center: the test crop; auto: center for frozen features and patch tokens, epoch for live pixels",
    )
    select: str = option("last", "which epoch's values are kept", choices=("last", "best"))
    validate_every: int = option(
        0, "epochs between validations; 0: after the last, with best after each", low=0
    )
    memory: float = option(8.0, "GiB that kept pictures and activations may take together", low=0.001)
    save_seconds: float = option(15.0, "seconds between checkpoints; 0: one after every step", low=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", str(self.views))  # a plain number is welcome
        super().__post_init__()
        if self.views not in ("auto", "epoch", "center") and not (
            self.views.isdigit() and int(self.views) > 0
        ):
            raise OptionError(f'views is "{self.views}": expected a number from 1 on, epoch, center or auto')

    def resolved(self, recipe: Recipe, needs: Set[str]) -> TrainOptions:
        """The same with every value filled in from a method's recipe and needs."""
        unset: dict[str, Any] = {
            "epochs": 0,
            "batch": 0,
            "lr": 0.0,
            "optimizer": "auto",
            "momentum": -1.0,
            "weight_decay": -1.0,
            "warmup_epochs": -1,
            "warmup_lr": -1.0,
            "schedule": "auto",
            "final_lr": -1.0,
        }
        filled = {n: getattr(recipe, n) for n, empty in unset.items() if getattr(self, n) == empty}
        if self.views == "auto":
            filled["views"] = LIVE_VIEWS if "pixels" in needs else FROZEN_VIEWS
        return replace(self, **filled)

    def given(self) -> dict[str, Any]:
        """The values that differ from the defaults."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}

    def pictures_of_step(self, pictures: int) -> int:
        """How many of so many training pictures a step takes. Needs resolved options."""
        return pictures if self.batch == ALL_PICTURES else min(self.batch, pictures)

    def lasting(self, pictures: int) -> TrainOptions:
        """The same with as many epochs over so many pictures as `least_steps` asks for. Needs resolved options."""
        steps = pictures // max(1, self.pictures_of_step(pictures))
        return replace(self, epochs=max(self.epochs, -(-self.least_steps // steps))) if steps else self

    @property
    def batch_text(self) -> str:
        return "all pictures" if self.batch == ALL_PICTURES else str(self.batch)

    def view_count(self) -> int:
        """Different views per picture over the whole training; 0: the test crop. Needs resolved options."""
        if self.views == "center":
            return 0
        return self.epochs if self.views == "epoch" else min(int(self.views), self.epochs)

    def decisive(self) -> dict[str, Any]:
        """The values that the resulting numbers depend on."""
        held = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "save_seconds"}
        # runs from before there was a choice have the same settings as ones that make none
        return {name: value for name, value in held.items() if name not in LATER or value != LATER[name]}
