"""vlprompt plot: the results of a protocol as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlprompt.cli.console import say
from vlprompt.cli.protocol_command import Averages, OfData, OfMethod, OfShots, recorded
from vlprompt.errors import OptionError, nearest
from vlprompt.protocols import all_facts

ENDINGS = (".png", ".svg", ".pdf")


def plot(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", show_default=False, help="JSON lines that vlprompt protocol or sweep wrote"
        ),
    ],
    kind: Annotated[str, typer.Option("--kind", "-k", help="shots, forgetting or base_new")] = "shots",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            show_default=False,
            help="a .png, .svg or .pdf; KIND.png if not given",
        ),
    ] = None,
    method: OfMethod = None,
    data: OfData = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", "-b", metavar="NAME", show_default=False, help="only of this one"),
    ] = None,
    shots: OfShots = None,
    averages: Averages = False,
) -> None:
    """What vlprompt protocol recorded, as a picture.

    shots: accuracy over the number of shots, method by method. forgetting: what
    happens to earlier classes while later ones arrive. base_new: accuracy on
    base classes against that on new ones. Several data sets get a panel each,
    and one for their average.

    \b
    vlprompt plot results.jsonl --kind shots
    vlprompt plot results.jsonl --kind base_new --method coop,maple,maple+lamm --out plane.svg
    """
    wanted = kind.replace("-", "_")
    kinds = {facts.drawing: name for name, facts in all_facts().items() if facts.drawing}
    if wanted not in kinds:
        raise OptionError(f'no kind of plot "{kind}": {nearest(wanted, kinds)}')
    place = Path(f"{wanted}.png") if out is None else out
    if place.suffix.lower() not in ENDINGS:
        raise OptionError(f"--out is {place}: expected a name that ends in {', '.join(ENDINGS)}")
    records = recorded(
        files, kinds[wanted], method=method, data=data, backbone=backbone and [backbone], shots=shots
    )

    from vlprompt.report.drawings import drawings
    from vlprompt.report.plots import to_png

    say(f"{wanted}: {to_png(drawings()[wanted](records, averages), place)}")
