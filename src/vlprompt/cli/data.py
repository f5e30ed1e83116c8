"""vlprompt data: what would be read from a folder, list or archive."""

from __future__ import annotations

import json

from vlprompt.cli import shared
from vlprompt.cli.console import say, show


def data(
    path: shared.Data,
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
    """
    from vlprompt.data.dataset import duplicate_notice, duplicates_across_splits

    dataset = shared.open_data(path, classes=classes, label_column=label_column, labels=labels, domain=domain)
    counts = {split: dataset.counts(split) for split in dataset.splits}
    twice = duplicate_notice(duplicates_across_splits(dataset))
    notices = [*dataset.notices, *([twice] if twice else [])]
    if json_:
        rows = [
            {"key": key, "name": name} | {split: counts[split][i] for split in counts}
            for i, (key, name) in enumerate(zip(dataset.class_keys, dataset.class_names, strict=True))
        ]
        about = {"name": dataset.name, "split": dataset.split_origin, "domains": list(dataset.domains)}
        print(json.dumps(about | {"classes": rows, "notices": notices}, ensure_ascii=False, indent=1))
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
    say(f"splits: {dataset.split_origin}")
    if dataset.domains:
        say(f"domains: {', '.join(dataset.domains)}")
    for text in notices:
        say(f"note: {text}")
