"""vlprompt data: what would be read from a folder, list or archive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import say, show
from vlprompt.cli.error_reporting import Stop
from vlprompt.errors import OptionError

NO_SPLIT = (
    "none; fit learns from every picture and measures by cross-validation (--test 0.3 holds a part out), protocols divide "
    "each class"
)


def data(
    path: shared.Data,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", show_default=False, help="after check")
    ] = None,
    root: shared.Root = None,
    classes: shared.Classes = None,
    label_column: shared.LabelColumn = None,
    labels: shared.Labels = None,
    domain: shared.Domain = None,
    json_: shared.Json = False,
) -> None:
    """What fit would read: classes and their names, pictures per split, notices.

    \b
    vlprompt data photos/
    vlprompt data list.csv --label-column fine
    vlprompt data list
    vlprompt data check caltech101 --root datasets/
    """
    if path in ("list", "check") and not Path(path).exists():
        from vlprompt.cli.catalog_command import show_check, show_list

        if path == "list":
            show_list(json_)
            return
        if name is None or root is None:
            raise OptionError(
                "data check: give the name of a data set (see vlprompt data list) and --root DIR"
            )
        if not show_check(name, root, json_):
            raise Stop(1)
        return
    if name is not None:
        raise OptionError(f"data takes one path, and {name} is a second one")
    from vlprompt.data.dataset import equal_notices

    # as `fit` reads it, which draws no split
    whole = {} if root is not None else {"val_fraction": 0.0, "test_fraction": 0.0}
    dataset = shared.open_data(
        path, classes=classes, label_column=label_column, labels=labels, domain=domain, root=root, **whole
    )
    origin = dataset.split_origin if root is not None or set(dataset.splits) != {"train"} else NO_SPLIT
    counts = {split: dataset.counts(split) for split in dataset.splits}
    notices = [*dataset.notices, *equal_notices(dataset)]
    if json_:
        rows = [
            {"key": key, "name": name} | {split: counts[split][i] for split in counts}
            for i, (key, name) in enumerate(zip(dataset.class_keys, dataset.class_names, strict=True))
        ]
        about = {
            "name": dataset.name,
            "read_as": dataset.understood,
            "split": origin,
            "domains": list(dataset.domains),
        }
        say(json.dumps(about | {"classes": rows, "notices": notices}, ensure_ascii=False, indent=1))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("class", "in the data"):
        table.add_column(column)
    for split in counts:
        table.add_column(split, justify="right")
    for i, (key, name) in enumerate(zip(dataset.class_keys, dataset.class_names, strict=True)):
        table.add_row(escape(name), escape(key), *(str(counts[split][i]) for split in counts))
    table.add_section()
    table.add_row(f"{len(dataset.class_names)} classes", "", *(str(sum(c)) for c in counts.values()))
    show(table)
    if dataset.understood:
        say(f"read as: {dataset.understood}")
    say(f"splits: {origin}")
    if dataset.domains:
        say(f"domains: {', '.join(dataset.domains)}")
    for text in notices:
        say(f"note: {text}")
