"""Writes src/vlprompt/assets/published.json from a collection of published figures.

    python recipes/published/build.py COLLECTION.json

The collection is {"rows": [{"source", "protocol", "dataset", "method", "metrics", "confidence"}, ...]}, with names
and metrics as their sources print them. What is kept are figures of methods that vlprompt has, under vlprompt's names
of methods (`zeroshot`, `maple+lamm`) and data sets (`caltech101`), one table per paper, protocol, shots and source.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from vlprompt.data.catalog import find
from vlprompt.errors import DataError

OUT = Path(__file__).parents[2] / "src" / "vlprompt" / "assets" / "published.json"
ABOUT = (
    "Published figures, per cent; facts only. values: method -> data set -> one number per metric (few_shot: per number "
    "of shots), null where the source shows none. kind: printed, plot (measured in a picture), derived (sums of "
    "printed numbers), re-run (by others than the method's authors). sure: how the figures were read. variant: "
    "settings that differ from the method's usual ones. shots null: no training. Written by recipes/published/build.py."
)
METHODS = {
    "CLIP": "zeroshot",
    "CoOp": "coop",
    "CoCoOp": "cocoop",
    "ProDA": "proda",
    "VPT": "vpt",
    "MaPLe": "maple",
    "LAMM": "lamm",
    "CoOp+LAMM": "coop+lamm",
    "MaPLe+LAMM": "maple+lamm",
    "CTP+TFT": "ctp+tft",
    "Tip-Adapter": "tip_adapter",
    "Tip-Adapter-F": "tip_adapter_f",
}
LONG = {  # start of a method's name in the collection -> ours, variant
    "Deep vision prompting": ("vpt", "deep, 5 epochs"),
    "Deep language prompting": ("ivlp", "text prompts only, 5 epochs"),
    "Independent V-L prompting, IVLP (5": ("ivlp", "5 epochs, 2 + 2 tokens, depth 12"),
    "Independent V-L prompting, IVLP (20": ("ivlp", "20 epochs, 4 + 4 tokens, depth 9"),
}
# start of the source -> paper, kind, and the source in our words
SOURCES = (
    (
        "zhengli97/PromptKD repo, images/exp_results.png",
        "maple",
        "printed",
        "MaPLe (CVPR 2023), base-to-new table, as repeated in PromptKD's result picture",
    ),
    (
        "zhengli97/ATPrompt repo",
        "maple",
        "printed",
        "MaPLe (CVPR 2023), base-to-new table, as repeated in ATPrompt's table 1 and PromptKD's result picture",
    ),
    (
        "ATPrompt PDF Table",
        "maple",
        "printed",
        "MaPLe (CVPR 2023), transfer tables, as repeated in ATPrompt's tables 2 and 4 and HPT's README",
    ),
    ("HPT README", "maple", "printed", "MaPLe (CVPR 2023), transfer tables, as repeated in HPT's README"),
    ("muzairkhattak/multimodal-prompt-learning README", "maple", "printed", "MaPLe's README, model zoo"),
    ("muzairkhattak/PromptSRC README", "promptsrc", "printed", "PromptSRC's README"),
    (
        "ZjjConan/Multi-Modal-Adapter README and",
        "proda",
        "printed",
        "ProDA under CoCoOp's protocol, as printed in MMA's README and in a list of prompt-learning papers",
    ),
    (
        "arXiv 2303.17169",
        "ctp-tft",
        "derived",
        "arXiv 2303.17169, abstract: gains over CoCoOp; added to CoCoOp's averages (71.69 new, 75.83 HM)",
    ),
    (
        "gaojingsheng/LAMM",
        "lamm",
        "plot",
        "LAMM (AAAI 2024), few-shot figure, docs/main_results.png of its repository",
    ),
    (
        "plot script",
        "promptsrc",
        "printed",
        "PromptSRC (ICCV 2023), supplement, table 13, as copied in the plotting script of a later project",
    ),
    ("gaopengcuhk/Tip-Adapter", "tip-adapter", "printed", "Tip-Adapter's repository, exp.log"),
    ("Koorye/DePT", "dept", "re-run", "DePT's repository: baselines trained again with settings of its own"),
    ("JREion/DPC", "dpc", "re-run", "DPC's repository: baselines trained again with settings of its own"),
)
PROTOCOLS = (
    ("base-to-new", "base_to_new"),
    ("cross-dataset", "cross_dataset"),
    ("domain general", "domain_generalization"),
    ("few-shot", "few_shot"),
    ("zero-shot", "few_shot"),
)
SHOTS = (1, 2, 4, 8, 16)
BASE_NEW = {"base": "base", "new": "new", "hm": "harmonic_mean"}


def starting(text: str, table: Any) -> Any:
    """The first row of the table whose first entry the text starts with."""
    return next((row for row in table if text.startswith(row[0])), None)


def method_of(name: str) -> tuple[str, str] | None:
    """Our name and variant of a method of the collection; None for one that we do not have."""
    name = re.sub(r" \(re-run in \w+ paper\)$", "", name)
    long = starting(name, [(start, *found) for start, found in LONG.items()])
    return (long[1], long[2]) if long else (METHODS[name], "") if name in METHODS else None


def data_of(name: str) -> str:
    if name.lower().startswith("average"):
        return "average"
    return "source" if "(source)" in name else find(name).name


def convert(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All tables, and the gains that abstracts state."""
    tables: dict[tuple[Any, ...], dict[str, Any]] = {}
    gains: list[dict[str, Any]] = []
    for row in rows:
        protocol, source, method = (
            starting(row["protocol"], PROTOCOLS),
            starting(row["source"], SOURCES),
            method_of(row["method"]),
        )
        if protocol is None or source is None or method is None or row["dataset"] == "-":
            continue
        (_, paper, kind, words), (name, variant) = source, method
        for shots, data, values in parts(protocol[1], row, name):
            facts = {
                "paper": paper,
                "protocol": protocol[1],
                "shots": shots,
                "kind": kind,
                "source": words,
                "sure": sure(row["confidence"]),
                "backbone": "RN50" if "RN50" in row["protocol"] else "ViT-B/16",
                "variant": variant,
                "metrics": list(values),
            }
            table = tables.setdefault(tuple(map(str, facts.values())), facts | {"values": {}})
            table["values"].setdefault(name, {})[data] = list(values.values())
        for metric in ("new", "hm"):
            gain = row["metrics"].get(f"gain_{metric}_over_cocoop")
            if gain is not None:
                gains.append(
                    {
                        "paper": paper,
                        "protocol": protocol[1],
                        "shots": 16,
                        "method": name,
                        "over": "cocoop",
                        "metric": BASE_NEW[metric],
                        "gain": gain,
                        "source": "arXiv 2303.17169, abstract",
                    }
                )
    add_reference(list(tables.values()))
    return {"about": ABOUT, "tables": list(tables.values()), "gains": gains}


