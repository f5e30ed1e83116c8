"""The model card of a run, made from recorded facts only."""

from __future__ import annotations

from vlprompt.plain_text import markdown, markdown_code
from vlprompt.runs.info import RunInfo
from vlprompt.scoring.uncertainty import accuracy_text


def card(info: RunInfo, where: str = "path/to/this/folder") -> str:
    """README.md of a run folder, from the content of run.json. where: what its example loads."""
    data, backbone = info.data, info.backbone
    names = info.class_names
    lines = [
        f"# {markdown(info.method)} on {markdown(data.name)}",
        "",
        (
            f"Prompts learned with vlprompt for the backbone {markdown_code(backbone.source)} "
            f"(fingerprint {markdown_code(backbone.fingerprint[:16])}, {markdown(backbone.precision)})."
        ),
        "",
        "| | accuracy | macro F1 | pictures |",
        "|---|---|---|---|",
    ]
    for key, title in (
        ("zero_shot", "zero-shot"),
        ("linear_probe", "linear probe"),
        ("cross-validation", f"{markdown(info.method)}, cross-validation"),
        ("test", f"{markdown(info.method)}, test"),
        ("val", f"{markdown(info.method)}, validation"),
    ):
        score = info.scores.get(key)
        if score:
            row = f"| {title} | {accuracy_text(score.correct, score.count)} | {score.macro_f1:.2f} % | {score.count} |"
            lines.append(row)
    train, timings = info.train_options, info.timings
    lines += [
        "",
        f"- classes: {len(names)} ({', '.join(map(markdown, names[:10]))}{', ...' if len(names) > 10 else ''})",
        (f"- training pictures: {data.train} ({info.pictures_text}), seed {info.seed}"),
    ]
    if train:
        steps = f" of {info.training.steps} steps in all" if info.training else ""
        lines.append(
            f"- training: {info.epochs_done} epochs{steps}, batch {train.batch_text}, {markdown(train.optimizer)}, lr {train.lr:g}, "
            f"views {markdown(str(train.views))}"
        )
    if timings:
        lines.append(
            f"- time: {timings.get('train_s', 0):.1f} s training, {timings.get('total_s', 0):.1f} s in all"
        )
    if options := info.options:
        lines.append(
            "- options: " + ", ".join(f"{markdown(k)} = {markdown(str(v))}" for k, v in options.items())
        )
    for notice in info.notices:
        lines.append(f"- note: {markdown(notice)}")
    if citation := info.paper:
        lines += ["", f"Method: {markdown(citation)}."]
    lines += [
        "",
        "```python",
        "from vlprompt import Run",
        "",
        f'run = Run.load("{where}")',
        'print(run.predict("picture.jpg"))',
        "```",
        "",
    ]
    return "\n".join(lines)


def hub_metadata(info: RunInfo, backbone: str | None, license: str | None = None) -> str:
    """What the hub reads at the head of a model card, as YAML. backbone: its id on the hub, if it is there."""
    from huggingface_hub import EvalResult, ModelCardData

    data, title = info.data, info.shown_title
    results = []
    for split in ("test", "val"):
        score = info.scores.get(split)
        if not score:
            continue
        for kind, value, name in (
            ("accuracy", score.accuracy, "Accuracy"),
            ("f1", score.macro_f1, "Macro F1"),
        ):
            results.append(
                EvalResult(
                    task_type="image-classification",
                    dataset_type=_slug(data.name) or "own-pictures",
                    dataset_name=data.name or "own pictures",
                    dataset_split=split,
                    metric_type=kind,
                    metric_name=name,
                    metric_value=round(value / 100, 6),
                )
            )
    return (
        ModelCardData(
            library_name="vlprompt",
            pipeline_tag="image-classification",
            license=license,
            base_model=backbone,
            tags=["clip", "few-shot", "prompt-learning", "vlprompt"],
            model_name=title if results else None,
            eval_results=results or None,
        ).to_yaml()
        + "\n"
    )


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
