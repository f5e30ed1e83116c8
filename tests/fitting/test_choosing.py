"""auto compares on the training pictures alone, learns all of them, and keeps a part for further names."""

import numpy as np
import pytest
import torch
from small_data import picture_folder, pictures_and_labels
from support import tiny_backbone

from vlprompt.data.opening import open_dataset
from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.estimator import PromptClassifier
from vlprompt.feeding.inputs import Encoder
from vlprompt.fitting import choosing, lesson
from vlprompt.fitting.learning import fit
from vlprompt.fitting.measuring import GIVEN_ONLY, stratified
from vlprompt.fitting.plan import make_plan
from vlprompt.report.run_tables import choice_lines, choice_table
from vlprompt.runs.info import ChoiceInfo
from vlprompt.runs.run import Run
from vlprompt.training.train_options import TrainOptions


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp("data"), {"all": 6}) / "all"


@pytest.fixture(scope="module")
def told():
    """What the fit of `run` said of itself."""
    return []


@pytest.fixture(scope="module")
def run(backbone, folder, tmp_path_factory, told):
    place = tmp_path_factory.mktemp("runs") / "x"
    return fit(folder, backbone=backbone, cache=False, out=place, progress=told.append)


def test_progress_of_comparing_reaches_its_end(run, told):
    """Whoever watches sees it move, and can stop it at any of its steps."""
    seen = [record for record in told if record.get("what") == choosing.COMPARING]
    assert [record["done"] for record in seen] == sorted({record["done"] for record in seen})
    assert seen[0]["done"] == 0 and seen[-1]["done"] == seen[-1]["total"] and len(seen) > 2
    assert not any(record["event"] == "encoding" for record in run.log)


def test_it_compares_and_says_what_it_gives_up(run):
    choice = run.info.choice
    names = {one.name for one in choice.candidates}
    assert {"zeroshot", "tip_adapter"} <= names
    assert any(name.startswith("linear_probe + ") for name in names)
    best = min(choice.candidates, key=lambda one: one.loss)
    assert choice.chosen == best.name and choice.count == 24 and choice.folds == 5
    lines = " ".join(choice_lines(choice))
    assert choice.chosen in lines and "--method NAME" in lines
    assert choice_table(choice).row_count >= 5
    assert run.info.shown_title == run.info.shown_method == f"auto: {choice.chosen}"
    if "linear_probe" in choice.chosen.split():
        assert f"{choice.names} is kept beside it" in lines


@pytest.mark.parametrize("keeps_up", [True, False])
def test_prompts_are_compared_where_they_keep_up(backbone, folder, monkeypatch, keeps_up):
    monkeypatch.setattr(choosing._Logits, "keeps_up", lambda self, name, losses: keeps_up)
    found = fit(folder, backbone=backbone, cache=False).info.choice
    prompts = {name for one in found.candidates for name in one.name.split(" + ") if name.startswith("lamm")}
    assert bool(prompts) == keeps_up and found.chosen in {one.name for one in found.candidates}


def test_a_prompt_keeps_up_if_nothing_is_better_on_the_first_part(backbone, folder):
    dataset = open_dataset(folder)
    task = Task(dataset.class_names)
    training = Encoder(dataset, backbone, cache=None).features(dataset.all_items)
    told = []
    made = choosing._Logits(
        training,
        backbone,
        task,
        stratified(training.labels, 3),
        seed=1,
        emit=lambda r: told.append(r.get("text")),
    )
    assert made.keeps_up("lamm", np.full((1, len(training)), 99.0))
    assert not made.keeps_up("lamm", np.full((1, len(training)), -1.0)) and "falls behind" in told[-1]


def test_what_it_learned_is_saved_and_takes_further_names(run, backbone, folder):
    again = Run.load(run.folder, backbone)
    pictures = sorted(folder.rglob("*.png"))
    assert torch.allclose(
        torch.as_tensor(again.probabilities(pictures)),
        torch.as_tensor(run.probabilities(pictures)),
        atol=1e-5,
    )
    some = again.for_classes(again.class_names[:2])
    assert some.probabilities(pictures[:2]).shape == (2, 2)
    other = again.for_classes([*again.class_names, "purple rain"])
    assert other.probabilities(pictures[:2]).shape == (2, 5)


def test_the_same_command_finds_it_finished(run, backbone, folder):
    told = []
    fit(folder, backbone=backbone, cache=False, out=run.folder, progress=told.append)
    assert any("finished already" in record.get("text", "") for record in told)


def test_it_never_looks_at_test_pictures(backbone, folder, tmp_path, monkeypatch):
    data = picture_folder(tmp_path, {"train": 6, "test": 2})
    looked = []
    real = choosing.choose

    def spied(training, *rest, **more):
        looked.extend(item.path for item in training.items)
        return real(training, *rest, **more)

    monkeypatch.setattr("vlprompt.fitting.lesson.choose", spied)
    run = fit(data, backbone=backbone, cache=False)
    assert len(looked) == 24 and all(path.startswith("train/") for path in looked)
    assert run.info.reported == "test" and run.info.choice.count == 24


@pytest.mark.parametrize("pictures", [1, 3])
def test_below_five_pictures_it_takes_what_is_safe_and_says_so(backbone, tmp_path, pictures):
    run = fit(picture_folder(tmp_path, {"all": pictures}) / "all", backbone=backbone, cache=False)
    assert not run.info.choice.candidates and "too few" in run.info.choice.reason
    assert run.info.method == "blend" and run.info.options["parts"].startswith("bilinear_probe:")
    assert pictures == 1 or run.info.learned.count == 12  # one picture is never held out
    assert run.info.options["gated"] and run.info.options["new_weights"]


