"""What the page shows: names from outside are escaped, numbers are right, and nothing refers to elsewhere."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import png, teach

from vlprompt.runs.info import CandidateInfo, ChoiceInfo, ClassScoreInfo, ScoreInfo
from vlprompt.scoring.evaluation import scores_of
from vlprompt.studio import page_figures as drawing
from vlprompt.studio.teaching import Answer, Check, Wrong
from vlprompt.studio.trainings import Job

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png("red cat", 0))
    return path


def plain(page: str) -> str:
    page = re.sub(r' alt="[^"<>]*"', "", page)  # words, in which nothing can end the attribute
    assert not re.search(r"""<[^>]*(src|href)=(?!["']?(data:|/studio/|#))""", page)
    return re.sub(r"data:image[^\"]*", "", page)


def test_a_card(studio):
    session = teach(studio.session("a"), count=12)
    shown = session.classes[0]
    shown.name = EVIL
    page = plain(drawing.card(session, shown))
    assert EVIL not in page and "12 pictures" in page and "<summary>and 2 more</summary>" in page
    assert page.count("<img") == 12
    bare = session.add_class("cow")
    assert "known by its name alone" in drawing.card(session, bare)


def test_which_classes_are_shown():
    assert "classes 17 to 20 of 20<" in drawing.extent(16, 4, 20) and "class 17 of 17<" in drawing.extent(
        16, 1, 17
    )


def test_bars(file):
    both = Answer(EVIL, file, ("cat", EVIL), np.array([0.75, 0.25]), np.array([0.1, 0.9]))
    page = plain(drawing.bars([both]))
    assert EVIL not in page and page.index("90 %") < page.index("10 %")
    assert "75 %" in page and "after learning" in page
    alone = plain(drawing.bars([Answer("a", file, ("cat", "dog"), np.array([0.75, 0.25]), None)]))
    assert "after learning" not in alone and drawing.bars([]) == ""


def test_remarks():
    page = drawing.remarks([f"{EVIL}: no picture", *map(str, range(7)), "0"])
    assert EVIL not in page and page.count("<li>") == 9 and "<summary>and 4 more</summary>" in page
    assert drawing.remarks([]) == ""


def test_progress():
    job = Job("a", lambda job: None)
    assert "2 other trainings come first" in drawing.progress(job, 2)
    job.state = "running"
    assert "Looking at the pictures" in drawing.progress(job, 0)
    job.report({"event": "encoding", "what": "comparing methods", "done": 5, "total": 20})
    assert "Comparing methods (5 of 20)" in drawing.progress(job, 0)
    job.report({"event": "training", "epochs": 10, "steps": 4})
    job.report({"event": "step", "epoch": 6, "step": 2, "accuracy": 75.0, "eta": 61.0})
    page = drawing.progress(job, 0)
    assert "round 6 of 10, 75 % right so far, 1:01 min left" in page and "width:55.0%" in page
    job.state, job.error = "failed", EVIL
    assert EVIL not in drawing.progress(job, 0)


def test_curve():
    records = [{"epoch": i, "loss": 2.0 / i, "accuracy": 40.0 * i} for i in (1, 2)]
    assert drawing.curve(records[:1]) == ""
    assert "<svg" in drawing.curve(records)


def test_outcome():
    def counted(count):
        return ScoreInfo(
            80.0, 80.0, 8, 10, [ClassScoreInfo("dog", 10, 80, 80, 80), ClassScoreInfo(EVIL, count, 0, 0, 0)]
        )

    alone = ScoreInfo(30.0, 30.0, 3, 10)
    info = SimpleNamespace(
        learned=ScoreInfo(80.0, 80.0, 8, 10), zero_shot=alone, probe=None, choice=None, reported="test"
    )
    page = drawing.outcome(info)
    assert "80 %" in page and "30 %" in page and "So few pictures say" in page
    info.learned = counted(0)
    page = drawing.outcome(info)
    assert (
        "Not tested: &lt;img" in page and "dog" not in page and "Give every class 4 pictures or more" in page
    )
    info.learned = counted(1)
    assert "Not tested" not in drawing.outcome(info)
    tried = [CandidateInfo("lamm", 3, 0.5, True), CandidateInfo(EVIL, 4, 0.4, True)]
    info.choice = ChoiceInfo(EVIL, "lamm", 5, 5, tried)
    page = drawing.outcome(info)
    assert "Compared were 2 ways" in page and EVIL not in page
    info.choice = ChoiceInfo("lamm", "lamm", reason="too few")
    assert "Too few." in drawing.outcome(info)
    assert "not known" in drawing.outcome(SimpleNamespace(learned=None, zero_shot=None, probe=None))


def test_checked(file):
    labels, said = np.array([0, 0, 1]), np.array([0, 1, 1])
    wrong = (Wrong(file, EVIL, "dog", 0.6),)
    names = [EVIL, "dog"]
    page = plain(
        drawing.checked(
            Check(scores_of(labels, labels, names), scores_of(said, labels, names), wrong, "pictures of mine")
        )
    )
    assert EVIL not in page and "67 %" in page and "60 % sure" in page and "of 3 pictures of mine" in page
    assert "Not tested" not in page
    some = scores_of(labels[:2], labels[:2], names)  # of the second class there is no picture
    page = plain(drawing.checked(Check(some, some, (), "pictures")))
    assert "every one of them right" in page and "Not tested: dog." in page


def test_download_link(studio):
    session = studio.session("a")
    assert drawing.download_link(session) == drawing.NOTHING_YET
