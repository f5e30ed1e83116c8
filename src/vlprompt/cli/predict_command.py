"""vlprompt predict: what is on pictures."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.collection_arguments import pictures, say_done, tell_shard
from vlprompt.cli.console import note, say
from vlprompt.cli.console import out as console
from vlprompt.cli.error_reporting import Stop, fail
from vlprompt.errors import OptionError
from vlprompt.plain_text import Printable

if TYPE_CHECKING:
    from vlprompt.runs.run import Prediction

CHUNK = 256  # pictures between two lines of progress


def predict(
    run: shared.RunFolder,
    images: shared.Images,
    top: Annotated[int, typer.Option("--top", min=1, help="classes per picture")] = 5,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object a line on stdout")] = False,
    csv_: Annotated[
        bool, typer.Option("--csv", help="CSV on stdout: path, rank, class, probability")
    ] = False,
    reject: Annotated[
        bool,
        typer.Option(
            "--reject",
            help='say "unknown" of pictures that are likely of no known class: less probable than a threshold '
            "that fit chose on the validation pictures, so that 95 in 100 of them got an answer",
        ),
    ] = False,
    coverage: Annotated[
        float | None,
        typer.Option(
            "--coverage",
            metavar="X",
            show_default=False,
            help="the same with this share of known pictures answered (0 to 1)",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            show_default=False,
            help="for large collections: files of many pictures, each written once; parquet, or with --json or --csv those",
        ),
    ] = None,
    shard: shared.ShardSize = 4096,
    overwrite: shared.OverwriteShards = False,
    ray: shared.Ray = None,
    cpus: shared.Cpus = 1,
    gpus: shared.Gpus = 0,
    backbone: shared.Moved = None,
    device: shared.Device = "auto",
) -> None:
    """The most probable classes of each picture.

    A picture that cannot be read is named on stderr, and the others are done;
    the exit code is 1 only if none could be read. With --out, files that are
    there are not done again, so an interrupted command goes on when it is
    given again.

    \b
    vlprompt predict runs/x cat.jpg dog.jpg
    vlprompt predict runs/x holiday/ --top 1 --csv > found.csv
    vlprompt predict runs/x holiday/ --reject          "unknown" where it is not sure
    vlprompt predict runs/x holiday/ --coverage 0.8    more often
    vlprompt predict runs/x archive/ --out found/
    vlprompt predict runs/x archive/ --out found/ --ray auto --gpus 1
    """
    if json_ and csv_:
        raise OptionError("--json and --csv exclude each other")
    if ray is not None and out is None:
        raise OptionError("--ray writes files: give their folder with --out")
    wanted: bool | float = reject if coverage is None else coverage
    if coverage is not None and not 0 < coverage <= 1:
        raise OptionError(f"--coverage is {coverage:g}: expected more than 0 and at most 1, such as 0.95")
    if wanted is not False:
        from vlprompt.runs.info import read_info
        from vlprompt.scoring.rejection import threshold_of

        threshold_of(
            read_info(run), wanted, by_likeness=True
        )  # a run without thresholds stops here, before torch is loaded
    paths = pictures(images, all_there=out is not None)
    if out is not None:
        from vlprompt.collections.predicting import predict as write_all

        note(f"{len(paths)} pictures; loading torch and the backbone")
        kind = "jsonl" if json_ else "csv" if csv_ else "parquet"
        say_done(
            write_all(
                run,
                paths,
                out,
                top=top,
                kind=kind,
                reject=wanted,
                backbone=backbone,
                device=device,
                shard=shard,
                overwrite=overwrite,
                ray=ray,
                cpus=cpus,
                gpus=gpus,
                on_shard=tell_shard,
            )
        )
        return
    note(f"{len(paths)} pictures; loading torch and the backbone")
    from vlprompt.runs.run import Run

    loaded = Run.load(run, backbone, device=device)
    write = _Writer(json_, csv_, len(paths), top)
    read = 0
    for start in range(0, len(paths), CHUNK):
        for found in loaded.predict(paths[start : start + CHUNK], top=top, reject=wanted):
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


class _Writer:
    """Writes predictions one by one, as text, JSON lines or CSV."""

    def __init__(self, as_json: bool, as_csv: bool, count: int, top: int) -> None:
        from vlprompt.collections import predicting  # here, since every command's help would wait for it

        self.as_json, self.as_csv, self.count, self.top = as_json, as_csv, count, top
        self.forms = predicting
        self.console = console()
        if as_csv:
            self.rows = csv.writer(Printable(sys.stdout), lineterminator="\n")
            self.rows.writerow(self.forms.COLUMNS)

    def __call__(self, found: Prediction) -> None:
        if self.as_json:
            say(json.dumps(self.forms.record_of(found), ensure_ascii=False))
        elif self.as_csv:
            self.rows.writerows(self.forms.csv_rows(found))
        elif found.error is None:
            self._text(found)

    def _text(self, found: Prediction) -> None:
        from rich.markup import escape

        name, p = found.top[0]
        if self.top == 1 and found.rejected:
            self.console.print(
                f"{escape(found.picture)}  [bold]{found.label}[/]  (nearest: {escape(name)} {100 * p:.1f} %)",
                soft_wrap=True,
            )
            return
        if self.top == 1:
            self.console.print(
                f"{escape(found.picture)}  [bold]{escape(name)}[/]  {100 * p:.1f} %", soft_wrap=True
            )
            return
        said = f"  {found.label}; nearest:" if found.rejected else ""
        self.console.print(f"[bold]{escape(found.picture)}[/]{said}", soft_wrap=True)
        for name, p in found.top:
            self.console.print(
                f"  {100 * p:5.1f} %  {'█' * round(24 * p):<24}  {escape(name)}", soft_wrap=True
            )
