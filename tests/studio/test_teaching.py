"""Learning, answering, further classes, checking, and a run that is taken away and opened again."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from conftest import png, teach

from vlprompt.errors import DataError, OptionError, RunError, VlpromptError
from vlprompt.runs.run import Run
from vlprompt.studio import page_figures as drawing
from vlprompt.studio import teaching
from vlprompt.studio.offered_backbones import Backbones
from vlprompt.studio.teaching import Choice, answering, answers, check, learn_all, learn_new, new_classes
from vlprompt.studio.zipped_runs import pack, reopen

TRAIN = {"epochs": 3, "batch": 4, "views": "center", "warmup_epochs": 0}


@pytest.fixture
def quiet():
    return lambda record: None


def choice(tiny, method="coop+lamm", **more):
    options = {} if method in ("lamm", "tip_adapter") else {"context_tokens": 2}
    train = {} if method == "tip_adapter" else TRAIN
    return Choice(method, tiny, options, train, **more)


def test_names_alone_answer_before_anything_is_learned(studio, tiny):
    session = studio.session("a")
    session.try_pictures([("what.png", png("red cat", 9))])
    with pytest.raises(DataError, match="at least two classes"):
        answers(session, studio.backbones, tiny)
    session.add_class("red cat"), session.add_class("blue sea")
    [found] = answers(session, studio.backbones, tiny)
    assert found.learned is None and found.zero_shot.sum() == pytest.approx(1, abs=1e-5)


def test_learning_needs_pictures_of_two_classes(studio, tiny, quiet):
    session = teach(studio.session("a"), ("red cat",))
    session.add_class("blue sea")
    with pytest.raises(DataError, match="two classes"):
        learn_all(session, studio.backbones, choice(tiny), quiet)


def test_learning_keeps_some_aside_and_trains_on_the_others(studio, tiny):
    session, records = teach(studio.session("a"), count=8), []
    run = learn_all(session, studio.backbones, choice(tiny, aside=True), records.append)
    assert session.run is run and run.class_names == session.names
    assert len(session.studied) == 12 and run.scores["test"]["count"] == 4
    assert sum(record["event"] == "epoch" for record in records) == 3
    found = check(session, studio.backbones)
    assert found.judged == teaching.UNSEEN and found.learned.count == 4
    assert found.learned.accuracy == pytest.approx(run.scores["test"]["accuracy"])
    assert found.zero_shot.accuracy == pytest.approx(run.scores["zero_shot"]["accuracy"])
    assert len(found.wrong) == 4 - found.learned.correct


def test_a_class_with_one_picture_is_not_tested_and_that_is_said(studio, tiny, quiet):
    session = teach(studio.session("a"), ("red cat",), count=9)
    teach(session, ("blue sea",), count=1)
    run = learn_all(session, studio.backbones, choice(tiny), quiet)
    assert "Not tested: blue sea." in drawing.outcome(run.info)
    assert "Not tested: blue sea." in drawing.checked(check(session, studio.backbones))


def test_every_picture_is_learned_from_and_judged_by_what_the_others_teach(studio, tiny, quiet):
    session = teach(studio.session("a"))
    with pytest.raises(DataError, match="nothing was learned"):
        check(session, studio.backbones)
    run = learn_all(session, studio.backbones, choice(tiny), quiet)
    assert len(session.studied) == 10 and run.info.reported == "cross-validation"
    found = check(session, studio.backbones)
    assert found.judged == teaching.IN_TURN and found.learned.count == 10
    assert found.learned.accuracy == pytest.approx(run.info.learned.accuracy)
    assert found.zero_shot.accuracy == pytest.approx(run.info.zero_shot.accuracy)
    assert "each judged by what the others teach" in drawing.outcome(run.info)
    session.add_class("grey fog")  # the figures were made among the others
    assert check(session, studio.backbones).judged == teaching.SEEN
    teach(session, ("green dog",))
    assert check(session, studio.backbones).judged == teaching.UNSEEN


def test_a_class_by_its_name_alone(studio, tiny, quiet):
    session = teach(studio.session("a"))
    run = learn_all(session, studio.backbones, choice(tiny), quiet)
    session.try_pictures([("what.png", png("red cat", 9))])
    session.add_class("green dog")
    [found] = answers(session, studio.backbones, tiny)
    assert found.names == ("red cat", "blue sea", "green dog") and found.learned.shape == (3,)
    assert session.run is run
    two = run.probabilities([session.tried[0][1]])[0]
    assert found.learned[0] / found.learned[1] == pytest.approx(
        two[0] / two[1], rel=1e-3
    )  # those are as they were


def test_a_method_that_cannot_take_names_says_so(studio, tiny, quiet):
    pytest.importorskip("sklearn")
    session = teach(studio.session("a"))
    learn_all(session, studio.backbones, Choice("linear_probe", tiny, {}, {}), quiet)
    session.add_class("green dog")
    with pytest.raises(OptionError, match='not "green dog": remove it, or press Learn again'):
        answering(session)
    kept, left_out = teaching.keepable(session)
    assert kept.class_names == ("red cat", "blue sea") and left_out == ["green dog"]
    session.remove_class(session.classes[0].number)
    kept, left_out = teaching.keepable(session)
    assert kept.class_names == ("blue sea",) and left_out == ["green dog"]
    session.remove_class(session.classes[0].number)
    assert teaching.keepable(session)[0].class_names == (
        "red cat",
        "blue sea",
    )  # of what it knows nothing is in the list


def test_a_context_for_each_class_stays_whole(studio, tiny, quiet):
    session = teach(studio.session("a"), ("red cat", "blue sea", "green dog"))
    learn_all(
        session,
        studio.backbones,
        Choice("coop", tiny, {"context_tokens": 2, "class_specific": True}, TRAIN),
        quiet,
    )
    session.remove_class(session.classes[0].number)
    with pytest.raises(OptionError, match="all the classes together .* press Learn again"):
        answering(session)
    kept, left_out = teaching.keepable(session)
    assert kept.class_names == ("red cat", "blue sea", "green dog") and left_out == []


def test_a_cache_of_pictures_takes_names(studio, tiny, quiet):
    session = teach(studio.session("a"))
    learn_all(session, studio.backbones, choice(tiny, "tip_adapter"), quiet)
    session.add_class("green dog")
    kept, left_out = teaching.keepable(session)
    assert kept.class_names == session.names and left_out == []
    assert kept.probabilities([png("green dog", 9)]).shape == (1, 3)


def test_a_name_that_is_too_long_to_be_read_is_left_out(studio, tiny, quiet):
    session = teach(studio.session("a"))
    learn_all(session, studio.backbones, choice(tiny), quiet)
    session.add_class("🐕" * 80)
    kept, left_out = teaching.keepable(session)
    assert kept.class_names == ("red cat", "blue sea") and left_out == ["🐕" * 80]


def test_new_classes_leave_the_others_as_they_are(studio, tiny, quiet):
    session = teach(studio.session("a"))
    first = learn_all(session, studio.backbones, choice(tiny), quiet)
    assert new_classes(session) == []
    teach(session, ("green dog",))
    assert new_classes(session) == ["green dog"] and teaching.keeps_apart(first)
    probe = [session.path(path) for shown in session.classes for path in shown.pictures]
    before, _ = first._logits(probe)
    studied = set(session.studied)
    second = learn_new(session, studio.backbones, choice(tiny), quiet)
    assert second.class_names == session.names and second.info.method == "coop+lamm"
    after, _ = second._logits(probe)
    np.testing.assert_allclose(after[:, :2], before, atol=1e-4)
    assert (
        studied < session.studied and second.info.learned is None
    )  # not judged in turn: the others stay as they are
    assert check(session, studio.backbones).judged == teaching.SEEN
    with pytest.raises(DataError, match="no new class"):
        learn_new(session, studio.backbones, choice(tiny), quiet)


def test_methods_that_share_what_they_learn_are_learned_anew(studio, tiny, quiet):
    session = teach(studio.session("a"))
    with pytest.raises(DataError, match="nothing was learned"):
        learn_new(session, studio.backbones, choice(tiny), quiet)
    learn_all(session, studio.backbones, choice(tiny, "coop"), quiet)
    teach(session, ("green dog",))
    with pytest.raises(OptionError, match="learn all classes again"):
        learn_new(session, studio.backbones, choice(tiny, "coop"), quiet)


class TestTakingItAway:
    @pytest.fixture
    def packed(self, studio, tiny, quiet, tmp_path):
        session = teach(studio.session("a"))
        learn_all(session, studio.backbones, choice(tiny), quiet)
        session.add_class("green dog")
        path = tmp_path / "run.zip"
        path.write_bytes(pack(answering(session), session.new_folder("download")))
        return path

    def test_there_and_back(self, studio, tiny, quiet, packed, tmp_path):
        probe = [png(name, 50) for name in ("red cat", "blue sea", "green dog")]
        expected = answering(studio.session("a")).probabilities(probe)
        other = studio.session("b")
        other.add_class("gone")
        reopen(other, packed, studio.backbones)
        assert other.names == ("red cat", "blue sea", "green dog")
        np.testing.assert_allclose(answering(other).probabilities(probe), expected, atol=1e-6)
        with zipfile.ZipFile(packed) as archive:
            assert not any(name.endswith((".png", ".jpg")) for name in archive.namelist())
            archive.extractall(tmp_path / "unpacked")
        run = Run.load(tmp_path / "unpacked" / "run", studio.backbones.get(tiny))
        np.testing.assert_allclose(run.probabilities(probe), expected, atol=1e-6)

        with pytest.raises(DataError, match="learned earlier"):  # there are no pictures of them here
            learn_all(other, studio.backbones, choice(tiny), quiet)
        teach(other, ("grey fog",))
        learn_new(other, studio.backbones, choice(tiny), quiet)
        assert set(other.names) == {"red cat", "blue sea", "green dog", "grey fog"}
        assert answering(other).probabilities(probe).shape == (3, 4)

    def test_another_backbone(self, studio, packed, tmp_path):
        sys_backbone = Backbones(["embedded"])
        with pytest.raises(RunError, match="another backbone"):
            reopen(studio.session("b"), packed, sys_backbone)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("method", "antigravity"),
            ("method", "os.path"),
            ("method", 7),
            ("class_names", 3),
            ("options", []),
            ("backbone", {}),
            ("class_names", ["x" * 200, "y"]),
            ("templates", None),
        ],
    )
    def test_a_run_that_was_tampered_with(self, studio, packed, tmp_path, key, value):
        files = {}
        with zipfile.ZipFile(packed) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        info = json.loads(files["run/run.json"]) | {key: value}
        files["run/run.json"] = json.dumps(info).encode()
        session = studio.session("b")
        session.add_class("kept")
        with pytest.raises(VlpromptError):
            reopen(session, archive_of(tmp_path, files), studio.backbones)
        assert session.names == ("kept",) and session.run is None

    @pytest.mark.parametrize(
        "files",
        [
            {"cat.png": b""},
            {"run.json": b"{}"},
            {"../run.json": b"{}", "../prompts.safetensors": b"x"},
            {"a/run.json": b"{}", "b/run.json": b"{}", "prompts.safetensors": b""},
        ],
    )
    def test_archives_that_hold_no_run(self, studio, tmp_path, files):
        session = studio.session("b")
        with pytest.raises(RunError):
            reopen(session, archive_of(tmp_path, files), studio.backbones)
        assert {path.name for path in session.folder.parent.parent.iterdir()} == {
            "sessions",
            "uploads",
            "in-use",
        }

    def test_what_is_no_archive(self, studio, tmp_path):
        (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 and nothing")
        with pytest.raises(RunError, match="zip"):
            reopen(studio.session("b"), tmp_path / "x.zip", studio.backbones)


def archive_of(folder, files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    path = folder / "made.zip"
    path.write_bytes(data.getvalue())
    return path