def parts(protocol: str, row: dict[str, Any], method: str) -> list[tuple[Any, str, dict[str, Any]]]:
    """(shots, data set, values by metric) of a row."""
    metrics = row["metrics"]
    if protocol == "base_to_new":
        if "re-run" in row["method"] and "shots" not in metrics and "user" in row["method"]:
            return []
        return [
            (
                metrics.get("shots", 16),
                data_of(row["dataset"]),
                {ours: metrics.get(key) for key, ours in BASE_NEW.items()},
            )
        ]
    if protocol == "few_shot":
        data = data_of(row["dataset"])
        if "acc" in metrics:
            return [(None, data, {"accuracy": metrics["acc"]})]
        return [(list(SHOTS), data, {"accuracy": [metrics.get(f"acc_{k}shot") for k in SHOTS]})]
    values: dict[str, Any] = {}
    for key, value in metrics.items():
        try:
            values["source" if key == "ImageNet" else data_of(key)] = value
        except DataError as error:
            raise SystemExit(str(error)) from error
    return [(None if method == "zeroshot" else 16, "imagenet", values)]


def sure(text: str) -> str:
    """How sure a figure is, without what belongs to the collection."""
    if text.startswith("measured"):
        return re.sub(r"about \+-", "± ", text.split(";")[0])
    if "derived" in text:
        return "the gains are printed, the sums are ours; base is not printed anywhere that was found"
    if "second-hand" in text:
        return "read in a copy"
    return {
        "read in source (digits in a picture)": "read in a picture",
        "read in source (picture)": "read in a picture",
    }.get(text.split(";")[0], text.split(";")[0])


def add_reference(tables: list[dict[str, Any]]) -> None:
    """CoCoOp's averages beside CTP + TFT, which its abstract measures itself against."""
    known = next(
        t
        for t in tables
        if t["paper"] == "maple" and "cocoop" in t["values"] and t["protocol"] == "base_to_new"
    )
    table = next(t for t in tables if t["paper"] == "ctp-tft")
    table["values"]["cocoop"] = {"average": known["values"]["cocoop"]["average"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("collection", type=Path)
    made = convert(json.loads(parser.parse_args().collection.read_text(encoding="utf-8"))["rows"])
    text = json.dumps(made, ensure_ascii=False, indent=1)
    flat = re.sub(
        r"\[[^\[\]{}]*\]",
        lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"),
        text,
    )
    flat = re.sub(r"\[\s+(\[[^\[\]]*\])\s+\]", r"[\1]", flat)
    OUT.write_text(flat + "\n", encoding="utf-8")
    print(
        f"{OUT.name}: {len(made['tables'])} tables, {sum(len(t['values']) for t in made['tables'])} rows of methods"
    )


if __name__ == "__main__":
    main()
