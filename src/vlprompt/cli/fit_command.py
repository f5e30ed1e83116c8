"""vlprompt fit: learn classes from a few pictures of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note, progress, say, show, switches
from vlprompt.cli.suggestions import Blank, aligned, pasted


def fit(
    data: shared.Data,
    method: shared.Method = None,
    shots: shared.Shots = 16,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            show_default=False,
            help="folder for the run; runs/DATA-METHOD-SHOTSshot-seedSEED if not given",
        ),
    ] = None,
    recipe: shared.Recipe = None,
    seed: Annotated[
        int, typer.Option("--seed", "-s", help="of the choice of pictures, their order, first values")
    ] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace a finished run of other settings")
    ] = False,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            "--calibrate/--no-calibrate",
            show_default=False,
            help="make probabilities mean what they say: one temperature, fitted on the validation pictures; it changes no "
            "answer, and may be given for a finished run too",
        ),
    ] = None,
    no_resume: Annotated[
        bool, typer.Option("--no-resume", help="begin again where an interrupted run could go on")
    ] = False,
    template: shared.Template = None,
    classes: shared.Classes = None,
    label_column: shared.LabelColumn = None,
    labels: shared.Labels = None,
    domain: shared.Domain = None,
    root: shared.Root = None,
    backbone: shared.Backbone = "embedded",
    tokenizer: shared.Tokenizer = None,
    device: shared.Device = "auto",
    precision: shared.Precision = "float32",
    no_cache: shared.NoCache = False,
    train: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> None:
    """Learn the classes of your pictures from a few of each.

    The CLIP-like backbone stays as it is; what is learned are words of its
    prompts. The accuracy of the class names alone (zero-shot) is shown beside.

    \b
    vlprompt fit photos/                      coop+lamm, 16 pictures per class
    vlprompt fit photos.zip --method maple --shots 4
    vlprompt fit list.csv --label-column fine --method coop --epochs 100
    vlprompt fit demo --method lamm --out runs/groceries
    vlprompt fit oxford_pets --root datasets/ --recipe maple
    vlprompt fit --method maple --help        what MaPLe can be told
    """
    from vlprompt.errors import OptionError

    if shots < 0:
        raise OptionError(f"--shots is {shots}: expected 0 (all pictures) or more")
    dataset = shared.open_data(
        data, classes=classes, label_column=label_column, labels=labels, domain=domain, root=root
    )
    note("loading torch and the backbone")
    from vlprompt.backbones.loading import load_backbone
    from vlprompt.backbones.spec import BackboneSpec
    from vlprompt.data.sampling import draw
    from vlprompt.fitting.learning import learn
    from vlprompt.fitting.plan import make_plan
    from vlprompt.report.run_tables import cost_line, run_table

    plan = make_plan(method, options, train, recipe, template)
    folder = out or Path("runs") / f"{dataset.name}-{plan.method}-{shots or 'all'}shot-seed{seed}"
    with progress() as receive:
        run = learn(
            dataset,
            draw(dataset, shots=shots, seed=seed),
            load_backbone(BackboneSpec(backbone, device, precision, tokenizer)),
            plan,
            out=folder,
            cache=not no_cache,
            calibrate=calibrate,
            resume=not no_resume,
            overwrite=overwrite,
            on_record=receive,
            command=shared.typed_command(),
        )
    show(run_table(run.info))
    say(cost_line(run.info))
    say(f"run: {folder}")
    if not switches.quiet:
        say("next:")
        for line in aligned(
            [
                (pasted("eval", folder), "every class, beside zero-shot"),
                (pasted("predict", folder, Blank("PICTURE...")), "what is on new pictures"),
                (pasted("report", folder), "one page to look at and to pass on"),
            ]
        ):
            say(line)
