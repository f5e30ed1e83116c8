"""What the hub's library raises becomes one line with the mend."""

from __future__ import annotations

import pytest

from vlprompt.errors import BackboneError, OptionError, RunError
from vlprompt.hub_access import HUB_ID, plain_errors

utils = pytest.importorskip("huggingface_hub.utils")


def raised(error: Exception, **more) -> str:
    with pytest.raises(BackboneError) as found, plain_errors("some/model", **more):
        raise error
    assert "\n" not in str(found.value)
    return str(found.value)


def of(kind, text="long\nexplanation"):
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    return error


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("GatedRepoError", "accept its licence"),
        ("RevisionNotFoundError", "no such revision"),
        ("RepositoryNotFoundError", "neither a local folder nor a model on the hub"),
        ("LocalEntryNotFoundError", "connect once"),
        ("OfflineModeIsEnabled", "connect once"),
    ],
)
def test_known_troubles_say_what_to_do(kind, said):
    text = raised(of(getattr(utils, kind)))
    assert said in text and text.startswith('"some/model"')


def test_other_troubles_give_their_first_line():
    assert raised(ValueError("no route\nto host")) == 'cannot fetch "some/model" from the hub: no route'
    assert raised(ValueError(), doing="push") == 'cannot push "some/model" from the hub: ValueError'


def test_what_is_said_already_passes():
    with pytest.raises(OptionError, match="mine"), plain_errors("some/model"):
        raise OptionError("mine")
    with pytest.raises(RunError), plain_errors("some/model", RunError):
        raise ValueError("x")


@pytest.mark.parametrize(
    ("text", "is_one"), [("a/b", True), ("a.b/c-d_1", True), ("a", False), ("a/b/c", False)]
)
def test_names_of_models(text, is_one):
    assert bool(HUB_ID.fullmatch(text)) is is_one
