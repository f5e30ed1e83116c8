"""The form of a method: Gradio components made from its option dataclasses, and their values read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlprompt import methods
from vlprompt.errors import OptionError
from vlprompt.fitting.recipes import load_recipe, recipe_names
from vlprompt.options import field_table
from vlprompt.studio.limits import Limits
from vlprompt.training.train_options import TrainOptions

DEFAULT_METHOD = "coop+lamm"
FIRST = ("epochs",)  # shown at once; everything else lies in the drawer
NOT_HERE = (
    "memory",
    "save_seconds",
    "accumulate",
    "select",
    "validate_every",
)  # nothing to choose in a short training
MOST_SHOWN = 200  # epochs at the end of the slider
SMALL_BATCH = 16  # with a dozen pictures of a class, larger steps would be too few
SLOW = " (slow)"
_LABELS = {"epochs": "Rounds over the pictures", "lr": "learning rate"}


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
            name != DEFAULT_METHOD,
            name not in methods.wrapper_names(),
            methods.without_wrappers(name) != name,
            not held[name].learns_words,
            held[name].order,
        )
    )
    return [(f"{name} · {said}" if (said := in_plain_words(name)) else name, name) for name in names]


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
    spec = methods.load(method)
    recipe = f"small_{method.replace('+', '_')}"
    held = load_recipe(recipe) if small and recipe in recipe_names() else None
    start: dict[str, Any] = {"batch": SMALL_BATCH, "warmup_epochs": 0, "views": "center"} if small else {}
    train = (held.train if held else {}) | start
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
    if name == "epochs" and limits is not None:
        low, high = 1, limits.epochs
    label = _LABELS.get(name, name.replace("_", " "))
    return Row(
        name,
        label,
        entry["help"],
        entry["type"],
        start.get(name, entry["default"]),
        entry.get("choices"),
        low,
        high,
        into,
        into == "train" and name in FIRST,
    )


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
    told["info"] = row.help
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
        if row.name == "epochs" and row.high is not None and value > row.high:
            raise OptionError(f"{row.label}: at most {row.high:g}")
        found[row.into][row.name] = value
    return found["options"], found["train"]
