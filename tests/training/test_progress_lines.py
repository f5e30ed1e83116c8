"""Progress in files and pipes."""

from __future__ import annotations

import io

from vlprompt import fit
from vlprompt.training.progress_lines import ProgressLines


def lines(records: list[dict], every: float = 1e9) -> list[str]:
    out = io.StringIO()
    with ProgressLines(out, every) as tell:
        for record in records:
            tell(record)
    return out.getvalue().splitlines()


def encoding(done: int, total: int = 4, what: str = "test pictures") -> dict:
    return {"event": "encoding", "what": what, "done": done, "total": total, "images_per_s": 2.0}


def test_a_job_has_a_last_line_and_few_between():
    assert lines([encoding(i) for i in range(5)]) == ["test pictures: 4 of 4, 2 images/s"]
    assert len(lines([encoding(i) for i in range(5)], every=0)) == 5
    assert lines([encoding(0, 0)]) == []


def test_the_end_of_a_job_is_told_once_and_again_when_it_is_done_anew():
    assert len(lines([encoding(1), encoding(4), encoding(4)])) == 1
    assert len(lines([encoding(1), encoding(4), encoding(1), encoding(4)])) == 2


def test_some_skipped_pictures_are_named_and_all_are_counted():
    said = lines([{"event": "skipped", "path": f"{i}.jpg", "reason": "empty"} for i in range(5)])
    assert said == [*(f"skipped {i}.jpg: empty" for i in range(3)), "5 pictures skipped in all"]


def test_a_skipped_picture_is_named_once():
    (said,) = lines([{"event": "skipped", "path": "a/1.jpg", "reason": "a/1.jpg: the file is empty"}])
    assert said == "skipped a/1.jpg: the file is empty"


def test_events_that_are_not_known_say_nothing():
    assert lines([{"event": "something new"}]) == []


def test_a_whole_training(place):
    out = io.StringIO()
    with ProgressLines(out) as tell:
        fit("photos", "lamm", shots=2, train={"epochs": 2, "batch": 3}, cache=False, progress=tell)
    said = out.getvalue().splitlines()
    assert any(line.startswith("training: 2 epochs of 2 steps") for line in said)
    assert any(line.startswith("training: 4 of 4, loss ") and line.endswith("0 s left") for line in said)
    assert any(line.startswith("zero-shot: ") for line in said)
    assert "\x1b" not in out.getvalue()
