"""The model card of a run, made from recorded facts only."""

from __future__ import annotations

from typing import Any


def card(info: dict[str, Any]) -> str:
    """README.md of a run folder, from the content of run.json."""
    data, backbone = info.get("data", {}), info["backbone"]
    names = info["class_names"]
    lines = [
        f"# {info['method']} on {data.get('name', 'own pictures')}",
        "",
        (
            f"Prompts learned with vlprompt for the backbone `{backbone['source']}` "
            f"(fingerprint `{backbone['fingerprint'][:16]}`, {backbone['precision']})."
        ),
        "",
        "| | accuracy | macro F1 | pictures |",
        "|---|---|---|---|",
    ]
    for key, title in (("zero_shot", "zero-shot"), ("test", f"{info['method']}, test"),
                       ("val", f"{info['method']}, validation")):  # fmt: skip
        score = info.get("scores", {}).get(key)
        if score:
            row = f"| {title} | {score['accuracy']:.2f} % | {score['macro_f1']:.2f} % | {score['count']} |"
            lines.append(row)
    train, timings = info.get("train", {}), info.get("timings", {})
    lines += [
        "",
        f"- classes: {len(names)} ({', '.join(names[:10])}{', ...' if len(names) > 10 else ''})",
        (
            f"- training pictures: {data.get('train', 0)} ({info.get('shots', 0) or 'all'} per class), "
            f"seed {info.get('seed')}"
        ),
    ]
    if train:
        lines.append(
            f"- training: {train['epochs']} epochs, batch {train['batch']}, {train['optimizer']}, lr {train['lr']:g}, "
            f"views {train['views']}"
        )
    if timings:
        lines.append(f"- time: {timings.get('train_s', 0):.1f} s training, {timings.get('total_s', 0):.1f} s in all")
    if options := info.get("options"):
        lines.append("- options: " + ", ".join(f"{k} = {v}" for k, v in options.items()))
    for notice in info.get("notices", []):
        lines.append(f"- note: {notice}")
    if citation := info.get("paper"):
        lines += ["", f"Method: {citation}."]
    lines += [
        "", "```python", "from vlprompt import Run", "",
        'run = Run.load("path/to/this/folder")', 'print(run.predict("picture.jpg"))', "```", "",
    ]  # fmt: skip
    return "\n".join(lines)
