import pytest
from small_data import picture_folder
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.opening import open_dataset
from vlprompt.data.sampling import draw
from vlprompt.errors import DataError, OptionError
from vlprompt.fitting.choosing import AUTO
from vlprompt.fitting.plan import Plan
from vlprompt.protocols.base_to_new import FACTS, base_to_new
from vlprompt.protocols.few_shot import few_shot
from vlprompt.protocols.protocol_facts import harmonic_mean
from vlprompt.protocols.protocol_records import summary
from vlprompt.runs.run import Run

MORE = {"train": {"epochs": 1, "batch": 6, "views": 1}, "cache": False, "shots": 2}
SMALL = {"maple": {"depth": 2}, "maple+lamm": {"depth": 2}}


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp("data"))


def test_few_classes_for_base_and_new_are_told(backbone, tmp_path):
    few = picture_folder(tmp_path / "few", classes=3)
    heard = []
    list(base_to_new(few, "kgcoop", backbone, seeds=[1], on_record=heard.append, **MORE))
    assert any("of 3 classes one is new, and right whatever is learned" in str(one) for one in heard)


@pytest.mark.parametrize("name", [*methods.names(), AUTO])
def test_every_method_runs_under_both_protocols(backbone, data, name):
    (record,) = few_shot(data, name, backbone, seeds=[1], options=SMALL.get(name), **MORE)
    assert record["protocol"] == "few_shot" and record["count"] == 8
    assert all(0 <= record[key] <= 100 for key in ("accuracy", "macro_f1", "zero_shot"))
    if not Plan(name).spec.facts.takes_new_names:
        with pytest.raises(OptionError, match="not under base_to_new, because it knows only the classes"):
            list(base_to_new(data, name, backbone, seeds=[1], **MORE))
        return
    (record,) = base_to_new(data, name, backbone, seeds=[1], options=SMALL.get(name), **MORE)
    for values in (record, record["zero_shot"]):
        assert all(0 <= values[key] <= 100 for key in FACTS.value_names)
        assert values["harmonic_mean"] == harmonic_mean(values["base"], values["new"])
        both = values["all_base"], values["all_new"]
        assert values["all_harmonic_mean"] == harmonic_mean(*both)
        assert (
            min(both) - 1e-9 <= values["all"] <= max(both) + 1e-9
        )  # a mean of the two kinds by their pictures
        assert both[0] <= values["base"] + 1e-9 and both[1] <= values["new"] + 1e-9
    if name == "zeroshot":  # scores of the frozen names, by both ways of getting there
        (again,) = base_to_new(data, name, backbone, seeds=[1], templates="a photo of a {}.", **MORE)
        assert {k: again[k] for k in FACTS.value_names} == {
            k: again["zero_shot"][k] for k in FACTS.value_names
        }


def test_seeds_folders_and_summary(backbone, data, tmp_path):
    records = list(few_shot(data, "coop", backbone, seeds=(1, 2), out=tmp_path, **MORE))
    assert [r["seed"] for r in records] == [1, 2]
    assert Run.load(tmp_path / "seed2", backbone).scores["test"]["accuracy"] == records[1]["accuracy"]
    told = []
    again = list(few_shot(data, "coop", backbone, seeds=(1, 2), out=tmp_path, on_record=told.append, **MORE))
    assert [r["accuracy"] for r in again] == [r["accuracy"] for r in records]
    assert not any(r["event"] == "step" for r in told)
    found = summary(
        [{"accuracy": 1.0, "seed": 1, "z": {"base": 2.0}}, {"accuracy": 3.0, "seed": 2, "z": {"base": 2.0}}]
    )
    assert found["accuracy"] == {"mean": 2.0, "std": pytest.approx(2**0.5), "n": 2}
    assert found["z.base"]["std"] == 0 and "seed" not in found


def test_base_training_uses_the_pictures_that_are_drawn_from_all_classes(backbone, data):
    dataset = open_dataset(data)
    whole, base = draw(dataset, shots=2, seed=3), draw(dataset, shots=2, seed=3, which="base")
    assert [i.path for i in base.train] == [i.path for i in whole.train if i.label < 2]
    assert base.class_names == dataset.class_names[:2]


def test_a_method_that_cannot_go_to_new_classes_says_so(backbone, data):
    with pytest.raises(OptionError, match="new classes"):
        list(base_to_new(data, "coop", backbone, seeds=[1], options={"class_specific": True}, **MORE))


def test_misuse_is_a_clear_error(backbone, data, tmp_path):
    with pytest.raises(OptionError, match='did you mean "train"'):
        next(few_shot(data, "coop", backbone, trian={}))
    dataset = open_dataset(data)
    dataset.splits.pop("test")
    with pytest.raises(DataError, match="test pictures"):
        next(few_shot(dataset, "coop", backbone))


def test_records_hold_the_settings_that_differ_from_the_defaults(backbone, data):
    train = {"batch": 6, "views": "center", "epochs": 1, "memory": 4.0}
    common = {"cache": False, "shots": 2, "seeds": [1]}
    (plain,) = few_shot(data, "zeroshot", backbone, **common)
    assert plain["settings"] == {}
    (own,) = few_shot(
        data, "coop", backbone, train=train, options={"context_tokens": 2}, templates="a {}", **common
    )
    assert own["settings"] == {
        "options": {"context_tokens": 2},
        "train": {"epochs": 1, "batch": 6},
        "setup": {"templates": ["a {}"]},
    }
    (probe,) = few_shot(data, "linear_probe", backbone, train={"lr": 0.5}, **common)  # which takes no steps
    assert probe["settings"] == {}