def test_it_is_the_default_of_the_estimator_too(backbone):
    arrays, labels = pictures_and_labels(5)
    own = PromptClassifier(backbone=backbone, cache=False).fit(arrays, labels)
    assert own.run_.info.choice is not None and own.score_ is not None
    assert (own.predict(arrays) == labels).mean() > 0.8


def test_it_has_no_options_of_its_own(backbone, folder):
    with pytest.raises(OptionError, match="has no options"):
        make_plan("auto", {"context_tokens": 4})
    assert make_plan().method == "auto" and make_plan(recipe="coop").method == "coop"


def test_what_is_given_goes_before_what_was_chosen_and_leaves_the_rest_of_it(backbone, folder, monkeypatch):
    quick = TrainOptions(epochs=3, batch=4, optimizer="adamw", lr=0.01, warmup_epochs=0)
    found = choosing.Chosen("lamm", {}, quick, ChoiceInfo("lamm", "lamm", 24, 5, []))
    monkeypatch.setattr(lesson, "choose", lambda *args, **kwargs: found)
    run = fit(folder, backbone=backbone, cache=False, train={"memory": 4.0, "lr": 0.02}, measure=GIVEN_ONLY)
    held = {name: run.info.train[name] for name in ("epochs", "batch", "optimizer", "lr", "memory")}
    assert held == {"epochs": 3, "batch": 4, "optimizer": "adamw", "lr": 0.02, "memory": 4.0}


@pytest.mark.parametrize(("method", "said"), [("auto", True), ("linear_probe", True), ("coop", False)])
def test_options_of_steps_are_not_left_out_without_a_word(backbone, tmp_path, method, said):
    data = picture_folder(tmp_path, {"all": 3}) / "all"  # so few that auto takes a bilinear probe
    told = []
    given = {"epochs": 2, "lr": 0.01, "memory": 2.0}
    fit(data, method=method, train=given, backbone=backbone, cache=False, progress=told.append)
    words = [text for one in told if "is not used" in (text := one.get("text", ""))]
    assert [text.endswith("not used: epochs, lr") for text in words] == [True] * said


def test_choosing_is_repeated_exactly(backbone, folder):
    dataset = open_dataset(folder)
    one, two = (fit(dataset, backbone=backbone, cache=False) for _ in range(2))
    assert one.info.choice == two.info.choice and one.scores == two.scores


def test_a_prompt_that_does_not_fit_the_backbone_is_left_out(backbone, folder, monkeypatch):
    """Sixteen context tokens are more than a short text tower takes."""
    monkeypatch.setattr(backbone.tokenizer, "context_length", 14)
    told = []
    choice = fit(folder, backbone=backbone, cache=False, progress=told.append).info.choice
    assert not any("coop" in one.name for one in choice.candidates)
    assert any("coop+lamm is not compared: text too long" in record.get("text", "") for record in told)


def test_new_names_are_spoken_of_by_patches_where_the_tower_has_some(backbone, tmp_path, monkeypatch):
    def voices(found):
        options = found.info.options
        both = zip(options["parts"].split(), options["new_weights"].split(), strict=True)
        return {part.partition(":")[0]: float(weight) for part, weight in both if float(weight)}

    data = picture_folder(tmp_path, {"all": 3}) / "all"  # so few that a bilinear probe is taken
    run = fit(data, backbone=backbone, cache=False, out=tmp_path / "run")
    assert voices(run) == {"bilinear_probe": 0.5, "patch_map": 0.5}
    names, pictures = [*run.class_names, "purple rain"], sorted(data.rglob("*.png"))
    mixed, again = run.for_classes(names), Run.load(run.folder, backbone).for_classes(names)
    assert "patch_states" in mixed.method.facts.needs and run.method.facts.needs == {"features"}
    expected = torch.as_tensor(mixed.probabilities(pictures))
    assert expected.shape == (12, 5)
    torch.testing.assert_close(torch.as_tensor(again.probabilities(pictures)), expected, atol=1e-5, rtol=0)

    monkeypatch.setattr(lesson, "MOST_LOOKED_AT", 3)  # pictures: too many to look at
    other = fit(data, backbone=backbone, cache=False)
    assert voices(other) == {"bilinear_probe": 1.0}


def test_patches_are_shown_of_some_pictures_of_every_class_where_there_are_many():
    labels = torch.tensor([0] * 6 + [1] * 2 + [2] * 4)
    few = lesson._in_turn(labels, 6)
    assert few.tolist() == sorted(few.tolist()) and labels[few].bincount().tolist() == [2, 2, 2]
    assert labels[lesson._in_turn(labels, 9)].bincount().tolist() == [4, 2, 3]
    assert lesson._in_turn(labels, 99).tolist() == list(range(12))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ("linear_probe + 0.5 bilinear_probe (C 10, 100)", True),
        ("0.5 linear_probe", True),
        ("bilinear_probe (C 100)", False),
    ],
)
def test_that_a_linear_probe_knows_no_further_names_is_said_of_linear_ones(chosen, said):
    lines = " ".join(choice_lines(ChoiceInfo(chosen, "bilinear_probe")))
    assert ("knows the classes that it was shown" in lines) == said
