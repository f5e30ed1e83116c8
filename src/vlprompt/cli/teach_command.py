"""vlprompt teach: further classes and pictures for a run that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.collection_arguments import pictures
from vlprompt.cli.console import note, progress, say, show
from vlprompt.errors import OptionError


def teach(
    run: shared.RunFolder,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PICTURES...]",
            show_default=False,
            help="pictures of the class that --class names, or without it one folder of class folders",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--class", "-c", metavar="NAME", show_default=False, help="a new class, or one that is there"
        ),
    ] = None,
    forget: Annotated[
        list[str] | None,
        typer.Option(
            "--forget", metavar="NAME", show_default=False, help="a class to forget; may be given again"
        ),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option("--rename", metavar="OLD=NEW", show_default=False, help="another name for a class"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="PATH", show_default=False, help="where the run's pictures lie, if they moved"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", show_default=False, help="another folder; if not given, RUN"
        ),
    ] = None,
    json_: shared.Json = False,
    backbone: shared.Moved = None,
    device: shared.Device = "auto",
    no_cache: shared.NoCache = False,
) -> None:
    """Teach a run further classes or pictures, or let it forget or rename a class.

    It learns again from the pictures that it knows and those that come, which
    takes little because their features are kept.

    \b
    vlprompt teach runs/x --class teapot teapots/*.jpg
    vlprompt teach runs/x more_classes/
    vlprompt teach runs/x --forget cup --rename mug="coffee mug"
    """
    changes = changes_of(images or [], name, forget or [], rename or [])
    from vlprompt.runs.info import read_info

    before = read_info(run)
    note("loading torch and the backbone")
    from vlprompt.fitting.teaching_later import teach as learn_again
    from vlprompt.report.run_tables import cost_line, run_table
    from vlprompt.runs.run import Run

    loaded = Run.load(run, backbone, device=device).backbone
    with progress() as receive:
        after = learn_again(
            run,
            changes,
            data=data,
            backbone=loaded,
            out=out,
            cache=not no_cache,
            on_record=receive,
            command=shared.typed_command(),
        )
    if json_:
        import json

        say(json.dumps({"run": str(out or run), **after.info.to_json()}, ensure_ascii=False, indent=1))
        return
    show(run_table(after.info))
    if before.learned is not None:
        say(
            f"before: {before.learned.accuracy:.2f} % of {before.learned.count} pictures, {len(before.class_names)} classes"
        )
    say(cost_line(after.info))
    say(f"run: {out or run}")


def changes_of(
    images: list[str], name: str | None, forget: list[str], rename: list[str]
) -> list[dict[str, Any]]:
    """The changes that the arguments mean; OptionError where they mean none, or do not go together."""
    found: list[dict[str, Any]] = [{"forget": one} for one in forget]
    for text in rename:
        old, sign, new = text.partition("=")
        if not sign:
            raise OptionError(f'--rename is "{text}": expected OLD=NEW')
        found.append({"rename": old, "to": new})
    if name is not None:
        if not images:
            raise OptionError(f'--class "{name}" needs pictures')
        found.append({"add": name, "files": [str(Path(path).absolute()) for path in pictures(images)]})
    elif images:
        found += _of_folders(images)
    if not found:
        raise OptionError(
            "nothing to teach: give --class NAME PICTURES, a folder of classes, --forget or --rename"
        )
    return found


def _of_folders(folders: list[str]) -> list[dict[str, Any]]:
    from vlprompt.data.opening import open_dataset

    found: list[dict[str, Any]] = []
    for folder in folders:
        if not Path(folder).is_dir():
            raise OptionError(f"{folder}: single pictures need their class (--class NAME)")
        dataset = open_dataset(folder, val_fraction=0.0, test_fraction=0.0, least_classes=1)
        for label, name in enumerate(dataset.class_names):
            files = [str((Path(folder) / i.path).absolute()) for i in dataset.all_items if i.label == label]
            found.append({"add": name, "files": files})
    return found
