import json

import pytest

from vlprompt import methods
from vlprompt.errors import OptionError
from vlprompt.fitting.plan import make_plan
from vlprompt.fitting.recipes import FOLDER, load_recipe, recipe_names


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*")), ids=lambda p: p.name)
def test_every_recipe_is_a_plan_and_names_its_source(path):
    held = load_recipe(path.stem)
    plan = make_plan(recipe=path.stem)
    assert plan.method == held.method and held.source and held.backbone
    assert set(held.options) <= {
        f for kind in methods.load(held.method).kinds for f in kind.__dataclass_fields__
    }


@pytest.mark.parametrize(
    ("name", "epochs", "batch", "lr"),
    [
        ("coop", 50, 32, 0.002),
        ("cocoop", 10, 1, 0.002),
        ("vpt", 5, 4, 0.0025),
        ("ivlp", 5, 4, 0.0035),
        ("ivlp_language_only", 5, 4, 0.0025),
        ("maple", 5, 4, 0.0035),
        ("maple_cross_dataset", 2, 4, 0.0026),
        ("lamm", 50, 32, 0.002),
        ("coop_lamm", 50, 32, 0.002),
        ("maple_lamm", 5, 4, 0.0035),
        ("coop_base_to_new", 200, 32, 0.002),
        ("cocoop_c4", 10, 1, 0.002),
        ("cocoop_c16", 10, 1, 0.002),
        ("ivlp_depth9", 20, 4, 0.0025),
        ("maple_lamm_published_code", 5, 4, 0.0035),
    ],
)
def test_published_values(name, epochs, batch, lr):
    train = load_recipe(name).train
    assert (train["epochs"], train["batch"], train["lr"], train["warmup_lr"]) == (epochs, batch, lr, 1e-5)


def test_epochs_by_hand_are_as_many_as_were_asked_for():
    def least(train):
        return make_plan(recipe="small_maple", train=train).train.least_steps

    assert least({}) == least({"lr": 0.1}) == least({"epochs": 0}) > 0
    assert (least({"epochs": 3}), least({"epochs": 3, "least_steps": 50})) == (0, 50)


def test_settings_without_the_usual_warm_up():
    proda, tip = load_recipe("proda"), load_recipe("tip_adapter_f")
    assert (
        proda.train["epochs"],
        proda.train["lr"],
        proda.train["weight_decay"],
        proda.train["warmup_epochs"],
    ) == (100, 0.001, 0, 0)
    assert proda.options["prompts"] == 32 and proda.options["prompt_batch"] == 4
    assert (tip.train["epochs"], tip.train["batch"], tip.train["lr"], tip.train["optimizer"]) == (
        20,
        256,
        0.001,
        "adamw",
    )


def test_every_method_of_the_papers_has_a_recipe():
    held = {load_recipe(name).method for name in recipe_names() if not name.startswith("small_")}
    assert held >= {
        "coop",
        "cocoop",
        "proda",
        "vpt",
        "ivlp",
        "maple",
        "lamm",
        "coop+lamm",
        "maple+lamm",
        "ctp",
        "tft",
        "ctp+tft",
        "tip_adapter",
        "tip_adapter_f",
    }
    assert "chosen here" in load_recipe("ctp_tft").source  # nothing was published


def test_recipes_from_files(tmp_path):
    (tmp_path / "own.json").write_text(json.dumps({"method": "vpt", "train": {"lr": 0.5}}))
    plan = make_plan(recipe=tmp_path / "own.json", train={"epochs": 3})
    assert (plan.method, plan.train.lr, plan.train.epochs) == ("vpt", 0.5, 3)
    for content in ("[]", "{", '{"method": "vpt", "rate": 1}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(OptionError, match=r"bad\.json"):
            load_recipe(tmp_path / "bad.json")
    with pytest.raises(OptionError, match='did you mean "maple"'):
        load_recipe("mapel")
    assert "coop" in recipe_names()


def test_a_variant_goes_before_its_recipe(tmp_path):
    path = tmp_path / "mine.json"
    held = {
        "method": "coop",
        "options": {"context_tokens": 4, "name_position": "end"},
        "train": {"epochs": 5},
        "variants": {"pets": {"options": {"context_tokens": 8}}, "cars": {"train": {"epochs": 9}}},
    }
    path.write_text(json.dumps(held))
    pets, cars = load_recipe(f"{path}:pets"), load_recipe(f"{path}:cars")
    assert pets.options == {"context_tokens": 8, "name_position": "end"} and pets.train == {"epochs": 5}
    assert cars.options == held["options"] and cars.train == {"epochs": 9}
    assert load_recipe(path).options == held["options"]
    assert make_plan(recipe=f"{path}:pets").options["context_tokens"] == 8
    with pytest.raises(OptionError, match="no variant"):
        load_recipe(f"{path}:cats")
    for wrong in ({"pets": 3}, {"pets": {"option": {}}}, {"pets": {"train": 5}}, []):
        path.write_text(json.dumps(held | {"variants": wrong}))
        with pytest.raises(OptionError, match='"variants" is to be'):
            load_recipe(path)


def test_settings_of_another_method_are_told():
    assert make_plan("tcp", recipe="kgcoop").notices == (
        "recipe kgcoop is of kgcoop: tcp takes its settings",
    )
    assert make_plan("kgcoop", recipe="kgcoop").notices == make_plan("kgcoop").notices == ()
