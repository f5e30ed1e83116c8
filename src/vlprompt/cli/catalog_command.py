"""vlprompt data list and check: the benchmark data sets of papers, and what there is of one."""

from __future__ import annotations

import json

from vlprompt.cli.console import say, show


def show_list(as_json: bool) -> None:
    """All data sets of the catalog: folder below the root, counts, template."""
    from vlprompt.data.catalog import ENTRIES

    if as_json:
        rows = [
            {
                "name": e.name,
                "title": e.title,
                "folder": e.folder,
                "classes": e.classes,
                "train": e.train,
                "val": e.val,
                "test": e.test,
                "template": e.template,
                "parts": {p.path: p.source for p in e.all_parts},
            }
            for e in ENTRIES
        ]
        say(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("name", "folder"):
        table.add_column(column, no_wrap=True)
    for column in ("classes", "train", "val", "test"):
        table.add_column(column, justify="right")
    table.add_column("template")
    for e in ENTRIES:
        counts = (
            "" if n is None else f"{n:,}".replace(",", " ") for n in (e.classes, e.train, e.val, e.test)
        )
        table.add_row(e.name, f"{e.folder}/", *counts, escape(e.template))
    show(table)
    say("vlprompt data check NAME --root DIR says what there is of one, and where the rest comes from")


def show_check(name: str, root: str, as_json: bool) -> bool:
    """The report on one data set; whether it can be used."""
    from vlprompt.data.catalog_checking import check

    report = check(name, root)
    if as_json:
        say(
            json.dumps(
                {
                    "name": report.entry.name,
                    "place": str(report.place) if report.place else None,
                    "usable": report.usable,
                    "complete": report.complete,
                    "present": report.present,
                    "missing": {p.path: p.source for p in report.missing},
                    "absent": {p.path: p.source for p in report.absent},
                    "found": report.found,
                    "expected": report.expected,
                    "notes": report.notes,
                    "problem": report.problem,
                },
                ensure_ascii=False,
                indent=1,
            )
        )
    else:
        for line in report.lines():
            say(line)
    return report.usable
