"""Sessions hold what one tab dropped, within limits, apart from others, and leave nothing behind."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest
from conftest import png, teach, until

from vlprompt.errors import DataError
from vlprompt.studio.limits import Limits
from vlprompt.studio.offered_backbones import Backbones
from vlprompt.studio.tab_sessions import LEAF
from vlprompt.studio.workshop import Studio, sweep


def test_classes_and_pictures(studio):
    session = teach(studio.session("a"))
    assert session.names == ("red cat", "blue sea")
    assert [len(shown.pictures) for shown in session.classes] == [5, 5]
    with pytest.raises(DataError, match="already"):
        session.add_class("Red Cat")
    gone = session.classes[0]
    files = [session.path(path) for path in gone.pictures]
    session.remove_class(gone.number)
    assert session.names == ("blue sea",) and not any(file.exists() for file in files)
    with pytest.raises(DataError, match="no longer there"):
        session.find(gone.number)


def test_every_class_has_its_turn_to_be_shown(studio):
    session = studio.session("a")
    assert session.on_leaf() == (0, [])
    for i in range(LEAF + 2):
        session.add_class(f"class {i}")
    assert session.on_leaf() == (0, session.classes[:LEAF])
    for _ in range(2):
        session.turn(1)
        assert session.on_leaf() == (LEAF, session.classes[LEAF:])
    for shown in session.classes[LEAF:]:
        session.remove_class(shown.number)
    assert session.on_leaf() == (0, session.classes)
    session.turn(-1)
    assert session.leaf == 0


def test_names_of_files_never_become_paths(studio):
    session = studio.session("a")
    shown = session.add_class("../../etc")
    assert not session.add_pictures(shown, [("../../../x.png", png("red cat", 0))])
    file = session.path(shown.pictures[0]).resolve()
    assert session.folder.resolve() in file.parents and file.is_file()


def test_what_is_refused_is_said_and_the_rest_taken(studio):
    session = studio.session("a")
    shown = session.add_class("cat")
    said = session.add_pictures(shown, [("a.png", b"no picture"), ("b.png", png("red cat", 0))])
    assert len(said) == 1 and said[0].startswith("a.png")
    assert len(shown.pictures) == 1


class TestLimits:
    @pytest.fixture
    def limits(self):
        return Limits(pictures=3, classes=2, sessions=2, tried=2)

    def test_pictures_and_classes(self, studio):
        session = studio.session("a")
        shown = session.add_class("cat")
        with pytest.raises(DataError, match="3 pictures"):
            session.add_pictures(shown, [(f"{i}.png", png("red cat", i)) for i in range(4)])
        assert len(shown.pictures) == 3
        session.add_class("dog")
        with pytest.raises(DataError, match="2 classes"):
            session.add_class("cow")

    def test_sessions(self, studio):
        studio.session("a").add_class("x"), studio.session("b").add_class("x")
        with pytest.raises(DataError, match="2 tabs"):
            studio.session("c")
        studio.sessions.end("a")
        assert studio.session("c").names == ()

    def test_pictures_asked_about(self, studio):
        session = studio.session("a")
        said = session.try_pictures([(f"{i}.png", png("red cat", i)) for i in range(3)])
        assert len(session.tried) == 2 and "left out" in said[0]

    def test_bytes(self, studio):
        session = studio.session("a")
        object.__setattr__(session, "limits", Limits(session_bytes=len(png("red cat", 0)) + 10))
        shown = session.add_class("cat")
        with pytest.raises(DataError, match="used up"):
            session.add_pictures(shown, [("0.png", png("red cat", 0)), ("1.png", png("red cat", 1))])


def test_sessions_are_apart(studio):
    a, b = teach(studio.session("key-of-a")), studio.session("b")
    assert b.names == () and a.folder != b.folder and a.token != b.token
    assert studio.session("key-of-a") is a
    assert a.key not in str(a.folder) and a.folder.parent == b.folder.parent == studio.sessions.root
    assert studio.sessions.of_token(a.token) is a
    assert studio.sessions.of_token("guess") is None
    assert (
        studio.sessions.root not in studio.uploads.parents
    )  # nothing of them is where files are served from
    assert studio.uploads not in studio.sessions.root.parents


def test_an_ended_session_is_gone(studio):
    session = teach(studio.session("a"))
    token, folder = session.token, session.folder
    studio.sessions.end("a")
    studio.sessions.end("a")
    assert not folder.exists() and studio.sessions.of_token(token) is None
    with pytest.raises(DataError, match="reload the page"):
        studio.session("a")
    with pytest.raises(DataError, match="reload the page"):
        session.add_class("late")
    with pytest.raises(DataError, match="reload the page"):
        studio.session(None)


def test_a_training_lets_go_before_its_folder_is_removed(studio):
    session = teach(studio.session("a"))
    seen = []

    def work(job):
        while True:
            seen.append(session.folder.exists())
            job.report({"event": "step"})

    job = studio.trainings.submit("a", work)
    until(lambda: len(seen) > 3)
    studio.sessions.end("a")
    assert job.wait(30) and job.state == "stopped"
    until(lambda: not session.folder.exists())
    assert all(seen)


def test_files_that_arrive(studio, tmp_path):
    folder = studio.uploads / "0123"
    folder.mkdir()
    (folder / "cat.png").write_bytes(b"data")
    assert studio.take([str(folder / "cat.png")]) == [("cat.png", b"data")]
    assert not folder.exists()
    elsewhere = tmp_path / "secret.png"
    elsewhere.write_bytes(b"secret")
    for path in (elsewhere, studio.uploads / ".." / "in-use", "/etc/passwd"):
        with pytest.raises(DataError, match="outside of"):
            studio.take([str(path)])
    for again in ([str(folder / "cat.png")], [{"path": None}], [7], {"url": "http://x"}):
        with pytest.raises(DataError, match="drop it again"):
            studio.take(again)
    (studio.uploads / "dog.png").write_bytes(b"dog")
    sent = [{"path": str(folder / "cat.png")}, {"path": str(studio.uploads / "dog.png"), "size": 3}]
    assert studio.take(sent) == [("dog.png", b"dog")] and studio.take(None) == []
    assert elsewhere.exists()


def test_what_a_killed_studio_left_is_removed_and_a_living_one_kept(studio):
    left = Path(tempfile.gettempdir()) / "vlprompt-studio-killed"
    (left / "sessions").mkdir(parents=True)
    (left / "in-use").touch()
    sweep()
    assert not left.exists() and studio.root.exists()
    left.mkdir()  # killed before it had its lock
    sweep()
    assert left.exists()
    os.utime(left, (before := time.time() - 61, before))
    sweep()
    assert not left.exists() and studio.root.exists()


def test_closing_removes_everything(studio):
    teach(studio.session("a"))
    studio.close()
    assert not studio.root.exists()
    studio.close()


def test_a_permitted_folder_must_exist(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        Studio(Backbones(), allowed=[tmp_path / "none"])
