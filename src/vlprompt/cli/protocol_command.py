"""vlprompt protocol: methods under the same conditions, seed by seed; vlprompt table: what came out."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlprompt.cli import completion as completing
from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.benchmark_sets import data_words, named_targets, target_words, usual_targets
from vlprompt.cli.console import note, progress, say, show, show_sheets
from vlprompt.errors import OptionError, nearest
from vlprompt.protocols import all_facts, facts_of, find, names

if TYPE_CHECKING:
    from vlprompt.fitting.plan import Plan
    from vlprompt.protocols.protocol_facts import ProtocolFacts

PROBE = "linear_probe"
OfMethod = Annotated[
    str | None,
    typer.Option(
        "--method",
        "-m",
        metavar="NAME,...",
        show_default=False,
        autocompletion=completing.method,
        help="only these; zero-shot is always shown",
    ),
]
OfData = Annotated[
    str | None, typer.Option("--data", metavar="NAME,...", show_default=False, help="only these data sets")
]
Averages = Annotated[
    bool, typer.Option("--averages", help="only the averages over data sets, not each of them")
]
OfShots = Annotated[
    int | None, typer.Option("--shots", show_default=False, help="only at so many pictures a class")
]


def protocol(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PROTOCOL",
            show_default=False,
            help=" or ".join((", ".join(names()[:-1]), names()[-1])),
            autocompletion=completing.protocol,
        ),
    ],
    data: shared.OptionalData = None,
    method: shared.Method = None,
    shots: shared.Shots = 16,
    seeds: Annotated[str, typer.Option("--seeds", metavar="N,...", help="one training for each")] = "1,2,3",
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="JSON lines that records are appended to")
    ] = Path("results.jsonl"),
    runs: Annotated[
        Path | None,
        typer.Option(
            "--runs",
            metavar="FOLDER",
            show_default=False,
            help="keep a run folder per method and seed in it; what is there already is not done again",
        ),
    ] = None,
    sessions: Annotated[
        int | None,
        typer.Option(
            "--sessions",
            metavar="N",
            show_default=False,
            help="class_incremental: how many the classes arrive in",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="NAME",
            show_default=False,
            help="domain_generalization: the domain to train on; without PATH, what to train on",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="PATH",
            show_default=False,
            help="cross_dataset, domain_generalization: data to test on, or NAME=PATH; may be given again",
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            "--targets",
            metavar="NAME,...",
            show_default=False,
            help="the same with commas between; imagenet and --root without any: those of the papers",
        ),
    ] = None,
    root: shared.Root = None,
    recipe: shared.Recipe = None,
    template: shared.Template = None,
    classes: shared.Classes = None,
    label_column: shared.LabelColumn = None,
    labels: shared.Labels = None,
    domain: shared.Domain = None,
    backbone: shared.Backbone = "embedded",
    tokenizer: shared.Tokenizer = None,
    image_size: shared.ImageSize = 0,
    device: shared.Device = "auto",
    precision: shared.Precision = "float32",
    no_cache: shared.NoCache = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe/--no-probe",
            help="few_shot, domain_generalization: also run linear_probe, for comparison",
        ),
    ] = True,
    train: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> None:
    """Compare methods as papers do: several seeds, mean and standard deviation.

    few_shot trains on some pictures of every class and tests on all classes.
    base_to_new trains on the first half of the classes and tests on these, on
    the others, and on all together. cross_dataset tests on other data, domain_generalization
    on other domains, class_incremental learns classes in sessions. Every seed
    appends a record to --out. A method that cannot take part is named and left out.

    \b
    vlprompt protocol few_shot photos/ --method zeroshot,coop,coop+lamm
    vlprompt protocol base_to_new photos/ --method maple --seeds 1
    vlprompt protocol class_incremental demo --method lamm,coop --sessions 4
    vlprompt protocol domain_generalization emoji --source google
    vlprompt protocol cross_dataset photos/ --target birds.zip --target cars=autos/
    vlprompt table results.jsonl --format md

    \b
    Benchmark data sets, prepared as for CoOp (vlprompt data check NAME --root DIR):
    vlprompt protocol base_to_new oxford_pets --root DATA --recipe maple
    vlprompt protocol few_shot all --root DATA --method coop,coop+lamm
    vlprompt protocol cross_dataset --source imagenet --targets dtd,eurosat --root DATA
    vlprompt protocol domain_generalization imagenet --root DATA
    """
    chosen = [part.strip() for part in method.split(",") if part.strip()] if method else [None]
    numbers = seed_numbers(seeds)
    run_protocol, facts = find(name), facts_of(name)
    name = facts.name
    words = data_words(name, data, source, root)
    aims = target_words(target, targets) or (usual_targets(name, root, words[0]) if root is not None else [])
    domain_source = source if data is not None else None
    own = own_arguments(facts, sessions=sessions, source=domain_source, targets=named_targets(aims, root))
    datasets = [
        shared.open_data(
            word, classes=classes, label_column=label_column, labels=labels, domain=domain, root=root
        )
        for word in words
    ]
    note("loading torch and the backbone")
    from vlprompt.backbones.loading import load_backbone
    from vlprompt.backbones.spec import BackboneSpec
    from vlprompt.feeding.feature_cache import FeatureCache
    from vlprompt.feeding.recent_arrays import RecentArrays
    from vlprompt.fitting.plan import make_plan
    from vlprompt.fitting.recipes import measured_for
    from vlprompt.report.comparison import compare
    from vlprompt.runs.records import append

    plans = []
    for m in chosen:
        settings = recipe or (measured_for(m, backbone) if m else None)
        if settings != recipe:
            note(f"{m} learns by {settings}, measured for this backbone; --recipe takes other settings")
        plan = make_plan(m, own_options(m, options or {}), train, settings, template)
        for text in plan.notices:  # the runs are told what the recipe holds, and not whose it is
            note(text)
        plans.append(plan)
    plans = taking_part(name, plans)
    if probe and probe_belongs(name, plans, shots):
        note(f"{PROBE} is added for comparison; --no-probe leaves it out")
        plans.append(make_plan(PROBE, own_options(PROBE, options or {}), templates=template))
    loaded = load_backbone(BackboneSpec(backbone, device, precision, tokenizer, image_size=image_size))
    cache = FeatureCache(False if no_cache else None, recent=None if no_cache else RecentArrays())
    records = []
    for dataset, plan in product(datasets, plans):
        place = Path(dataset.name, plan.method) if len(datasets) > 1 else Path(plan.method)
        with progress() as receive:
            found = run_protocol(
                dataset,
                plan.method,
                loaded,
                shots=shots,
                seeds=numbers,
                options=plan.options,
                train=plan.train,
                templates=list(plan.templates),
                cache=cache,
                on_record=receive,
                command=shared.typed_command(),
                out=None if runs is None else runs / name / place,
                **own,
            )
            for record in found:
                append(out, record)
                records.append(record)
    show_sheets(compare(records))
    say(f"records: {out}")


def taking_part(protocol: str, plans: list[Plan]) -> list[Plan]:
    """Those of the plans whose methods can take part; says why the others cannot. OptionError if none is left."""
    from vlprompt.protocols.protocol_setup import obstacle

    reasons = [obstacle(protocol, plan) for plan in plans]
    said = [reason for reason in reasons if reason is not None]
    if len(said) == len(plans):
        raise OptionError("; ".join(said))
    for text in said:
        note(text)
    return [plan for plan, reason in zip(plans, reasons, strict=True) if reason is None]


def probe_belongs(protocol: str, plans: list[Plan], shots: int) -> bool:
    """Whether a linear probe is run unasked: where it can take part, is not named, and takes seconds."""
    from vlprompt.fitting.probe_beside import MOST_SHOTS

    if not facts_of(protocol).probe_beside or any(plan.method == PROBE for plan in plans):
        return False
    return 0 < shots <= MOST_SHOTS


def own_arguments(facts: ProtocolFacts, **given: Any) -> dict[str, Any]:
    """What was given of the arguments that not every protocol has; OptionError for one that this lacks."""
    flags = {one.name: one.flag for known in all_facts().values() for one in known.arguments}
    found = {key: value for key, value in given.items() if value}
    for key in found:
        if key not in facts.argument_names:
            raise OptionError(f"{facts.name} takes no {flags[key]}")
    return found


def own_options(method: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that the method has."""
    import dataclasses

    from vlprompt.fitting.plan import Plan

    if method is None:
        return options
    names = {f.name for kind in Plan(method).spec.kinds for f in dataclasses.fields(kind)}
    return {key: value for key, value in options.items() if key in names}


