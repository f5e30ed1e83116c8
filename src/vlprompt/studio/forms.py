"""The form of a method: Gradio components made from its option dataclasses, and their values read back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlprompt import methods
from vlprompt.errors import OptionError
from vlprompt.fitting.recipes import load_recipe, measured_for
from vlprompt.options import field_table
from vlprompt.studio.limits import Limits
from vlprompt.training.train_options import TrainOptions

DEFAULT_METHOD = "auto"  # compares some and takes the best; it has no options
SECOND = "coop+lamm"
FIRST = ("epochs",)  # shown at once; everything else lies in the drawer
NOT_HERE = (
    "memory",
    "save_seconds",
    "accumulate",
    "select",
    "validate_every",
)  # nothing to choose in a short training
LIMITED = {"epochs": 1, "least_steps": 0}  # what makes a training long, with the least that is taken
MOST_SHOWN = 200  # epochs at the end of the slider
SMALL_BATCH = 16  # with a dozen pictures of a class, larger steps would be too few
SLOW = " (slow)"
MOST_LETTERS = 40  # of a label
# what people read who never read a paper; the option's own name stands in the line below
_LABELS = {
    "epochs": "Rounds over the pictures",
    "least_steps": "Steps at least",
    "batch": "Pictures per step",
    "lr": "Size of steps",
    "optimizer": "How steps are made",
    "momentum": "How far a step carries on",
    "weight_decay": "Pull towards zero",
    "warmup_epochs": "Rounds of gentle start",
    "warmup_lr": "Size of steps at the start",
    "schedule": "When steps get smaller",
    "final_lr": "Size of steps at the end",
    "views": "Crops of each picture",
    "context_tokens": "Learned words around the name",
    "context_init": "Words to start from",
    "class_specific": "Words of its own for each class",
    "name_position": "Where the name stands",
    "reference": "What is compared with",
    "label_tokens": "Learned words for each class",
    "random_labels": "Forget the names at the start",
    "parameter_loss": "Keep learned words near the names",
    "parameter_weight": "How much that counts for words",
    "feature_loss": "Keep meanings near those of the names",
    "feature_weight": "How much that counts for meanings",
    "logits_loss": "Keep answers near those of the names",
    "logits_weight": "How much that counts for answers",
    "temperature": "How softly answers are compared",
    "distillation": "Which answers are followed",
    "prompts": "Number of sentences",
    "prompt_batch": "Sentences of one step",
    "orthogonality": "Keep sentences apart",
    "divisor": "How the spread of sentences is counted",
    "image_tokens": "Learned pieces beside a picture's",
    "image_depth": "Layers that see them, for pictures",
    "text_depth": "Layers that see them, for names",
    "depth": "Layers that see them",
    "init_always": "Keep the words to start from",
    "placement": "Where a picture changes the words",
    "heads": "Parts of the look at a picture",
    "bottleneck": "How narrow that look is",
    "contrastive_weight": "How much pictures are set apart",
    "strength": "Freedom to follow the pictures",
    "folds": "Parts that are tested in turn",
    "alpha": "How much the pictures count",
    "beta": "How alike pictures have to look",
    "text_weight": "How firmly names are held",
    "image_weight": "How firmly pictures are held",
    "average_mean": "Round around which is averaged",
    "average_std": "Width of that average in rounds",
    "parts": "What is added up",
    "weights": "How much each counts",
    "names": "What answers for names alone",
}


@dataclass(frozen=True)
class Row:
    """One option. into: "options" of the method or "train" of the loop. first: shown at once."""

    name: str
    label: str
    help: str
    kind: type
    value: Any
    choices: tuple[Any, ...] | None
    low: float | None
    high: float | None
    into: str
    first: bool


def method_choices() -> list[tuple[str, str]]:
    """(shown, name) of every method that learns: the one to start with, then methods with words before others, and
    single ones before those with a wrapper."""
    held = {name: methods.known_facts(name) for name in methods.names()}
    names = [name for name, facts in held.items() if facts.learns]
    names.sort(
        key=lambda name: (
            name != SECOND,
            name not in methods.wrapper_names(),
            methods.without_wrappers(name) != name,
            not held[name].learns_words,
            held[name].order,
        )
    )
    shown = [(f"{name} · {said}" if (said := in_plain_words(name)) else name, name) for name in names]
    return [(f"{DEFAULT_METHOD} · tries some and takes the best", DEFAULT_METHOD), *shown]


def in_plain_words(name: str) -> str:
    """What a method changes, for people who never read a paper; nothing for methods that are not known here."""
    facts = methods.facts_of(name)
    if facts is None or not facts.plain_words:
        return ""
    return facts.plain_words + (SLOW if facts.slow else "")


def rows(method: str, limits: Limits, small: bool = True) -> list[Row]:
    """Every option of a method and of its training, with the value that the form starts from.

    small: the backbone is a small one, for which some methods have recipes of their own.
    """
    if method == DEFAULT_METHOD:
        return []
    spec = methods.load(method)
    recipe = measured_for(method, "embedded") if small else None
    held = load_recipe(recipe) if recipe is not None else None
    start: dict[str, Any] = {"batch": SMALL_BATCH, "warmup_epochs": 0, "views": "center"} if small else {}
    train = dict(held.train) if held else start  # as the command line and Python start
    found = [
        _row(entry, held.options if held else {}, "options")
        for kind in spec.kinds
        for entry in field_table(kind)
    ]
    if spec.facts.trains:
        if not train.get("epochs"):
            train["epochs"] = min(spec.facts.recipe.epochs, 50)
        found += [
            _row(entry, train, "train", limits)
            for entry in field_table(TrainOptions)
            if entry["name"] not in NOT_HERE
        ]
    return found


def _row(entry: dict[str, Any], start: dict[str, Any], into: str, limits: Limits | None = None) -> Row:
    name = entry["name"]
    low, high = entry.get("low"), entry.get("high")
    if name in LIMITED and limits is not None:
        low, high = LIMITED[name], limits.epochs
    value = start.get(name, entry["default"])
    if name in LIMITED and high is not None:
        value = min(value, high)
    label = _LABELS.get(name) or _first_words(entry["help"]) or name.replace("_", " ").capitalize()
    return Row(
        name,
        label,
        entry["help"],
        entry["type"],
        value,
        entry.get("choices"),
        low,
        high,
        into,
        into == "train" and name in FIRST,
    )


def _first_words(text: str) -> str:
    """What an option's explanation begins with, where that is short enough for a label."""
    first = re.split(r"[;:.(]", text, maxsplit=1)[0].strip()
    return first[:1].upper() + first[1:] if 0 < len(first) <= MOST_LETTERS else ""


