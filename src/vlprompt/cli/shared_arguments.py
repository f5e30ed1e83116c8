"""Arguments that several commands have, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlprompt.cli import completion as completing
from vlprompt.cli.console import note

if TYPE_CHECKING:
    from vlprompt.data.dataset import Dataset

DATA, WHERE, CLUSTER = "Pictures and classes", "Backbone and machine", "Cluster"

_DATA = (
    "a folder of class folders (optionally below train, val, test), a CSV or JSON-Lines list of path and label, a .zip "
    "or .tar of these, a parquet file, demo or emoji; with --root the name of a benchmark data set"
)
Data = Annotated[str, typer.Argument(metavar="PATH", show_default=False, help=_DATA)]
OptionalData = Annotated[
    str | None,
    typer.Argument(
        metavar="[PATH]", show_default=False, help=f"{_DATA}, several with commas between, or all"
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", show_default=False, help="folder that fit wrote")]
Shots = Annotated[int, typer.Option("--shots", "-k", min=0, help="training pictures per class; 0: all")]
Backbone = Annotated[
    str,
    typer.Option(
        "--backbone",
        "-b",
        rich_help_panel=WHERE,
        metavar="NAME",
        autocompletion=completing.backbone,
        help="embedded (comes with the package), ViT-B/32, ViT-B/16, ViT-L/14, RN50, a folder in Hugging Face or "
        "open_clip layout, an OpenAI .pt file, or the id of a CLIP on the Hugging Face hub",
    ),
]
ImageSize = Annotated[
    int,
    typer.Option(
        "--image-size",
        rich_help_panel=WHERE,
        metavar="PIXELS",
        min=0,
        show_default=False,
        help="of the pictures' side, if it is another than the backbone was trained on",
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        rich_help_panel=WHERE,
        metavar="PATH",
        show_default=False,
        help="tokenizer.json, if the backbone has none of its own",
    ),
]
Device = Annotated[str, typer.Option("--device", rich_help_panel=WHERE, help="auto, cpu, cuda, cuda:1, mps")]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        rich_help_panel=WHERE,
        metavar="float32|bf16|fp16",
        help="of the frozen towers; prompts are learned in float32. bf16 is fast on GPUs and on CPUs with bf16 units",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        rich_help_panel=DATA,
        metavar="FILE",
        show_default=False,
        help="names of the classes: one a line in label order, or lines of key, tab or comma, name. A classes.txt "
        "in the data is used unasked",
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        rich_help_panel=DATA,
        metavar="NAME",
        show_default=False,
        help="column of labels in a list",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        rich_help_panel=DATA,
        metavar="FILE",
        show_default=False,
        help="labels file in or beside the data; names: what stands before the number in each picture's name",
    ),
]
Domain = Annotated[
    list[str] | None,
    typer.Option(
        "--domain",
        rich_help_panel=DATA,
        metavar="NAME",
        show_default=False,
        help="only pictures of this domain; may be given again",
    ),
]
Template = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        "-t",
        rich_help_panel=DATA,
        metavar="TEXT",
        show_default=False,
        help='words around the class name, such as "a photo of a {}, a type of food."; may be given again: prompts '
        "start from the first, the zero-shot reference is the mean of all",
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "-r",
        metavar="NAME",
        show_default=False,
        autocompletion=completing.recipe,
        help="published settings by name (vlprompt methods --recipes), or a JSON file of that form",
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache", rich_help_panel=WHERE, help="do not keep image features on disk (see vlprompt cache)"
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        "-m",
        metavar="NAME",
        show_default=False,
        autocompletion=completing.method,
        help="auto if not given (compares some and takes the best; under protocol coop+lamm); see vlprompt methods, and --method NAME --help for its options. vlprompt protocol "
        "takes several with commas between; options go to those that have them",
    ),
]
Moved = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        "-b",
        rich_help_panel=WHERE,
        metavar="PATH",
        show_default=False,
        help="where the backbone now lies, if it has moved",
    ),
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="PATHS...",
        show_default=False,
        help="pictures, folders of pictures, or patterns such as '*.jpg'",
    ),
]
ShardSize = Annotated[int, typer.Option("--shard", min=1, help="pictures in a file")]
OverwriteShards = Annotated[bool, typer.Option("--overwrite", help="replace what the folder holds")]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        rich_help_panel=CLUSTER,
        metavar="ADDRESS",
        show_default=False,
        help="spread the work over a Ray cluster whose nodes see the same disk: host:port of its head, or auto for the "
        "one of this machine",
    ),
]
Cpus = Annotated[
    float,
    typer.Option(
        "--cpus", rich_help_panel=CLUSTER, min=0, help="CPUs that a worker or run takes of the cluster"
    ),
]
Gpus = Annotated[
    float,
    typer.Option(
        "--gpus", rich_help_panel=CLUSTER, min=0, help="GPUs that a worker or run takes; 0.25: four share one"
    ),
]
Root = Annotated[
    str | None,
    typer.Option(
        "--root",
        rich_help_panel=DATA,
        metavar="DIR",
        show_default=False,
        help="folder of benchmark data sets as CoOp lays them out; PATH is then a name of vlprompt data list",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout instead of a table")]


def open_data(
    path: str,
    *,
    classes: str | None = None,
    label_column: str | None = None,
    labels: str | None = None,
    domain: list[str] | None = None,
    root: str | None = None,
    **reading: float,
) -> Dataset:
    """The data set that the arguments mean; says at once what was found."""
    from vlprompt.data.opening import open_dataset

    note(f"reading {path}")
    dataset = open_dataset(
        path,
        classes=classes,
        label_column=label_column,
        labels=labels,
        domains=domain or None,
        root=root,
        **reading,  # type: ignore[arg-type]
    )
    undivided = set(dataset.splits) == {"train"}
    counts = ", ".join(
        str(len(items)) if undivided else f"{len(items)} {name}" for name, items in dataset.splits.items()
    )
    note(f"{dataset.name}: {len(dataset.class_names)} classes, {counts} pictures")
    if dataset.understood:
        note(f"read as: {dataset.understood}")
    return dataset


def typed_command() -> str:
    """The command as it was typed, for the record of a run."""
    import shlex
    import sys

    return shlex.join(["vlprompt", *sys.argv[1:]])
