"""Benchmark data sets by name on the command line, in small trees of their layout."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from seed_records import base_new

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from benchmark_trees import imagenet_tree, tree, write

from vlprompt.data.catalog import TRANSFER, find

QUICK = ("--shots", "1", "--epochs", "1", "--views", "center", "--device", "cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four data sets, and ImageNet with its four variants; two of these have half of the classes."""
    place = tmp_path_factory.mktemp("datasets")
    for name in ("oxford_pets", "dtd", "eurosat", "caltech101"):
        write(place / find(name).folder, tree(name))
    for name in ("imagenet", *TRANSFER["domain_generalization"]):
        write(
            place / find(name).folder, imagenet_tree(name, 2 if name in ("imagenet_a", "imagenet_r") else 4)
        )
    return place


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_fit_by_name(vlprompt, root, backbone, tmp_path):
    said = vlprompt(
        "fit",
        "oxford_pets",
        "--root",
        root,
        "-b",
        backbone,
        "--method",
        "coop",
        "--out",
        tmp_path / "run",
        "--context-tokens",
        "2",
        *QUICK,
    )
    assert said.code == 0, said.err
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["data"]["name"] == "oxford_pets" and info["class_names"] == ["abyssinian", "great pyrenees"]
    assert info["data"]["split"] == "given: split_zhou_OxfordPets.json"
    assert info["zero_shot_templates"] == ["a photo of a {}, a type of pet."]
    assert info["templates"] == ["a photo of a {}."]  # learned prompts start from the same words everywhere
    said = vlprompt("fit", "oxford_pet", "--root", root)
    assert said.code == 1 and 'did you mean "oxford_pets"' in said.err


def test_several_data_sets_in_one_command(vlprompt, root, backbone, tmp_path):
    out = tmp_path / "records.jsonl"
    said = vlprompt(
        "protocol",
        "base-to-new",
        "oxford_pets,dtd",
        "--root",
        root,
        "-b",
        backbone,
        "--method",
        "zeroshot",
        "--seeds",
        "1,2",
        "--out",
        out,
        "--runs",
        tmp_path / "runs",
        *QUICK[2:],
    )
    assert said.code == 0, said.err
    assert [(r["data"], r["seed"], r["split"]) for r in records(out)] == [
        (name, seed, "given") for name in ("oxford_pets", "dtd") for seed in (1, 2)
    ]
    assert (tmp_path / "runs" / "base_to_new" / "dtd" / "zeroshot" / "seed1" / "run.json").is_file()
    assert (
        records(out)[0]["base"] == records(out)[0]["zero_shot"]["base"]
    )  # zero-shot says the data set's own template
    said = vlprompt("table", out, "--paper", "maple", "--format", "md")
    assert said.code == 0 and "†" in said.out and "(-" not in said.out
    said = vlprompt(
        "protocol", "few_shot", "all", "--root", root, "-b", backbone, "--method", "zeroshot", "--out", out
    )
    assert said.code == 1 and "StanfordCars" in said.err  # before anything is run


def test_cross_dataset_from_imagenet(vlprompt, root, backbone, tmp_path):
    out = tmp_path / "records.jsonl"
    common = ("--root", root, "-b", backbone, "--method", "zeroshot", "--seeds", "1", "--out", out, *QUICK)
    said = vlprompt(
        "protocol",
        "cross_dataset",
        "--source",
        "imagenet",
        "--targets",
        "dtd,eurosat",
        "--target",
        "caltech101",
        *common,
    )
    assert said.code == 0, said.err
    (record,) = records(out)
    assert record["data"] == "imagenet" and {"source", "caltech101", "dtd", "eurosat", "average"} <= set(
        record
    )
    assert record["target_splits"] == {"caltech101": "given", "dtd": "given", "eurosat": "given"}
    said = vlprompt("protocol", "cross_dataset", "imagenet", *common)  # without targets: the papers' ten
    assert said.code == 1 and "StanfordCars" in said.err
    said = vlprompt("protocol", "cross_dataset", "oxford_pets", *common)
    assert said.code == 2 and "targets" in said.err
    said = vlprompt("protocol", "few_shot", *common)
    assert said.code == 2 and "PATH" in said.err


def test_domain_generalization_from_imagenet(vlprompt, root, backbone, tmp_path):
    out = tmp_path / "records.jsonl"
    said = vlprompt(
        "protocol",
        "domain_generalization",
        "--root",
        root,
        "-b",
        backbone,
        "--method",
        "zeroshot",
        "--seeds",
        "1",
        "--no-probe",
        "--out",
        out,
        *QUICK,
    )
    assert said.code == 0, said.err
    (record,) = records(out)
    assert set(record["target_splits"]) == set(TRANSFER["domain_generalization"])
    assert all(0 <= record[name] <= 100 for name in (*TRANSFER["domain_generalization"], "source", "average"))


def test_sweep_over_names(vlprompt, root, backbone, tmp_path):
    grid = tmp_path / "grid.toml"
    grid.write_text(f"""
methods = ["zeroshot"]
data = ["OxfordPets", "dtd"]
shots = [1]
seeds = [1]
backbone = {json.dumps(backbone)}
device = "cpu"
out = {json.dumps(str(tmp_path / "results.jsonl"))}
""")
    said = vlprompt("sweep", grid, "--root", root)
    assert said.code == 0, said.err
    assert {(r["data"], r["split"]) for r in records(tmp_path / "results.jsonl")} == {
        ("oxford_pets", "given"),
        ("dtd", "given"),
    }
    assert "0 done now, 2 before" in vlprompt("sweep", grid, "--root", root).out
    said = vlprompt("sweep", grid.rename(tmp_path / "other.toml"), "--dry-run", "--root", root)
    assert said.out.count("done") == 2


def test_a_table_of_averages_alone(vlprompt, tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_text("\n".join(json.dumps(base_new(80.0, 40.0, data=data)) for data in ("fruit", "birds")))
    said = vlprompt("table", file, "--averages", "--format", "csv")
    lines = said.out.splitlines()
    assert said.code == 0 and [line.partition(",")[0] for line in lines[1:]] == ["base_to_new"] * 2
    assert all("average of 2" in line for line in lines[1:])
    said = vlprompt("table", file, "--averages", "--data", "fruit")
    assert said.code != 0 and "no method was run on more than one data set" in said.err
