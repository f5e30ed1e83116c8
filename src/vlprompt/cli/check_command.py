"""vlprompt check: pictures of a folder that look wrong."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note, progress, say, show

if TYPE_CHECKING:
    from vlprompt.fitting.checking_data import Found

MOST = 20  # lines of each kind


def check(
    data: shared.Data,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", show_default=False, help="a page with the pictures"),
    ] = None,
    json_: shared.Json = False,
    classes: shared.Classes = None,
    label_column: shared.LabelColumn = None,
    labels: shared.Labels = None,
    domain: shared.Domain = None,
    root: shared.Root = None,
    backbone: shared.Backbone = "embedded",
    device: shared.Device = "auto",
    no_cache: shared.NoCache = False,
) -> None:
    """Find pictures that are probably in the wrong class, twice there, or broken.

    Every picture is judged by what the others of all classes teach; nothing is
    changed.

    \b
    vlprompt check photos/
    vlprompt check photos/ --out check.html
    """
    dataset = shared.open_data(
        data,
        classes=classes,
        label_column=label_column,
        labels=labels,
        domain=domain,
        root=root,
        **({} if root is not None else {"val_fraction": 0.0, "test_fraction": 0.0}),
    )
    note("loading torch and the backbone")
    from vlprompt.backbones.loading import load_backbone
    from vlprompt.backbones.spec import BackboneSpec
    from vlprompt.feeding.feature_cache import FeatureCache
    from vlprompt.fitting.checking_data import check_data

    with progress() as receive:
        found = check_data(
            dataset,
            load_backbone(BackboneSpec(backbone, device)),
            cache=FeatureCache(False if no_cache else None),
            emit=receive or (lambda record: None),
        )
    if json_:
        say(json.dumps(asdict(found), ensure_ascii=False, indent=1))
    else:
        _tell(found)
    if out is not None:
        from vlprompt.report.check_page import write_check

        note(f"page: {write_check(found, dataset, out)}")


def _tell(found: Found) -> None:
    from vlprompt.report.run_tables import plain_table

    if found.doubts:
        rows = [[d.path, d.label, d.looks_like, f"{100 * d.other:.0f} %"] for d in found.doubts[:MOST]]
        show(
            plain_table(
                f"probably in the wrong class: {len(found.doubts)}",
                ["picture", "is in", "looks like", "sure"],
                rows,
            )
        )
    if found.pairs:
        rows = [[p.first, p.second, " / ".join(dict.fromkeys(p.labels))] for p in found.pairs[:MOST]]
        title = (
            f"almost the same: {len(found.pairs)} pairs, {len(found.contradictions)} of them in two classes"
        )
        show(plain_table(title, ["picture", "and", "in class"], rows))
    for path, reason in found.broken[:MOST]:
        say(f"broken: {reason if path in reason else f'{path}: {reason}'}")
    say(
        f"{found.pictures} pictures, {found.judged} judged: {len(found.doubts)} doubtful, {len(found.pairs)} almost "
        f"equal pairs, {len(found.broken)} broken"
    )
