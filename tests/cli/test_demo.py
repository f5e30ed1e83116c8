"""The demo in small: two methods, few pictures; and its one pass gives what the protocol gives."""

import json
import re

import pytest

from vlprompt.demo import demo_settings as settings
from vlprompt.demo.one_training import Job, Place, backbone_and_data, curve, work


@pytest.fixture
def small(monkeypatch):
    for method, values in settings.BUDGET.items():
        short = {"epochs": 2} | ({"batch": 3} if method in settings.SLOW else {})
        monkeypatch.setitem(settings.BUDGET, method, values | short)


@pytest.mark.parametrize("method", ["coop+lamm", "cocoop", "maple", "auto"])
def test_one_pass_gives_the_scores_of_the_protocol(method, small, pictures, backbone, tmp_path):
    from vlprompt import load_backbone
    from vlprompt.protocols.base_to_new import base_to_new

    place = Place(backbone, tmp_path, tmp_path / "cache", str(pictures), 2)
    record = work(Job("base_to_new", method, 1, place))["record"]
    _, dataset = backbone_and_data(place)
    (expected,) = base_to_new(
        dataset,
        method,
        load_backbone(backbone),
        shots=2,
        seeds=(1,),
        cache=False,
        train=settings.BUDGET.get(method),
        recipe=settings.recipe(method),
    )
    for key in ("base", "new", "harmonic_mean", "all", "zero_shot"):
        assert record[key] == pytest.approx(expected[key]), key


def test_every_method_has_a_recipe_of_its_own():
    from vlprompt.fitting.recipes import load_recipe

    for method in settings.METHODS:
        assert method in settings.SEEDS
        if method in ("linear_probe", "auto"):  # nothing is to be set: solved, and chosen
            assert settings.recipe(method) is None
        else:
            assert load_recipe(settings.recipe(method)).method == method


def test_methods_of_a_kind_have_the_same_budget():
    """Everything but the rate, which is chosen for each among as many."""
    from vlprompt.fitting.recipes import load_recipe

    def budget(method):
        train = load_recipe(settings.recipe(method)).train | settings.BUDGET.get(method, {})
        return str(sorted((k, v) for k, v in train.items() if k != "lr"))

    for kind in (("coop", "lamm", "coop+lamm"), ("maple", "maple+lamm")):
        assert len({budget(method) for method in kind}) == 1


def test_what_knows_no_new_names_is_left_out_of_base_to_new():
    assert settings.takes_part("coop", "base_to_new")
    assert settings.takes_part("linear_probe", "few_shot")
    assert not settings.takes_part("linear_probe", "base_to_new")


def test_curves_are_means_over_equal_parts():
    log = [{"event": "step", "loss": float(i), "accuracy": 0.0} for i in range(40)] + [{"event": "epoch"}]
    assert [point["loss"] for point in curve(log, 2)] == [9.5, 29.5]
    assert len(curve(log)) == 4
    assert len(curve(log[:3])) == 2


def test_demo(vlprompt, pictures, backbone, tmp_path, monkeypatch):
    from vlprompt.demo import all_trainings as running

    data = tmp_path / "demo-pictures"
    data.symlink_to(pictures)
    original = running.run_demo
    monkeypatch.setattr(settings, "SEEDS", {method: (1,) for method in settings.METHODS})
    monkeypatch.setattr(
        "vlprompt.demo.run_demo",
        lambda *args, **more: original(
            *args, **more, methods=("linear_probe", "coop", "coop+lamm", "auto"), data=str(data), shots=2
        ),
        raising=False,
    )
    said = vlprompt("demo", "--backbone", backbone, "--out", tmp_path / "out", "--workers", 1)
    assert said.code == 0, said.err
    for word in ("zero-shot", "CoOp + LAMM", "HM", "auto", "LAMM on CoOp", "report: "):
        assert word in said.out
    out = tmp_path / "out"
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(records) == 7
    page = (out / "report.html").read_text()
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert "CoOp, LAMM and" not in page
    for name in ("accuracy.png", "confusion.png", "curves.png", "runs/coop+lamm-seed1/run.json"):
        assert (out / name).exists()
    assert (
        vlprompt("predict", out / "runs" / "coop+lamm-seed1", pictures / "test" / "red_apple" / "0.png").code
        == 0
    )


def test_a_missing_backbone_ends_the_demo_at_once(vlprompt, tmp_path):
    said = vlprompt("demo", "--backbone", tmp_path / "none", "--out", tmp_path / "out")
    assert said.code == 2
    assert "no backbone" in said.err
