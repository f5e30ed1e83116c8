"""protocol, table, methods, data and cache."""

import json


def test_protocol_appends_records_and_table_shows_them(vlprompt, pictures, backbone, tmp_path):
    file = tmp_path / "deep" / "results.jsonl"
    words = (
        "protocol",
        "few-shot",
        pictures,
        "--method",
        "zeroshot,coop,lamm",
        "--seeds",
        "1,2",
        "--shots",
        2,
        "--epochs",
        1,
        "--context-tokens",
        2,
        "--views",
        "center",
        "--backbone",
        backbone,
        "--out",
        file,
        "--no-probe",
    )
    said = vlprompt(*words)
    assert said.code == 0, said.err
    assert "few_shot" in said.out
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(r["method"], r["seed"]) for r in records] == [
        ("zeroshot", 1),
        ("zeroshot", 2),
        ("coop", 1),
        ("coop", 2),
        ("lamm", 1),
        ("lamm", 2),
    ]
    said = vlprompt(
        "protocol",
        "base_to_new",
        pictures,
        "-m",
        "coop",
        "--seeds",
        "1",
        "-k",
        2,
        "--epochs",
        1,
        "--views",
        "center",
        "-b",
        backbone,
        "-o",
        file,
    )
    assert said.code == 0, said.err
    assert "HM" in said.out
    text = vlprompt("table", file, "--format", "md", "--protocol", "few_shot").out
    assert text.splitlines()[0].startswith("| method | seeds | accuracy |")
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:] if "|" in line] == [
        "zero-shot",
        "coop",
        "lamm",
    ]
    assert "the linear probe is not among" in text
    assert "base_to_new" in vlprompt("table", file).out
    assert vlprompt("table", file, "--format", "csv").out.startswith("protocol,data,backbone")


def test_a_linear_probe_is_added_for_comparison(vlprompt, pictures, backbone, tmp_path):
    file = tmp_path / "results.jsonl"
    words = (
        "protocol",
        "few_shot",
        pictures,
        "-m",
        "coop",
        "--seeds",
        "1",
        "-k",
        2,
        "--epochs",
        1,
        "--views",
        "center",
        "-b",
        backbone,
        "-o",
        file,
    )
    said = vlprompt(*words)
    assert said.code == 0, said.err
    assert "linear_probe is added for comparison; --no-probe leaves it out" in said.err
    assert [json.loads(line)["method"] for line in file.read_text().splitlines()] == ["coop", "linear_probe"]
    assert "linear_probe" in said.out and "was not run" not in said.out
    said = vlprompt(*words[:4], "zeroshot,linear_probe", *words[5:])  # named: once is enough
    assert said.code == 0 and "is added" not in said.err
    said = vlprompt(*words[:4], "zeroshot", *words[5:], "--no-probe")
    assert said.code == 0 and "linear_probe" not in said.err and "the linear probe is not among" in said.out


def test_a_method_learns_as_measured_for_the_embedded_backbone(vlprompt, pictures, tmp_path):
    file = tmp_path / "results.jsonl"
    words = ("protocol", "few_shot", pictures, "-m", "kgcoop", "--seeds", "1", "-k", 2, "--epochs", 1)
    words = (*words, "--views", "center", "--no-probe", "-o", file)
    said = vlprompt(*words)
    assert said.code == 0, said.err
    assert (
        "kgcoop learns by small_kgcoop, measured for this backbone; --recipe takes other settings" in said.err
    )
    assert json.loads(file.read_text())["settings"]["train"]["optimizer"] == "lbfgs"
    said = vlprompt(*words, "--recipe", "kgcoop")
    assert said.code == 0 and "measured for this backbone" not in said.err
    assert "is of" not in said.err
    assert "optimizer" not in json.loads(file.read_text().splitlines()[1])["settings"].get("train", {})
    said = vlprompt(*words, "--recipe", "coop")
    assert said.code == 0 and "recipe coop is of coop: kgcoop takes its settings" in said.err


def test_a_method_that_cannot_take_part_is_left_out(vlprompt, pictures, backbone, tmp_path):
    file = tmp_path / "results.jsonl"
    common = ("--seeds", "1", "-k", 2, "--epochs", 1, "--views", "center", "-b", backbone, "-o", file)
    said = vlprompt("protocol", "base_to_new", pictures, "--method", "coop,linear_probe,zeroshot", *common)
    assert said.code == 0, said.err
    assert said.err.index("linear_probe: not under base_to_new, because it knows only") < said.err.index(
        "training pictures"
    )
    assert [json.loads(line)["method"] for line in file.read_text().splitlines()] == ["coop", "zeroshot"]
    said = vlprompt(
        "protocol", "class_incremental", pictures, "-m", "coop", "--class-specific", "--sessions", 2, *common
    )
    assert said.code == 2 and "takes no further classes" in said.err
    assert len(file.read_text().splitlines()) == 2


