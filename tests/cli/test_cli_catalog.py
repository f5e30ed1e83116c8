"""vlprompt data list and check, vlprompt import, and the protocols that take more than shots and seeds."""

import json

import torch


def test_list(vlprompt):
    said = vlprompt("data", "list", "--json")
    rows = json.loads(said.out)
    assert said.code == 0 and len(rows) == 15
    assert rows[1]["folder"] == "caltech-101" and rows[1]["test"] == 2465
    assert "oxford_flowers" in vlprompt("data", "list").out


def test_check(vlprompt, tmp_path):
    said = vlprompt("data", "check", "eurosat", "--root", str(tmp_path))
    assert said.code == 1 and "2750/" in said.out and "zenodo.org" in said.out
    assert said.err == ""  # the report says all
    place = tmp_path / "eurosat" / "2750"
    from PIL import Image

    for name in ("River", "Forest"):
        (place / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(place / name / f"{name}_{i}.jpg")
    said = vlprompt("data", "check", "eurosat", "--root", str(tmp_path), "--json")
    found = json.loads(said.out)
    assert said.code == 0 and found["usable"] and not found["complete"]
    assert found["found"]["classes"] == 2 and found["expected"]["classes"] == 10
    said = vlprompt("data", "eurosat", "--root", str(tmp_path))
    assert said.code == 0 and "River" in said.out


def test_check_without_a_name(vlprompt):
    said = vlprompt("data", "check")
    assert said.code == 2 and "--root" in said.err


def test_import(vlprompt, backbone, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cat\ngolden retriever\n")
    torch.save(
        {"state_dict": {"ctx": torch.randn(4, 64), "token_suffix": torch.zeros(2, 72, 64)}, "epoch": 50},
        tmp_path / "model.pth.tar-50",
    )
    said = vlprompt(
        "import",
        str(tmp_path / "model.pth.tar-50"),
        "--method",
        "coop",
        "--classes",
        str(names),
        "--backbone",
        backbone,
        "--out",
        str(tmp_path / "run"),
        "--set",
        "name_position=front",
    )
    assert said.code == 0, said.err
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["options"]["context_tokens"] == 4 and info["options"]["name_position"] == "front"
    again = (
        "import",
        str(tmp_path / "model.pth.tar-50"),
        "--classes",
        str(names),
        "--backbone",
        backbone,
        "--out",
        str(tmp_path / "run"),
    )
    said = vlprompt(*again)
    assert (
        said.code == 1
        and "holds a finished run: choose another folder or overwrite it (--overwrite)" in said.err
    )
    said = vlprompt(*again, "--overwrite")
    assert said.code == 0, said.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["options"]["name_position"] == "end"
    said = vlprompt("import", str(names), "--classes", str(names), "--backbone", backbone)
    assert said.code == 1 and "zip format" in said.err
    said = vlprompt("import", str(names), "--classes", str(names), "--set", "name_positoin=front")
    assert said.code == 2 and 'did you mean "name_position"' in said.err


def test_protocols_with_arguments_of_their_own(vlprompt, backbone, pictures, tmp_path):
    common = (
        "--backbone",
        backbone,
        "--shots",
        "2",
        "--seeds",
        "1",
        "--method",
        "coop+lamm",
        "--epochs",
        "1",
        "--views",
        "center",
        "--out",
        str(tmp_path / "records.jsonl"),
    )
    said = vlprompt("protocol", "class_incremental", str(pictures), "--sessions", "2", *common)
    assert said.code == 0, said.err
    said = vlprompt("protocol", "cross_dataset", str(pictures), "--target", f"other={pictures}", *common)
    assert said.code == 0, said.err
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert records[0]["text_change"] == 0.0
    assert records[1]["other"] == records[1]["average"]
    said = vlprompt("protocol", "few_shot", str(pictures), "--sessions", "2", *common)
    assert said.code == 2 and "few_shot takes no --sessions" in said.err
    said = vlprompt("protocol", "cross_dataset", str(pictures), *common)
    assert said.code == 2 and "targets" in said.err
