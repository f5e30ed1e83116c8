"""vlprompt fit: learn classes from a few pictures of each."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note, progress, say, show, switches
from vlprompt.cli.suggestions import Blank, aligned, pasted

if TYPE_CHECKING:
    from vlprompt.data.dataset import Dataset
    from vlprompt.runs.info import ChoiceInfo


def fit(
    data: shared.Data,
    method: shared.Method = None,
    shots: shared.Shots = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            show_default=False,
            help="folder for the run; runs/DATA-METHOD-SHOTSshot-seedSEED if not given (with a mark behind it where that is "
            "the run of another folder of the same name)",
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
    test: Annotated[
        float,
        typer.Option(
            "--test",
            metavar="SHARE",
            show_default=False,
            help="hold this share of every class out to test with, such as 0.3; if not given, a plain folder is learned from "
            "whole and measured by cross-validation",
        ),
    ] = 0.0,
    val: Annotated[
        float,
        typer.Option("--val", metavar="SHARE", show_default=False, help="hold a share out for validation"),
    ] = 0.0,
    cross_folds: Annotated[
        int, typer.Option("--cross-folds", help="parts of the cross-validation; 0: none")
    ] = 5,
    json_: shared.Json = False,
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
    image_size: shared.ImageSize = 0,
    device: shared.Device = "auto",
    precision: shared.Precision = "float32",
    no_cache: shared.NoCache = False,
    train: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> None:
    """Learn the classes of your pictures from a few of each.

    The CLIP-like backbone stays as it is; what is learned stands on its
    features. Without --method several are compared on the training pictures,
    and the one that suits them best learns all of them. The accuracy of the
    class names alone (zero-shot) and of a linear probe are shown beside.

    \b
    vlprompt fit photos/                      the method is chosen, every picture counts
    vlprompt fit photos/ --test 0.3           three in ten are kept to test with
    vlprompt fit photos.zip --method maple --shots 4
    vlprompt fit list.csv --label-column fine --method coop --epochs 100
    vlprompt fit demo --method lamm --out runs/groceries
    vlprompt fit oxford_pets --root datasets/ --recipe maple
    vlprompt fit --method maple --help        what MaPLe can be told
    """
    from vlprompt.errors import OptionError

    if shots < 0:
        raise OptionError(f"--shots is {shots}: expected 0 (all pictures) or more")
    from vlprompt.fitting.measuring import Measure, divided

    measure = Measure(test, val, cross_folds, calibrate)  # bad values stop before anything is read
    whole = {} if root is not None else {"val_fraction": 0.0, "test_fraction": 0.0}
    dataset = shared.open_data(
        data, classes=classes, label_column=label_column, labels=labels, domain=domain, root=root, **whole
    )
    dataset = divided(dataset, measure)
    note("loading torch and the backbone")
    from vlprompt.backbones.loading import load_backbone
    from vlprompt.backbones.spec import BackboneSpec
    from vlprompt.data.sampling import draw
    from vlprompt.fitting.learning import learn
    from vlprompt.fitting.plan import make_plan
    from vlprompt.fitting.recipes import measured_for
    from vlprompt.report.run_tables import cost_line, run_table

    if recipe is None and method is not None:
        recipe = measured_for(method, backbone)
    plan = make_plan(method, options, train, recipe, template)
    folder = out or default_folder(dataset, f"{plan.method}-{shots or 'all'}shot-seed{seed}")
    with progress() as receive:
        run = learn(
            dataset,
            draw(dataset, shots=shots, seed=seed),
            load_backbone(BackboneSpec(backbone, device, precision, tokenizer, image_size=image_size)),
            plan,
            out=folder,
            measure=measure,
            cache=not no_cache,
            resume=not no_resume,
            overwrite=overwrite,
            on_record=receive,
            command=shared.typed_command(),
        )
    if json_:
        say(json.dumps({"run": str(folder), **run.info.to_json()}, ensure_ascii=False, indent=1))
        return
    if run.info.choice is not None:
        show_choice(run.info.choice)
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


def default_folder(dataset: Dataset, rest: str) -> Path:
    """runs/NAME-REST; with a mark of the place behind it where that is the run of another folder of the same name."""
    from vlprompt.errors import RunError
    from vlprompt.runs.info import read_info

    folder = Path("runs") / f"{dataset.name}-{rest}"
    try:
        origin = read_info(folder).data.origin
    except RunError:
        return folder
    if origin is None or dataset.origin is None or origin.get("path") == dataset.origin.get("path"):
        return folder
    mark = hashlib.sha256(str(dataset.origin.get("path")).encode(errors="backslashreplace")).hexdigest()[:4]
    return Path("runs") / f"{dataset.name}-{mark}-{rest}"


def show_choice(choice: ChoiceInfo) -> None:
    """What was compared, what was chosen, what that gives up, and how to have another."""
    from vlprompt.report.run_tables import choice_lines, choice_table

    if choice.candidates:
        show(choice_table(choice))
    for line in choice_lines(choice):
        say(line)
