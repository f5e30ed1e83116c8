"""The command line's door: commands, global switches, and what happens when something goes wrong.

Starting it imports neither torch nor matplotlib; `--help` answers at once.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from vlprompt import __version__
from vlprompt.cli import completion as completing
from vlprompt.cli.backbones_command import backbones
from vlprompt.cli.cache_command import cache
from vlprompt.cli.check_command import check
from vlprompt.cli.console import switches
from vlprompt.cli.data_command import data
from vlprompt.cli.demo_command import demo
from vlprompt.cli.embed_command import embed
from vlprompt.cli.error_reporting import INTERRUPTED, Stop, fail, guarded, told, usage_line
from vlprompt.cli.eval_command import evaluate
from vlprompt.cli.export_command import export
from vlprompt.cli.fit_command import fit
from vlprompt.cli.flags import Panel, chosen_methods, command, flag_names, method_panels, unknown_flag
from vlprompt.cli.hub_commands import pull, push
from vlprompt.cli.import_command import import_
from vlprompt.cli.methods_command import methods
from vlprompt.cli.plot_command import plot
from vlprompt.cli.predict_command import predict
from vlprompt.cli.protocol_command import protocol, table
from vlprompt.cli.report_command import report
from vlprompt.cli.serve_command import PANELS as SERVER
from vlprompt.cli.serve_command import serve
from vlprompt.cli.sort_command import sort
from vlprompt.cli.studio_command import studio
from vlprompt.cli.sweep_command import sweep
from vlprompt.cli.teach_command import teach
from vlprompt.errors import OptionError, nearest
from vlprompt.plain_text import printable

ANEW = "the same command goes on from the last checkpoint if there is one, and begins anew if not"
SEEDS = "finished seeds are in the results; the same command begins anew, but for those that have a folder in --runs"
RUNS = "finished runs are in the results, and the same command goes on with the others"
FILES = "finished files stay, and the same command goes on with the others"

# name, function, whether it takes training and method options, what there is of it when it was interrupted
COMMANDS: tuple[tuple[str, Callable[..., Any], bool, str], ...] = (
    ("fit", fit, True, ANEW),
    ("eval", evaluate, False, ""),
    ("predict", predict, False, ""),
    ("teach", teach, False, ANEW),
    ("sort", sort, False, FILES),
    ("check", check, False, ""),
    ("report", report, False, ""),
    ("studio", studio, False, ""),
    ("methods", methods, False, ""),
    ("backbones", backbones, False, ""),
    ("data", data, False, ""),
    ("import", import_, False, ""),
    ("protocol", protocol, True, SEEDS),
    ("sweep", sweep, False, RUNS),
    ("embed", embed, False, FILES),
    ("export", export, False, ""),
    ("serve", serve, False, ""),
    ("push", push, False, ""),
    ("pull", pull, False, ""),
    ("table", table, False, ""),
    ("plot", plot, False, ""),
    ("demo", demo, False, ""),
    ("cache", cache, False, ""),
)
PROTOCOL_METHOD = "coop+lamm"  # where none is given; fit chooses then
NAMES = tuple(name for name, *_ in COMMANDS)
_GLOBAL = {"--debug": "debug", "--quiet": "quiet", "-q": "quiet"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code (0, 1, 2 for usage, 130 when interrupted)."""
    asked = completing.typed_so_far() if argv is None else None
    if asked is not None:  # by a shell, for what may follow; method files, which need torch, are not read
        build(training_flags(asked))(args=[], prog_name="vlprompt")
        return 0
    words = take_switches(list(sys.argv[1:] if argv is None else argv))
    with warnings.catch_warnings():
        warnings.showwarning = _plain_warning
        return _run(words)


def _run(words: list[str]) -> int:
    chosen: list[str] = []
    panels: list[Panel] = []
    try:
        with guarded():
            if words and not words[0].startswith("-") and words[0] not in NAMES:
                raise OptionError(f'no command "{words[0]}": {nearest(words[0], NAMES)}')
            chosen, panels = options_of(words)
        return int(build(panels)(args=words, prog_name="vlprompt", standalone_mode=False) or 0)
    except Stop as stop:
        return stop.code
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted")
        return INTERRUPTED
    except typer.Exit as end:
        return end.exit_code
    except Exception as error:
        if not hasattr(error, "format_message"):  # no usage error of the parser
            code, text = told(error)
            if switches.debug:
                raise
            if text:
                fail(text)
            return code
        asked = words[0] if words and words[0] in NAMES else ""
        word = getattr(error, "option_name", None)
        if word is not None and asked and "No such option" in error.format_message():
            function = {name: f for name, f, *_ in COMMANDS}[asked]
            fail(
                str(unknown_flag(word, [*panels, *own_panels(asked)], flag_names(function), chosen))
                + f" (see vlprompt {asked} --help)"
            )
        else:
            fail(usage_line(error, asked))
        return 2


def take_switches(words: list[str]) -> list[str]:
    """--debug and --quiet hold wherever they stand; they are taken out."""
    switches.debug = switches.quiet = False
    end = words.index("--") if "--" in words else len(words)
    for word in words[:end]:
        if word in _GLOBAL:
            setattr(switches, _GLOBAL[word], True)
    return [word for i, word in enumerate(words) if i >= end or word not in _GLOBAL]


def options_of(words: Sequence[str]) -> tuple[list[str], list[Panel]]:
    """First reading: the methods, and the flags that they and the training bring."""
    training = training_flags(words)
    if not training:
        return [], []
    chosen = chosen_methods(words)
    if not chosen and {"--help", "-h"} & set(words):  # their files need torch, which takes seconds
        return [], training
    named = [
        name for name in chosen or [PROTOCOL_METHOD] if name != "auto"
    ]  # which has no options of its own
    if not chosen and words[0] == "fit":
        named = []
    return chosen or ([PROTOCOL_METHOD] if words[0] != "fit" else []), [*method_panels(named), *training]


def training_flags(words: Sequence[str]) -> list[Panel]:
    """Flags of the training, for the commands that train."""
    if not words or words[0] not in {name for name, _, learns, _ in COMMANDS if learns}:
        return []
    from vlprompt.training.train_options import TrainOptions

    return [Panel("Training", TrainOptions, "train")]


def own_panels(name: str) -> Sequence[Panel]:
    """Flags that one command takes from an option dataclass and no other does."""
    return SERVER if name == "serve" else ()


def build(panels: Sequence[Panel]) -> typer.Typer:
    """All commands; panels: flags of those that learn."""
    app = typer.Typer(
        name="vlprompt",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Teach CLIP-like models new classes from a few pictures by learning prompts.",
        epilog="First steps: vlprompt demo, then vlprompt fit YOUR_FOLDER.",
    )
    app.callback()(_globals)
    for name, function, learns, kept in COMMANDS:
        app.command(name)(command(function, panels if learns else own_panels(name), kept=kept))
    return app


def _globals(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=lambda on: _version(on), help="show the version"),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the trace of an error")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="no progress; results and errors only")
    ] = False,
) -> None:
    pass


def _version(on: bool) -> None:
    if on:
        print(f"vlprompt {__version__}")
        raise typer.Exit()


def _plain_warning(message: Warning | str, *args: Any, **more: Any) -> None:
    """Warnings as one line, without file and line number."""
    if not switches.quiet:
        print(f"note: {printable(' '.join(str(message).split()))}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
