"""Flags from option dataclasses: `context_tokens: int = option(16, ...)` becomes `--context-tokens INTEGER`.

The method decides which options there are, so the arguments are read twice: first for --method and
--recipe alone, then with the flags of that method. Nobody outside `cli/` knows of this.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Optional, get_type_hints

import typer

from vlprompt.cli.error_reporting import guarded
from vlprompt.errors import OptionError, nearest
from vlprompt.options import OptionSet, field_table

HELD = ("train", "options")  # arguments of a command that hold flags of panels: `= None`, and called so


@dataclass(frozen=True)
class Panel:
    """Flags of one option dataclass. into: the argument of the command that gets the given values."""

    title: str
    kind: type[OptionSet]
    into: str


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def value_of(argv: Sequence[str], *names: str) -> str | None:
    """First reading: the value of one flag in the arguments, if it is there."""
    found = None
    for i, word in enumerate(argv):
        if word == "--":
            break
        if word in names and i + 1 < len(argv):
            found = argv[i + 1]
        for name in names:
            if word.startswith(f"{name}=") and name.startswith("--"):
                found = word[len(name) + 1 :]
    return found


def method_panels(methods_given: Sequence[str]) -> list[Panel]:
    """The options of the given methods; imports their files."""
    from vlprompt import methods

    seen: dict[type[OptionSet], str] = {}
    for name in methods_given:
        spec = methods.load(name)
        parts = [spec.base, spec.wrapper]
        for part in parts:
            if part is not None and part.Options not in seen:
                seen[part.Options] = part.facts.title or name
    return [Panel(f"Options of {title}", kind, "options") for kind, title in seen.items()]


def parameters(panels: Sequence[Panel]) -> Iterator[tuple[inspect.Parameter, str]]:
    """A keyword parameter for every field, and the argument that its value goes into."""
    names: set[str] = set()
    for panel in panels:
        for row in field_table(panel.kind):
            name, kind = row["name"], row["type"]
            if name in names:
                continue
            names.add(name)
            flags = [f"{flag(name)}/--no-{name.replace('_', '-')}"] if kind is bool else [flag(name)]
            declared = typer.Option(
                *flags,
                help=help_text(row),
                show_default=False,
                rich_help_panel=panel.title,
                metavar=metavar(row),
            )
            annotation: Any = Annotated[Optional[kind], declared]  # noqa: UP045 (a type made at run time)
            yield (
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation),
                panel.into,
            )


def metavar(row: dict[str, Any]) -> str:
    if row["type"] is bool:
        return ""
    if row.get("choices"):
        return "|".join(map(str, row["choices"]))
    return {int: "N", float: "X", str: "TEXT"}.get(row["type"], "VALUE")


def help_text(row: dict[str, Any]) -> str:
    """What an option does, its default and its limits."""
    low, high, default = row.get("low"), row.get("high"), row["default"]
    limits = ""
    if low is not None and high is not None:
        limits = f"{low:g} to {high:g}"
    elif low is not None:
        limits = f"from {low:g}"
    elif high is not None:
        limits = f"up to {high:g}"
    said = row["help"].replace("[", r"\[")
    shown = ("yes" if default else "no") if row["type"] is bool else default if default != "" else "none"
    told = f"{default:g}" if isinstance(default, float) else str(default)
    explained = told != "" and f"{told}: " in row["help"]  # "0: as the method's recipe says"
    facts = "; ".join(part for part in ("" if explained else f"default {shown}", limits) if part)
    return f"{said} ({facts})" if facts else said


def command(
    function: Callable[..., Any], panels: Sequence[Panel] = (), *, kept: str = ""
) -> Callable[..., None]:
    """The function as Typer is to see it: guarded, and with the flags of the panels.

    Given values arrive as dicts in the arguments that the panels name; what is not given is left out. kept: what there
    is of the command when it was interrupted.
    """
    own = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)
    extra = list(parameters(panels))
    fed = {panel.into for panel in panels}
    targets = {parameter.name: into for parameter, into in extra}

    def call(**values: Any) -> None:
        dicts: dict[str, dict[str, Any]] = {into: {} for into in fed}
        for name, into in targets.items():
            value = values.pop(name)
            if value is not None:
                dicts[into][name] = value
        with guarded(kept=kept):
            function(**values, **dicts)

    shown = [p.replace(annotation=hints[p.name]) for p in own.parameters.values() if p.name not in HELD]
    every = [*shown, *(parameter for parameter, _ in extra)]
    call.__signature__ = own.replace(parameters=every, return_annotation=None)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in every}
    call.__doc__ = function.__doc__
    call.__name__ = function.__name__
    return call


def flag_names(function: Callable[..., Any]) -> list[str]:
    """The flags that a command declares itself."""
    found = []
    for hint in get_type_hints(function, include_extras=True).values():
        for part in getattr(hint, "__metadata__", ()):
            declared = (getattr(part, "default", None), *(getattr(part, "param_decls", None) or ()))
            found += [word for word in declared if isinstance(word, str) and word.startswith("--")]
    return found


def chosen_methods(argv: Sequence[str]) -> list[str]:
    """First reading: the methods that --method (commas allowed) or --recipe name; [] for none."""
    given = value_of(argv, "--method", "-m")
    if given is not None:
        return [name for name in given.split(",") if name.strip()]
    recipe = value_of(argv, "--recipe")
    if recipe is not None:
        from vlprompt.fitting.recipes import load_recipe

        return [load_recipe(recipe).method]
    return []


def unknown_flag(
    word: str, panels: Sequence[Panel], fixed: Sequence[str], chosen: Sequence[str]
) -> OptionError:
    """The error for a flag that does not exist, with the nearest one, or the methods that have it."""
    from vlprompt import methods

    bare = word.split("=")[0]
    known = {flag(row["name"]) for panel in panels for row in field_table(panel.kind)} | set(fixed)
    owners = []
    learns = any(panel.into in HELD for panel in panels)  # else no method's option is one of the command
    for name in methods.names() if learns else ():
        with suppress(Exception):  # a method file that cannot be imported is no reason to say less
            rows = field_table(methods.method_class(name).Options) if "+" not in name else []
            owners += [name] if any(flag(row["name"]) == bare for row in rows) else []
    if owners:
        who = f" of method {', '.join(chosen)}" if chosen else ""
        return OptionError(f"no option {bare}{who}; it belongs to {', '.join(owners)}")
    import difflib

    close = difflib.get_close_matches(bare, sorted(known), n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else nearest(bare, known)
    return OptionError(f"no option {bare}: {hint}")
