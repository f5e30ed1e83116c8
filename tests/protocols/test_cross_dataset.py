import pytest
from small_data import picture_folder
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.opening import open_dataset
from vlprompt.errors import OptionError
from vlprompt.protocols.cross_dataset import cross_dataset

MORE = {"train": {"epochs": 1, "batch": 6, "views": 1}, "cache": False, "shots": 2, "seeds": [1]}
SMALL = {"maple": {"depth": 2}, "maple+lamm": {"depth": 2}}


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp("source") / "photos")


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """The same colours under other names, and three of the source's classes."""
    renamed = picture_folder(tmp_path_factory.mktemp("renamed"))
    names = {"blue sea": "ocean", "green dog": "lawn", "grey fog": "cloud", "red cat": "rose"}
    return {
        "renamed": open_dataset(renamed, classes=names),
        "three": open_dataset(picture_folder(tmp_path_factory.mktemp("three"), classes=3)),
    }


@pytest.mark.parametrize("name", methods.names())
def test_every_method_runs_or_says_why_not(backbone, data, targets, name):
    try:
        (record,) = cross_dataset(data, name, backbone, targets=targets, options=SMALL.get(name), **MORE)
    except OptionError as error:
        assert name in str(error) and len(str(error)) > len(name) + 30
        return
    assert record["protocol"] == "cross_dataset" and record["data"] == "photos"
    for values in (record, record["zero_shot"]):
        assert all(0 <= values[key] <= 100 for key in ("source", "renamed", "three"))
        assert values["average"] == (values["renamed"] + values["three"]) / 2
    if name == "zeroshot":
        (again,) = cross_dataset(data, name, backbone, targets=targets, templates="a photo of a {}.", **MORE)
        assert again["renamed"] == again["zero_shot"]["renamed"]


def test_templates_of_targets_are_for_zero_shot(backbone, data, targets):
    told = {"renamed": "a picture of {} from far away."}
    (plain,) = cross_dataset(data, "coop", backbone, targets=targets, **MORE)
    (record,) = cross_dataset(data, "coop", backbone, targets=targets, target_templates=told, **MORE)
    assert record["renamed"] == plain["renamed"]
    assert record["zero_shot"]["three"] == plain["zero_shot"]["three"]
    with pytest.raises(OptionError, match="target_templates"):
        next(cross_dataset(data, "coop", backbone, targets=targets, target_templates={"tree": "{}"}, **MORE))


def test_what_cannot_be_done_says_so(backbone, data, targets):
    with pytest.raises(OptionError, match="new classes"):
        list(cross_dataset(data, "coop", backbone, targets=targets, options={"class_specific": True}, **MORE))
    with pytest.raises(OptionError, match="at least one"):
        next(cross_dataset(data, "coop", backbone, **MORE))
    with pytest.raises(OptionError, match="is taken"):
        next(cross_dataset(data, "coop", backbone, targets={"average": data}, **MORE))
    with pytest.raises(OptionError, match="is taken"):
        next(cross_dataset(data, "coop", backbone, targets=[data, data], **MORE))
