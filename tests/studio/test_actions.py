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


# -- correcting ------------------------------------------------------------------------------------


def test_pictures_are_moved_and_removed(act, studio):
    session = teach(studio.session("a"))
    first, second = session.classes
    held = list(first.pictures)
    session.studied = set(held)
    act.opener(first.number)(TAB)
    assert session.opened == (first.number, 0)
    correct = act.corrector(first.number, held, remove=False)
    correct(second.number, True, False, True, False, False, request=TAB)
    assert first.pictures == [held[1], held[3], held[4]] and second.pictures[-2:] == [held[0], held[2]]
    assert session.studied == {held[1], held[3], held[4]}
    _, said = act.corrector(first.number, first.pictures, remove=True)(None, True, False, False, request=TAB)
    assert said == "" and first.pictures == [held[3], held[4]] and not session.path(held[1]).exists()
    act.opener(first.number)(TAB)
    assert session.opened is None
    for values, message in (((None, False), "tick the pictures first"), ((None, True), "choose the class")):
        with pytest.raises(Exception, match=message):
            act.corrector(first.number, first.pictures[:1], remove=False)(*values, request=TAB)
    act.corrector(first.number, [held[1]], remove=True)(None, True, request=TAB)  # gone already


def test_a_class_is_renamed(act, studio, tiny):
    session = teach(studio.session("a"))
    number = session.classes[0].number
    assert act.renamer(number)("ripe cat", tiny, TAB)[1] == "" and session.names[0] == "ripe cat"
    with pytest.raises(Exception, match="there is a class"):
        act.renamer(number)("Blue Sea", tiny, TAB)
    act.renamer(number)("Ripe cat", tiny, TAB)  # its own, written in another way
    learn_all(session, studio.backbones, Choice("lamm", tiny, {}, {"epochs": 1}), lambda record: None)
    assert "was learned by that name: press Learn" in act.renamer(number)("other cat", tiny, TAB)[1]


def test_a_picture_of_the_camera(act, studio):
    session = teach(studio.session("a"))
    act.shooter()(sent(studio, "shot.png", png("red cat", 9)), session.classes[1].number, TAB)
    assert len(session.classes[1].pictures) == 6
    with pytest.raises(Exception, match="choose the class"):
        act.shooter()(sent(studio, "shot.png", png("red cat", 9)), None, TAB)


def test_runs_are_kept_and_opened_again(act, studio, tiny, tmp_path):
    studio.runs = tmp_path / "runs"
    session = teach(studio.session("a"))
    with pytest.raises(Exception, match="nothing was learned yet"):
        act.keep(TAB)
    learn_all(session, studio.backbones, Choice("lamm", tiny, {}, {"epochs": 1}), lambda record: None)
    page, runs = act.keep(TAB)
    act.keep(TAB)
    assert "Kept in" in page and len(runs.choices) == 1 and len(act.kept(TAB).choices) == 2
    other = SimpleNamespace(session_hash="b")
    act.reopen_kept(runs.value, other)
    assert studio.session("b").names == session.names and studio.session("b").run is not None
    for name in ("../runs", "none", ""):
        with pytest.raises(Exception, match="no longer there|choose a run"):
            act.reopen_kept(name, other)


def test_what_was_said_of_other_classes_goes(act, studio):
    teach(studio.session("a"))
    _, _, checked, _, whose = act.classes_changed(TAB)
    assert checked == "" and [name for name, _ in whose.choices] == ["red cat", "blue sea"]
