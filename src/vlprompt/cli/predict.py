"""vlprompt predict: what is on pictures."""

from __future__ import annotations

import csv
import glob
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlprompt.cli import shared
from vlprompt.cli.console import note, out
from vlprompt.cli.guarding import Stop, fail
from vlprompt.errors import DataError, OptionError

if TYPE_CHECKING:
    from vlprompt.run import Prediction

CHUNK = 256  # pictures between two lines of progress


def predict(
    run: shared.RunFolder,
    images: Annotated[list[str], typer.Argument(
        metavar="IMAGE...", show_default=False, help="pictures, folders of pictures, or patterns such as '*.jpg'",
    )],
    top: Annotated[int, typer.Option("--top", min=1, help="classes per picture")] = 5,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object a line on stdout")] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="CSV on stdout: path, rank, class, probability")] = False,
    backbone: Annotated[str | None, typer.Option(
        "--backbone", "-b", metavar="PATH", show_default=False, help="where the backbone now lies, if it has moved",
    )] = None,
    device: shared.Device = "auto",
) -> None:  # fmt: skip
    """The most probable classes of each picture.

    A picture that cannot be read is named on stderr, and the others are done;
    the exit code is 1 only if none could be read.

    \b
    vlprompt predict runs/x cat.jpg dog.jpg
    vlprompt predict runs/x holiday/ --top 1 --csv > found.csv
    """
    if json_ and csv_:
        raise OptionError("--json and --csv exclude each other")
    paths = pictures(images)
    note(f"{len(paths)} pictures; loading torch and the backbone")
    from vlprompt.run import Run

    loaded = Run.load(run, backbone, device=device)
    write = _Writer(json_, csv_, len(paths), top)
    read = 0
    for start in range(0, len(paths), CHUNK):
        for found in loaded.predict(paths[start : start + CHUNK], top=top):
            if found.error is not None:
                fail(found.error if found.picture in found.error else f"{found.picture}: {found.error}")
            else:
                read += 1
            write(found)
        if len(paths) > CHUNK:
            note(f"{min(start + CHUNK, len(paths))} of {len(paths)} pictures")
    if read < len(paths):
        note(f"{len(paths) - read} of {len(paths)} pictures could not be read")
    if not read:
        raise Stop(1)


def pictures(words: Sequence[str]) -> list[str]:
    """Files that the words mean: themselves, what lies in folders, and what patterns match; in order, once each."""
    from vlprompt.data.layouts import is_picture

    found: dict[str, None] = {}
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            inside = [str(p) for p in sorted(path.rglob("*")) if p.is_file() and is_picture(p.name)]
            if not inside:
                raise DataError(f"{word}: no pictures in this folder")
            found.update(dict.fromkeys(inside))
        elif not path.exists() and glob.has_magic(word):
            matched = sorted(glob.glob(str(path), recursive=True))
            if not matched:
                raise DataError(f"{word}: no file matches this pattern")
            found.update(dict.fromkeys(p for p in matched if Path(p).is_file()))
        else:
            found[str(path)] = None
    return list(found)


class _Writer:
    """Writes predictions one by one, as text, JSON lines or CSV."""

    def __init__(self, as_json: bool, as_csv: bool, count: int, top: int) -> None:
        self.as_json, self.as_csv, self.count, self.top = as_json, as_csv, count, top
        self.console = out()
        if as_csv:
            self.rows = csv.writer(sys.stdout, lineterminator="\n")
            self.rows.writerow(["path", "rank", "class", "probability", "error"])

    def __call__(self, found: Prediction) -> None:
        if self.as_json:
            top = [{"class": name, "probability": round(p, 6)} for name, p in found.top]
            record = {"path": found.picture, "top": top, "error": found.error}
            print(json.dumps(record, ensure_ascii=False), flush=True)
        elif self.as_csv:
            for rank, (name, p) in enumerate(found.top, start=1):
                self.rows.writerow([found.picture, rank, name, f"{p:.6f}", ""])
            if found.error is not None:
                self.rows.writerow([found.picture, "", "", "", found.error])
        elif found.error is None:
            self._text(found)

    def _text(self, found: Prediction) -> None:
        from rich.markup import escape

        if self.top == 1:
            name, p = found.top[0]
            self.console.print(f"{escape(found.picture)}  [bold]{escape(name)}[/]  {100 * p:.1f} %", soft_wrap=True)
            return
        self.console.print(f"[bold]{escape(found.picture)}[/]", soft_wrap=True)
        for name, p in found.top:
            self.console.print(f"  {100 * p:5.1f} %  {'█' * round(24 * p):<24}  {escape(name)}", soft_wrap=True)
