"""vlprompt methods: what can be learned, what it costs, and where it was published."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note, say, show

if TYPE_CHECKING:
    from vlprompt.methods.facts import Facts


def methods(
    backbone: shared.Backbone = "embedded",
    tokenizer: shared.Tokenizer = None,
    classes: Annotated[
        int, typer.Option("--class-count", min=2, help="classes to count parameters for")
    ] = 100,
    recipes: Annotated[
        bool, typer.Option("--recipes", help="the published settings that --recipe knows")
    ] = False,
    json_: shared.Json = False,
) -> None:
    """All methods: what they learn, what a step recomputes, published settings.

    \b
    vlprompt methods
    vlprompt methods --backbone ViT-B/16 --class-count 1000
    vlprompt methods --recipes
    """
    if recipes:
        _recipes(json_)
        return
    note("loading torch and the backbone")
    from rich.table import Table

    from vlprompt import methods as known
    from vlprompt.backbones.loading import load_backbone

    loaded = load_backbone(backbone, tokenizer=tokenizer)
    rows = [describe(name, loaded, classes) for name in known.names()]
    if json_:
        say(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    table = Table(
        title=f"Methods on {backbone}, {classes} classes", box=None, pad_edge=False, title_justify="left"
    )
    for column in ("name", "method", "paper", "learned numbers", "needs", "every step", "recipe"):
        table.add_column(
            column, justify="right" if column == "learned numbers" else "left", no_wrap=column == "name"
        )
    for row in rows:
        learned = (
            f"{row['parameters']:,}".replace(",", " ") if row["parameters"] is not None else row["error"]
        )
        table.add_row(
            row["name"], row["title"], row["paper"], learned, row["needs"], row["per_step"], row["recipe"]
        )
    show(table)


def describe(name: str, backbone: Any, classes: int) -> dict[str, Any]:
    """The facts of one method; `error` where it cannot be built on the backbone."""
    from vlprompt import methods as known
    from vlprompt.data.task import Task
    from vlprompt.errors import VlpromptError

    spec = known.load(name)
    facts = spec.facts
    row: dict[str, Any] = {"name": name, "paper": facts.paper, "parameters": None, "error": ""}
    try:
        task = Task(tuple(f"class {i}" for i in range(classes)))
        method = spec.build(backbone, task)
    except VlpromptError as error:
        row["error"] = str(error)
    else:
        row["parameters"] = method.trainable_parameters() if facts.learns else 0
    recipe = facts.recipe
    words = f"{recipe.optimizer}, lr {recipe.lr:g}, {recipe.epochs} epochs of batch {recipe.batch}"
    return row | {
        "title": facts.title,
        "needs": needs_in_words(facts),
        "per_step": facts.per_step,
        "recipe": words if facts.takes_steps else "none",
    }


def needs_in_words(facts: Facts) -> str:
    """`features`, `patches` (with which features come), `pixels`, `pixels and features`."""
    needs = facts.needs - {"features"} if "patches" in facts.needs else facts.needs
    return " and ".join(sorted(needs, reverse=True))


def _recipes(as_json: bool) -> None:
    from dataclasses import asdict

    from rich.table import Table

    from vlprompt.fitting.recipes import load_recipe, recipe_names

    held = {name: load_recipe(name) for name in recipe_names()}
    if as_json:
        say(json.dumps({name: asdict(recipe) for name, recipe in held.items()}, ensure_ascii=False, indent=1))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("recipe", "method", "what", "published in"):
        table.add_column(column, no_wrap=column == "recipe")
    for name, recipe in held.items():
        table.add_row(name, recipe.method, recipe.title, recipe.source)
    show(table)
