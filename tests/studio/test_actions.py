"""What the buttons of the page do, without a page: the tab's session comes from the request."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from conftest import png, teach

from vlprompt.studio import page_figures as drawing
from vlprompt.studio.tab_sessions import LEAF
from vlprompt.studio.teaching import Choice, learn_all
from vlprompt.studio.web_server import quieten
from vlprompt.studio.zipped_runs import bundle, reopen

pytest.importorskip("gradio", reason="the studio needs Gradio")
TAB = SimpleNamespace(session_hash="a")


@pytest.fixture
def act(studio):
    quieten(studio)
    from vlprompt.studio.actions import Actions

    return Actions(studio)


@pytest.fixture
def probe(studio, tiny):
    """A session with a linear probe and a class that it cannot take."""
    pytest.importorskip("sklearn")
    session = teach(studio.session("a"))
    learn_all(session, studio.backbones, Choice("linear_probe", tiny, {}, {}), lambda record: None)
    session.add_class("green dog")
    return session


def sent(studio, name: str, data: bytes) -> list[str]:
    (studio.uploads / name).write_bytes(data)
    return [str(studio.uploads / name)]


def test_a_class_that_what_was_learned_cannot_take_is_told_of(act, probe, tiny):
    _, _, said = act.add_class("grey fog", TAB)
    assert "green dog" in said and "grey fog" in said and "remove them, or press Learn again" in said
    assert probe.names[-1] == "grey fog"


def test_a_new_class_is_shown_at_once(act, studio):
    teach(studio.session("a"), tuple(f"red {i}" for i in range(LEAF)), count=0)
    act.add_class("the next", TAB)
    assert [shown.name for shown in studio.session("a").on_leaf()[1]] == ["the next"]
    act.turner(-1)(TAB)
    assert len(studio.session("a").on_leaf()[1]) == LEAF


def test_what_is_kept_follows_the_classes(act, studio, tiny):
    session = teach(studio.session("a"))
    assert "When something was learned" in act.classes_changed(TAB)[1]
    learn_all(
        session,
        studio.backbones,
        Choice("lamm", tiny, {}, {"epochs": 1, "views": "center"}),
        lambda record: None,
    )
    assert "red cat, blue sea." in act.classes_changed(TAB)[1]
    act.add_class("green dog", TAB)
    assert "red cat, blue sea, green dog." in act.classes_changed(TAB)[1]
    act.remover(session.classes[0].number)(tiny, TAB)
    assert "blue sea, green dog." in act.classes_changed(TAB)[1]


def test_nothing_dies_of_a_class_that_what_was_learned_cannot_take(act, studio, probe, tiny):
    _, said = act.try_pictures(sent(studio, "what.png", png("red cat", 9)), tiny, TAB)
    assert "press Learn again" in said
    assert "press Learn again" in act.check(TAB)
    probe.remove_class(probe.classes[-1].number)
    assert "after learning" in act.answers(probe, tiny) and "What is taken for what" in act.check(TAB)


def test_the_download_leaves_such_a_class_out_and_says_so(studio, probe, tmp_path):
    page = drawing.download_link(probe)
    assert "&quot;green dog&quot; is left out" in page and "red cat, blue sea." in page
    (tmp_path / "run.zip").write_bytes(bundle(probe))
    assert reopen(studio.session("b"), tmp_path / "run.zip", studio.backbones).class_names == (
        "red cat",
        "blue sea",
    )
    assert bundle(studio.session("c")) is None