def seed_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()] or [1]
    except ValueError:
        raise OptionError(
            f'--seeds is "{text}": expected whole numbers with commas between, such as 1,2,3'
        ) from None


def table(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", show_default=False, help="JSON lines that vlprompt protocol wrote"),
    ],
    format_: Annotated[str, typer.Option("--format", "-f", help="rich, md, csv or latex")] = "rich",
    protocol_: Annotated[
        str | None, typer.Option("--protocol", show_default=False, help="only of this one")
    ] = None,
    paper: Annotated[
        str | None,
        typer.Option(
            "--paper",
            "-p",
            metavar="NAME",
            show_default=False,
            autocompletion=completing.paper,
            help="published figures beside ours: maple, lamm, ctp-tft, or of baselines promptsrc, proda, tip-adapter, dept, dpc",
        ),
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(
            "--over",
            metavar="METHOD",
            show_default=False,
            autocompletion=completing.method,
            help="instead, what the other methods gain over this one, and whether papers report the same direction",
        ),
    ] = None,
    averages: Averages = False,
    method: OfMethod = None,
    data: OfData = None,
    shots: OfShots = None,
) -> None:
    """Mean and deviation over seeds of what vlprompt protocol recorded.

    Every data set, and their average where there are several; the harmonic mean
    is that of the averages, as in papers. With --paper, a published figure
    stands beside ours where protocol, data set and shots are the same.

    \b
    vlprompt table results.jsonl
    vlprompt table results.jsonl --protocol base_to_new --paper maple
    vlprompt table results.jsonl --format latex > table.tex
    vlprompt table results.jsonl --protocol base_to_new --over cocoop
    vlprompt table results.jsonl --method coop,lamm --shots 16
    """
    records = recorded(files, protocol_, method=method, data=data, shots=shots)
    if over is not None:
        show_gains(records, over, paper, format_)
        return
    from vlprompt.report.comparison import averaged, compare
    from vlprompt.report.sheet_formats import formatted

    sheets = compare(records, paper)
    if averages:
        sheets = [sheet for sheet in map(averaged, sheets) if sheet.lines]
        if not sheets:
            raise OptionError("--averages: no method was run on more than one data set with the same seeds")
    if format_ != "rich":
        say(formatted(sheets, format_))
        for text in (text for sheet in sheets for text in sheet.notes if format_ == "csv"):
            note(text)
        return
    show_sheets(sheets)


