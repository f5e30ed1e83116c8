"""Writes the tables of options, facts and recipes into docs/methods.md and docs/methods/ from what the code declares.

    python docs/make_tables.py            rewrites the parts between <!-- table: NAME --> and <!-- end -->
    python docs/make_tables.py --check    exits with 1 if they are not up to date

NAME is a method (its options), `facts` and a method, `training`, `recipes` or `small recipes`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from parts import HERE, rewrite

PAGES = (HERE / "methods.md", *sorted((HERE / "methods").glob("*.md")))
FED = {
    ("features",): "encoded once by the frozen image tower, features kept",
    ("features", "patches"): "encoded once by the frozen image tower, features and patch tokens kept",
    (
        "features",
        "patch_states",
    ): "encoded once by the frozen image tower, features and states of the patches kept",
    ("pixels",): "run through the image tower in every step",
    (
        "features",
        "pixels",
    ): "run through the image tower in every step, beside features of the same views that are kept",
}


def options_table(kind: type) -> Iterator[str]:
    """Markdown rows of one option dataclass."""
    from vlprompt.options import field_table

    rows = field_table(kind)
    if not rows:
        yield "No options."
        return
    yield "| option | default | what it does |"
    yield "|---|---|---|"
    for row in rows:
        yield f"| `{row['name']}` | {shown(row['default'])} | {cell(row['help'])}{limits(row)} |"


def shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return f'"{value}"' if isinstance(value, str) and (" " in value or not value) else str(value)


def limits(row: dict[str, object]) -> str:
    """The choices or the range of an option, in brackets."""
    low, high, choices = row.get("low"), row.get("high"), row.get("choices")
    if choices:
        return f" ({', '.join(f'`{choice}`' for choice in choices)})"  # type: ignore[attr-defined]
    if low is not None and high is not None:
        return f" ({low:g} to {high:g})"
    return f" (at least {low:g})" if low is not None else ""


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def facts_table(name: str) -> Iterator[str]:
    """What a method's class says of itself, as rows."""
    from vlprompt import methods

    facts = methods.facts_of(name)
    assert facts is not None
    recipe = facts.recipe
    settings = f"{recipe.optimizer}, lr {recipe.lr:g}, {recipe.epochs} epochs of batch {recipe.batch}"
    yield f"| `--method {name}` | |"
    yield "|---|---|"
    yield f"| recomputed in every step | {facts.per_step} |"
    yield f"| training pictures are | {FED[tuple(sorted(facts.needs))] if facts.learns else 'not needed'} |"
    yield f"| takes new class names | {'yes' if facts.takes_new_names else 'no'} |"
    yield f"| begins as zero-shot | {'yes' if facts.zero_shot_start else 'no'} |"
    yield f"| default training | {settings if facts.takes_steps else 'none'} |"
    yield f"| source | [{facts.paper}]({facts.link}) |"


def recipes_table(small: bool) -> Iterator[str]:
    """Markdown rows of the published recipes, or of those for small backbones."""
    from vlprompt.fitting.recipes import load_recipe, recipe_names
    from vlprompt.training.train_options import ALL_PICTURES

    yield "| recipe | method | what | options | epochs | batch | lr |"
    yield "|---|---|---|---|---|---|---|"
    for name in (name for name in recipe_names() if name.startswith("small_") == small):
        held = load_recipe(name)
        options = ", ".join(f"{key} {shown(value)}" for key, value in held.options.items()) or "none"
        train = (f"{held.train[key]:g}" if key in held.train else "own" for key in ("epochs", "batch", "lr"))
        train = ["all" if value == str(ALL_PICTURES) else value for value in train]
        if least := held.train.get("least_steps"):
            train[0] += f", {least} steps at least"
        what = held.title + (f"; variants {', '.join(held.variants)}" if held.variants else "")
        yield f"| `{name}` | {held.method} | {cell(what)} | {cell(options)} | {' | '.join(train)} |"


def table(name: str) -> str:
    """The table that a marker asks for."""
    from vlprompt import methods
    from vlprompt.training.train_options import TrainOptions

    if name in ("recipes", "small recipes"):
        rows = recipes_table(name.startswith("small"))
    elif name == "training":
        rows = options_table(TrainOptions)
    elif name.startswith("facts "):
        rows = facts_table(name.removeprefix("facts "))
    else:
        rows = options_table(methods.method_class(name).Options)
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(rewrite(PAGES, r"[\w+ ]+", table, "make_tables.py"))
