"""Grids, in one process: what is done, skipped, failed, and done again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlprompt.errors import OptionError
from vlprompt.sweeps.job import perform, warm_jobs
from vlprompt.sweeps.sweep import sweep
from vlprompt.sweeps.sweep_file import make_sweep


def lines(grid):
    return [json.loads(line) for line in Path(grid["out"]).read_text().splitlines()]


def test_a_sweep_does_every_run_once(grid):
    told = []
    found = sweep(grid, tell=lambda event, job, record: told.append(event))
    assert (found.now, found.before, len(found.failed)) == (6, 0, 0)
    assert told.count("start") == told.count("done") == 6 and "progress" in told
    assert {(r["method"], r["seed"]) for r in lines(grid)} == {
        (m, s) for m in grid["methods"] for s in (1, 2, 3)
    }
    assert all(r["data"] == "pictures" and r["protocol"] == "few_shot" for r in found.records)
    again = sweep(grid | {"shots": [1, 2]})
    assert (again.now, again.before) == (6, 6)
    assert len(lines(grid)) == len({r["key"] for r in lines(grid)}) == 12


def test_a_failed_run_is_recorded_and_does_not_stop_the_others(grid, place, tmp_path):
    late = tmp_path / "late"
    late.mkdir()
    bad = grid | {"data": [str(late), *grid["data"]], "methods": ["zeroshot"], "seeds": [1]}
    found = sweep(bad)
    (error,) = found.failed.values()
    assert found.now == 1 and str(late) in error and not found.earlier
    assert [line.get("error") for line in lines(bad)] == [error, None]
    again = sweep(bad)
    assert list(again.earlier) == list(again.failed) and len(lines(bad)) == 2  # not tried again unasked
    again = sweep(bad, retry_failed=True)
    assert again.failed and not again.earlier and len(lines(bad)) == 3
    late.rmdir()
    late.symlink_to(place / "pictures")
    mended = sweep(bad, retry_failed=True)
    assert mended.now == 1 and not mended.failed and len(mended.records) == 2


def test_other_protocols_targets_and_settings_of_one_method(grid, place):
    more = grid | {
        "methods": ["coop"],
        "seeds": [1],
        "data": ["small"],
        "protocols": ["base_to_new", "cross_dataset", "class_incremental"],
        "method": {"coop": {"options": {"context_tokens": 3}, "train": {"lr": 0.01}}},
        "dataset": {
            "small": {"path": grid["data"][0], "templates": ["a blurry {}."]},
            "other": {"path": grid["data"][0], "templates": ["a {}."]},
        },
        "protocol": {
            "cross_dataset": {"targets": ["other"], "shots": [2]},
            "class_incremental": {"sessions": 2},
        },
    }
    found = sweep(more)
    assert not found.failed
    by = {record["protocol"]: record for record in found.records}
    assert by["base_to_new"]["shots"] == 1 and by["cross_dataset"]["shots"] == 2
    assert {"source", "other", "average"} <= set(by["cross_dataset"])
    assert "session_2" in by["class_incremental"]
    cell = make_sweep(more).cells[0]
    assert (
        cell.options == {"context_tokens": 3}
        and cell.train["lr"] == 0.01
        and cell.data.templates == ("a blurry {}.",)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metods": ["coop"]}, 'no key "metods": did you mean "methods"'),
        ({"methods": ["cop"]}, 'did you mean "coop"'),
        ({"protocols": ["few"]}, "few_shot"),
        ({"train": {"epoch": 1}}, 'did you mean "epochs"'),
        ({"method": {"coop": {"option": {}}}}, 'no key "method.coop.option": did you mean "options"'),
        ({"method": {"coop+lamm": {}}}, "there is no such method in the grid"),
        ({"protocol": {"few_shot": {"sessions": 3}}}, 'no key "protocol.few_shot.sessions"'),
        ({"shots": ["a"]}, "expected a list of whole numbers"),
        ({"dataset": {"x": {"pathh": ""}}}, 'did you mean "path"'),
        ({"data": []}, "the list is empty"),
        ({"precision": "float64"}, 'no precision "float64"'),
        ({"device": "gpu"}, 'no device "gpu"'),
        ({"backbone": ["embedded"]}, "backbone is ['embedded']: expected text"),
        ({"tokenizer": 3}, "tokenizer is 3: expected text"),
        ({"runs": 5}, "runs is 5: expected the path of a folder"),
        ({"out": 5}, "out is 5: expected the path of a file"),
        ({"cache": 7}, "cache is 7: expected a folder, or false"),
        ({"templates": "no braces"}, "expected exactly one {}"),
        ({"dataset": {"x": {"classes": 7}}}, "dataset.x.classes is 7: expected text or a list of texts"),
        (
            {"dataset": {"x": {"val_fraction": "x"}}},
            "dataset.x.val_fraction is 'x': expected a number from 0 to 1",
        ),
        ({"dataset": {"x": {"split_seed": 1.5}}}, "dataset.x.split_seed is 1.5: expected a whole number"),
        ({"dataset": {"zz": {"path": "photos"}}}, "[dataset.zz]: there is no such dataset in the grid"),
        (
            {"protocols": ["class_incremental"], "protocol": {"class_incremental": {"sessions": "three"}}},
            "protocol.class_incremental.sessions is 'three': expected a whole number from 2 on",
        ),
        (
            {"protocols": ["domain_generalization"], "protocol": {"domain_generalization": {"source": 1}}},
            "source is 1: expected text",
        ),
        ({"protocols": ["cross_dataset"]}, "has no other data set to be tested on"),
        (
            {"protocols": ["cross_dataset"], "protocol": {"cross_dataset": {"targets": {"a": "b"}}}},
            "expected a list of texts",
        ),
        (
            {
                "protocols": ["cross_dataset"],
                "protocol": {"cross_dataset": {"targets": ["b"], "target_templates": {"b": "none"}}},
            },
            "expected exactly one {}",
        ),
        (
            {
                "protocols": ["cross_dataset"],
                "protocol": {"cross_dataset": {"targets": ["b"], "target_templates": {"c": "a {}"}}},
            },
            'there is no target "c"',
        ),
    ],
)
def test_mistakes_are_named_before_anything_runs(grid, change, said):
    with pytest.raises(OptionError) as error:
        make_sweep(grid | change)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": ["photos"]}, "photos: there is no such file or folder"),
        ({"data": ["dtd"], "root": "nowhere"}, "nowhere: there is no such file or folder"),
        (
            {"protocols": ["cross_dataset"], "protocol": {"cross_dataset": {"targets": "pacs"}}},
            "pacs: there is no such file",
        ),
        ({"device": "meta:x"}, "no device"),
        ({"precision": "fp16"}, "fp16 is not for CPUs"),
        ({"backbone": "embeded"}, 'did you mean "embedded"'),
        ({"tokenizer": "nowhere.json"}, "nowhere.json: there is no such file"),
    ],
)
def test_what_this_machine_lacks_is_named_before_anything_runs(grid, tmp_path, monkeypatch, change, said):
    from grids import write_toml

    from vlprompt.cli.main import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError) as error:
        sweep(grid | change)
    assert said in str(error.value)
    assert (
        main(["--quiet", "sweep", str(write_toml(tmp_path / "grid.toml", grid | change)), "--dry-run"]) == 2
    )
    assert not Path(grid["out"]).exists()


def test_pictures_of_runs_that_are_done_need_not_be_there_any_more(grid, place, tmp_path):
    (tmp_path / "gone").symlink_to(place / "pictures")
    grid |= {"methods": ["zeroshot"], "data": [str(tmp_path / "gone")], "seeds": [1]}
    assert sweep(grid).now == 1
    (tmp_path / "gone").unlink()
    assert sweep(grid).before == 1


def test_methods_that_cannot_take_part_are_left_out_of_the_grid(grid):
    more = grid | {
        "methods": ["linear_probe", "zeroshot"],
        "protocols": ["few_shot", "base_to_new"],
        "seeds": [1],
    }
    made = make_sweep(more)
    assert [(cell.protocol, cell.method) for cell in made.cells] == [
        ("few_shot", "linear_probe"),
        ("few_shot", "zeroshot"),
        ("base_to_new", "zeroshot"),
    ]
    assert len(made.left_out) == 1 and made.left_out[0].startswith(
        "linear_probe: not under base_to_new, because"
    )
    with pytest.raises(OptionError, match="linear_probe: not under base_to_new"):
        make_sweep(more | {"methods": ["linear_probe"], "protocols": ["base_to_new"]})


def test_an_error_of_an_earlier_sweep_is_said_to_be_one(grid, tmp_path, capsys):
    from grids import write_toml

    from vlprompt.cli.main import main

    (tmp_path / "late").mkdir()
    toml = str(
        write_toml(
            tmp_path / "grid.toml",
            grid | {"data": [str(tmp_path / "late")], "methods": ["zeroshot"], "seeds": [1]},
        )
    )
    said = []
    for _ in range(2):
        assert main(["--quiet", "sweep", toml]) == 1
        said.append(capsys.readouterr())
    assert (
        "in an earlier sweep" not in said[0].err
        and "1 failed (--retry-failed tries these again)" in said[0].out
    )
    assert "seed 1: failed in an earlier sweep: " in said[1].err and said[1].err.endswith(
        "; --retry-failed tries again\n"
    )


def test_two_data_sets_of_one_name_are_refused(grid, tmp_path):
    with pytest.raises(OptionError, match="two data sets would be called"):
        make_sweep(grid | {"data": [*grid["data"], str(tmp_path / "pictures")]})


def test_keys_depend_on_what_decides_the_result_only(grid):
    def keys(change):
        return {cell.key for cell in make_sweep(grid | change).cells}

    same, others = keys({}), [{"train": {"epochs": 2}}, {"templates": ["a {}"]}, {"precision": "bf16"}]
    assert keys({"device": "cuda"}) == keys({"runs": "there"}) == keys({"cache": False}) == same
    assert all(not keys(change) & same for change in others)


def test_a_changed_recipe_makes_other_runs(grid, tmp_path):
    recipe = tmp_path / "mine.json"

    def keys(**held):
        recipe.write_text(json.dumps({"method": "coop", **held}))
        return {
            cell.key
            for cell in make_sweep(
                grid | {"methods": ["coop"], "method": {"coop": {"recipe": str(recipe)}}}
            ).cells
        }

    first = keys(train={"epochs": 1})
    assert keys(train={"epochs": 1}, title="the same under a title") == first
    assert not keys(train={"epochs": 2}) & first


def test_pictures_are_encoded_once_for_all_runs(grid, monkeypatch):
    from vlprompt.backbones.backbone import Backbone

    counts = []
    plain = Backbone.image_features
    monkeypatch.setattr(
        Backbone, "image_features", lambda self, pixels: counts.append(len(pixels)) or plain(self, pixels)
    )
    sweep(grid | {"methods": ["zeroshot", "coop", "coop+lamm"], "seeds": [1]})
    assert sum(counts) == 8 + 4 + 4  # test, validation, training


def test_no_views_are_encoded_ahead_that_no_run_takes(grid, monkeypatch):
    """Steps at least are reckoned from as many pictures as are drawn: four in steps of two, six epochs and not twelve."""
    from vlprompt.backbones.backbone import Backbone

    counts = []
    plain = Backbone.image_features
    monkeypatch.setattr(
        Backbone, "image_features", lambda self, pixels: counts.append(len(pixels)) or plain(self, pixels)
    )
    train = {"epochs": 1, "least_steps": 12, "batch": 2, "views": "epoch", "warmup_epochs": 0}
    grid |= {"seeds": [1], "train": train, "method": {"linear_probe": {"train": {"views": 3, "epochs": 3}}}}
    grid["methods"] = ["coop", "linear_probe"]
    (job,) = warm_jobs(list(make_sweep(grid).cells))
    assert perform(job).error is None
    ahead = sum(counts)
    assert ahead == 8 + 4 + 6 * 4  # test, validation, training
    sweep(grid)
    assert len(lines(grid)) == 2 and sum(counts) == ahead  # nothing again


def test_text_features_of_the_reference_are_computed_once_for_runs_of_the_same_classes(grid, monkeypatch):
    from vlprompt.prompts.interpreters.fast import Fast

    passes = []
    plain = Fast.text
    monkeypatch.setattr(Fast, "text", lambda self, prompt: passes.append(1) or plain(self, prompt))
    sweep(grid | {"methods": ["zeroshot"], "templates": ["a {} there", "the {}"]})
    assert len(passes) == 2