def test_runs_of_other_settings_have_rows_of_their_own(vlprompt, pictures, backbone, tmp_path):
    file = tmp_path / "mix.jsonl"
    words = (
        "protocol",
        "class_incremental",
        pictures,
        "-m",
        "coop",
        "-k",
        2,
        "--views",
        "center",
        "-b",
        backbone,
        "-o",
        file,
        "--sessions",
        2,
    )
    assert vlprompt(*words, "--seeds", 1, "--epochs", 1).code == 0
    assert vlprompt(*words, "--seeds", 2, "--epochs", 2, "--lr", 0.5).code == 0
    said = vlprompt("table", file, "--format", "md")
    assert "| coop (epochs 1) | 1 |" in said.out and "| coop (epochs 2, lr 0.5) | 1 |" in said.out
    assert json.loads(file.read_text().splitlines()[0])["settings"]["setup"] == {"sessions": 2}
    assert vlprompt("plot", file, "--kind", "forgetting", "--out", tmp_path / "x.png").code == 0
    assert "coop (epochs 1)" in vlprompt("table", file, "--over", "zeroshot").out
    assert "give one of 'coop (epochs 1)'" in vlprompt("table", file, "--over", "coop").err


def test_protocol_keeps_runs(vlprompt, pictures, backbone, tmp_path):
    words = (
        "protocol",
        "few_shot",
        pictures,
        "-m",
        "coop",
        "--seeds",
        "1",
        "-k",
        1,
        "--epochs",
        1,
        "--views",
        "center",
        "-b",
        backbone,
        "-o",
        tmp_path / "r.jsonl",
        "--runs",
        tmp_path / "runs",
    )
    assert vlprompt(*words).code == 0
    assert (tmp_path / "runs" / "few_shot" / "coop" / "seed1" / "run.json").exists()
    assert "finished already" in vlprompt(*words).err


def test_methods(vlprompt, backbone):
    said = vlprompt("methods", "--backbone", backbone, "--class-count", 10)
    assert said.code == 0
    assert "CoCoOp" in said.out
    rows = {row["name"]: row for row in json.loads(vlprompt("methods", "-b", backbone, "--json").out)}
    assert rows["zeroshot"]["parameters"] == 0
    assert rows["coop"]["parameters"] == 16 * 64
    assert rows["maple+lamm"]["title"] == "MaPLe + LAMM"
    assert rows["maple"]["needs"] == "pixels"
    assert rows["lamm"]["per_step"] == rows["coop+lamm"]["per_step"] == "text tower over all classes"
    assert rows["vpt+lamm"]["per_step"] == "image tower over the batch, text tower over all classes"
    assert "maple_cross_dataset" in vlprompt("methods", "--recipes").out


def test_backbones_are_listed_with_what_they_cost(vlprompt):
    said = vlprompt("backbones")
    assert said.code == 0 and "ViT-B/16" in said.out and "no visual prompts" in said.out
    rows = {row["name"]: row for row in json.loads(vlprompt("backbones", "--json").out)}
    assert rows["google/siglip-base-patch16-224"]["licence"] == "Apache-2.0"
    assert rows["RN50"]["visual_prompts"] is False and rows["ViT-B/16"]["zero_shot"] == 68.6
    small = json.loads(vlprompt("backbones", "--largest", 500, "--json").out)
    assert small and all(row["megabytes"] <= 500 for row in small)


def test_data(vlprompt, pictures):
    said = vlprompt("data", pictures)
    assert said.code == 0
    assert "red apple" in said.out
    assert "splits: given" in said.out
    found = json.loads(vlprompt("data", pictures, "--json").out)
    assert found["classes"][2] == {"key": "red_apple", "name": "red apple", "train": 4, "test": 2}


def test_data_without_a_split_is_shown_as_fit_reads_it(vlprompt, pictures):
    said = vlprompt("data", pictures / "train")
    assert "splits: none; fit learns from every picture" in said.out and "test" not in said.out.split("\n")[0]
    found = json.loads(vlprompt("data", pictures / "train", "--json").out)
    assert found["classes"][2] == {"key": "red_apple", "name": "red apple", "train": 4}


def test_cache(vlprompt, pictures, backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path))
    assert " 0 arrays" in vlprompt("cache").out
    words = ("fit", pictures, "-m", "zeroshot", "-b", backbone, "-o", tmp_path / "x")
    assert vlprompt(*words).code == 0
    assert " 18 arrays" in vlprompt("cache", "info").out
    assert "emptied (18 arrays" in vlprompt("cache", "clear").out
    monkeypatch.setenv("VLPROMPT_CACHE", "off")
    assert "there is no cache" in vlprompt("cache").out
