"""vlprompt eval: accuracy of a run, every class, beside zero-shot."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note, progress, say, show


def evaluate(
    run: shared.RunFolder,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATH]",
            show_default=False,
            help="other pictures than those of the run (then their own classes count, where the method allows that)",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="NAME",
            show_default=False,
            help="test, val or train; if not given, the test pictures, or all pictures of a folder without splits",
        ),
    ] = None,
    json_: shared.Json = False,
    classes: shared.Classes = None,
    label_column: shared.LabelColumn = None,
    labels: shared.Labels = None,
    domain: shared.Domain = None,
    backbone: shared.Moved = None,
    device: shared.Device = "auto",
    no_cache: shared.NoCache = False,
) -> None:
    """Accuracy, macro F1 and every class of a run, beside zero-shot.

    Without PATH: the scores that fit recorded, on its test pictures or in
    cross-validation. With PATH: the run is tried on these pictures, on all of
    them unless they come divided; one picture of a class is enough.

    \b
    vlprompt eval runs/x
    vlprompt eval runs/x new_photos/ --split test --json
    """
    from vlprompt.report.run_tables import class_table, scores_table

    probe = None
    from vlprompt.runs.info import read_info

    if data is None and split != "train":
        info = read_info(run)
        shown = split or info.reported or "test"
        scores, zero_shot, probe = info.scores.get(shown), info.zero_shot, info.probe
        if shown != info.reported:
            zero_shot = probe = None
        title = f"{info.data.name}, {shown}"
        if scores is None:
            from vlprompt.errors import RunError

            raise RunError(f"{run}: fit had no {shown} pictures to score: give PATH")
        method = info.shown_method
    else:
        from vlprompt.errors import OptionError

        if data is None:
            raise OptionError("to score training pictures, give their PATH")
        dataset = shared.open_data(
            data,
            classes=classes,
            label_column=label_column,
            labels=labels,
            domain=domain,
            least_classes=1,
            val_fraction=0.0,
            test_fraction=0.0,
        )
        split = split or next(name for name in ("test", "val", "train") if name in dataset.splits)
        dataset.items(split)
        note("loading torch and the backbone")
        from vlprompt.feeding.feature_cache import FeatureCache
        from vlprompt.runs.scoring_runs import score_run

        with progress() as receive:
            cache = FeatureCache(False if no_cache else None)
            method, scores, zero_shot = score_run(
                run, dataset, split, backbone=backbone, device=device, cache=cache, emit=receive
            )
        title = f"{dataset.name}, {split}" if len(dataset.splits) > 1 else f"{dataset.name}, all pictures"
    if json_:
        say(
            json.dumps(
                {
                    "run": str(run),
                    "data": title,
                    "method": read_info(run).method,
                    "scores": scores.to_json(),
                    "zero_shot": zero_shot.to_json() if zero_shot is not None else None,
                },
                ensure_ascii=False,
                indent=1,
            )
        )
        return
    show(scores_table(title, method, scores, zero_shot, probe))
    show(class_table(scores, zero_shot))
