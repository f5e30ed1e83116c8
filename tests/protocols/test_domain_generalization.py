import pytest
from PIL import Image
from small_data import COLOURS, picture, picture_folder
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.opening import open_dataset
from vlprompt.errors import DataError, OptionError
from vlprompt.protocols.domain_generalization import domain_generalization, domains_of, shared_labels

MORE = {"train": {"epochs": 1, "batch": 6, "views": 1}, "cache": False, "shots": 2, "seeds": [1]}
SMALL = {"maple": {"depth": 2}, "maple+lamm": {"depth": 2}}


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two domains: the pictures as they are, and their negatives."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for split, count in (("train", 2), ("test", 2)):
        for domain in ("negative", "plain"):
            for name, colour in COLOURS.items():
                place = folder / split / domain / name
                place.mkdir(parents=True)
                for i in range(count):
                    pixels = picture(colour, i + 10 * (split == "test"))
                    Image.fromarray(255 - pixels if domain == "negative" else pixels).save(place / f"{i}.png")
    return open_dataset(folder)


@pytest.mark.parametrize("name", methods.names())
def test_every_method_runs(backbone, data, name):
    (record,) = domain_generalization(data, name, backbone, source="plain", options=SMALL.get(name), **MORE)
    assert record["protocol"] == "domain_generalization" and record["data"] == "photos:plain"
    for values in (record, record["zero_shot"]):
        assert all(0 <= values[key] <= 100 for key in ("plain", "negative"))
        assert values["average"] == values["negative"]


def test_the_first_domain_is_the_source_unless_told(backbone, data):
    (record,) = domain_generalization(data, "coop", backbone, **MORE)
    assert record["data"] == "photos:negative" and record["average"] == record["plain"]


def test_a_target_with_some_of_the_classes_is_chosen_among_these(backbone, data, tmp_path):
    two = open_dataset(picture_folder(tmp_path / "two", classes=2))
    source = open_dataset(picture_folder(tmp_path / "all"))
    assert shared_labels(source, two) == {0: 0, 1: 1}
    options = {"class_specific": True}  # belongs to its classes, and takes part all the same
    (record,) = domain_generalization(source, "coop", backbone, targets=[two, data], options=options, **MORE)
    assert {"source", "two", "photos", "average"} <= set(record)
    assert record["average"] == (record["two"] + record["photos"]) / 2
    (only,) = domain_generalization(
        source, "zeroshot", backbone, targets=[two], templates="a photo of a {}.", **MORE
    )
    from vlprompt.data.task import Task
    from vlprompt.feeding.inputs import Encoder
    from vlprompt.methods.zeroshot import ZeroShot
    from vlprompt.scoring.evaluation import evaluate

    inputs = Encoder(two, backbone).features(two.items("test"))
    assert only["two"] == evaluate(ZeroShot(backbone, Task(two.class_names)), inputs).accuracy


def test_classes_are_known_by_name_before_number(data):
    from dataclasses import replace

    numbered = replace(data, class_keys=("0", "1", "2", "3"))
    turned = replace(
        data,
        class_keys=("0", "1", "2", "3"),
        class_names=tuple(name.replace(" ", "_").upper() for name in reversed(data.class_names)),
    )
    assert shared_labels(numbered, turned) == {0: 3, 1: 2, 2: 1, 3: 0}
    by_folder = replace(data, class_names=("a", "b", "c", "d"))
    assert shared_labels(data, by_folder) == {i: i for i in range(4)}
    with pytest.raises(DataError, match='its class "x"'):
        shared_labels(numbered, replace(numbered, class_names=("x", *data.class_names[1:])))


def test_vendors_are_the_domains_of_the_emoji():
    trained, tested = domains_of(open_dataset("emoji"), "google", ())
    assert trained.name == "emoji:google" and set(tested) == {"fluent", "twitter"}
    for target in tested.values():
        assert set(shared_labels(trained, target)) == set(range(len(trained.class_names)))


def test_what_cannot_be_done_says_so(backbone, data, tmp_path):
    with pytest.raises(OptionError, match='did you mean "plain"'):
        next(domain_generalization(data, "coop", backbone, source="plane", **MORE))
    with pytest.raises(DataError, match="no domains"):
        next(domain_generalization(open_dataset(picture_folder(tmp_path / "p")), "coop", backbone, **MORE))