def show_gains(records: list[dict[str, Any]], over: str, paper: str | None, format_: str) -> None:
    """What methods gain over one of them."""
    from vlprompt.report.gains import caption, cells_of, gains, gains_csv, gains_latex, gains_text, notes
    from vlprompt.report.gathering import gather
    from vlprompt.report.run_tables import plain_table

    known = {"zeroshot", *(record["method"] for record in records), *(key.method for key in gather(records))}
    if over not in known:
        raise OptionError(f'--over: no results of "{over}": {nearest(over, known)}')
    rows = gains(records, over, paper)
    if not rows:
        raise OptionError(f"--over: no other method was run on the same data and seeds as {over}")
    if format_ == "md":
        say(gains_text(rows) + "".join(f"\n\n_{text}._" for text in notes(rows)))
        return
    if format_ != "rich":
        say(gains_csv(rows) if format_ == "csv" else gains_latex(rows))
        return
    show(plain_table(caption(rows), *cells_of(rows)))
    for text in notes(rows):
        say(f"- {text}")


def recorded(
    files: list[Path], protocol: str | None = None, **wanted: str | int | list[str] | None
) -> list[dict[str, Any]]:
    """The records of all files, of one protocol if it is named, and of the facts that are given: a number, or names with
    commas between them; OptionError where there are none of it."""
    from vlprompt.runs.records import read

    records = [record for file in files for record in read(file)]
    if protocol is not None:
        names = {record["protocol"] for record in records}
        kept = protocol.replace("-", "_")
        if kept not in names:
            raise OptionError(f'no results of protocol "{protocol}": {nearest(kept, names)}')
        records = [record for record in records if record["protocol"] == kept]
    for name, chosen in wanted.items():
        if chosen is not None:
            several = chosen.split(",") if isinstance(chosen, str) else chosen
            records = _only(records, name, several if isinstance(several, list) else [several])
    return records


def _only(records: list[dict[str, Any]], name: str, wanted: list[Any]) -> list[dict[str, Any]]:
    """The records whose fact of that name is among the wanted; OptionError for one that none has."""
    known = {record.get(name) for record in records}
    for value in wanted:
        if value not in known:
            raise OptionError(f'--{name} is "{value}": {nearest(str(value), map(str, known))}')
    return [record for record in records if record.get(name) in wanted]