def component(row: Row) -> Any:
    """The Gradio component of an option."""
    import gradio as gr

    # said outright: Gradio would guess it from events, and guess again whenever another part is drawn anew
    told: dict[str, Any] = {
        "label": row.label,
        "elem_id": f"option-{row.name}",
        "interactive": True,
        "min_width": 170,
    }
    if row.name == "epochs":
        return gr.Slider(
            row.low or 1,
            min(row.high or MOST_SHOWN, MOST_SHOWN),
            value=row.value,
            step=1,
            info="more rounds learn the pictures better, and take longer",
            **told,
        )
    told["info"] = f"{row.help} · {row.name}"
    if row.choices:
        return gr.Dropdown(list(row.choices), value=row.value, **told)
    if row.kind is bool:
        return gr.Checkbox(value=row.value, **told)
    if row.kind in (int, float):
        whole: dict[str, Any] = {"precision": 0} if row.kind is int else {}
        return gr.Number(value=row.value, minimum=row.low, maximum=row.high, **whole, **told)
    return gr.Textbox(value=row.value, max_lines=1, **told)


def read(form: Sequence[Row], values: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the method and of the training, from the values of the form's components."""
    found: dict[str, dict[str, Any]] = {"options": {}, "train": {}}
    for row, value in zip(form, values, strict=True):
        if value is None:
            raise OptionError(f"{row.label}: give a value (at first it was {row.value})")
        if row.name in LIMITED and row.high is not None:
            if not isinstance(value, (int, float)):
                raise OptionError(f"{row.label}: expected a number")
            if value > row.high:
                raise OptionError(f"{row.label}: at most {row.high:g}")
        found[row.into][row.name] = value
    by_hand = {row.name for row, value in zip(form, values, strict=True) if value != row.value}
    if "epochs" in by_hand and "least_steps" not in by_hand:
        found["train"].pop("least_steps", None)  # who counts rounds is to have so many
    return found["options"], found["train"]
