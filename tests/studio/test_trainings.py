"""One training at a time, in the order of asking; a stopped or failing one does not hold up the others."""

from __future__ import annotations

import threading

import pytest
from conftest import until

from vlprompt.errors import DataError, OptionError
from vlprompt.studio.trainings import Trainings


@pytest.fixture
def trainings():
    held = Trainings(most=3)
    yield held
    held.close()


def endless(job):
    while True:
        job.report({"event": "step"})
        threading.Event().wait(0.005)


def test_one_after_another(trainings):
    order, running, most = [], [], []
    go = threading.Event()

    def work(name):
        def do(job):
            running.append(name)
            most.append(len(running))
            go.wait(30)
            order.append(name)
            running.remove(name)
            return name

        return do

    jobs = [trainings.submit(name, work(name)) for name in "abc"]
    until(lambda: jobs[0].state == "running")
    assert [trainings.ahead(job) for job in jobs] == [0, 1, 2]
    assert jobs[1].state == jobs[2].state == "waiting"
    go.set()
    assert all(job.wait(30) for job in jobs)
    assert order == list("abc") and max(most) == 1
    assert [job.result for job in jobs] == list("abc") and {job.state for job in jobs} == {"done"}


def test_one_for_each_owner_and_a_full_queue(trainings):
    trainings.submit("a", endless)
    with pytest.raises(OptionError, match="learning already"):
        trainings.submit("a", endless)
    for name in "bcd":
        trainings.submit(name, endless)
    with pytest.raises(OptionError, match="too many"):
        trainings.submit("e", endless)


def test_stopping(trainings):
    first, second = trainings.submit("a", endless), trainings.submit("b", endless)
    until(lambda: first.state == "running")
    assert trainings.stop("b") is second and second.over and second.state == "stopped"
    told = []
    first.when_over(lambda: told.append("first"))
    trainings.stop("a")
    assert first.wait(30) and first.state == "stopped"
    until(lambda: told == ["first"])
    first.when_over(lambda: told.append("again"))
    assert told == ["first", "again"]
    assert trainings.stop("nobody") is None
    assert trainings.submit("a", lambda job: 1).wait(30)


def test_failures_are_told_and_the_queue_goes_on(trainings, capsys):
    def wrong(job):
        raise DataError("two classes\nare needed")

    def broken(job):
        raise RuntimeError("secret detail")

    jobs = [trainings.submit(str(i), work) for i, work in enumerate((wrong, broken, lambda job: 7))]
    assert all(job.wait(30) for job in jobs)
    assert jobs[0].state == jobs[1].state == "failed"
    assert jobs[0].error == "two classes are needed"
    assert "RuntimeError" in jobs[1].error and "secret" not in jobs[1].error
    assert "secret detail" in capsys.readouterr().err
    assert jobs[2].result == 7


def test_records(trainings):
    def work(job):
        job.report({"event": "training", "epochs": 2, "steps": 1})
        job.report({"event": "step", "epoch": 1, "step": 1})
        job.report({"event": "epoch", "epoch": 1, "loss": 1.0})
        job.report({"event": "message", "text": "x"})

    job = trainings.submit("a", work)
    assert job.wait(30)
    assert job.extent["epochs"] == 2 and job.latest["event"] == "epoch"
    assert [record["loss"] for record in job.records] == [1.0]


def test_closing_stops_all():
    trainings = Trainings()
    jobs = [trainings.submit(name, endless) for name in "ab"]
    trainings.close()
    assert [job.state for job in jobs] == ["stopped", "stopped"]
    with pytest.raises(OptionError):
        trainings.submit("c", endless)
