"""Records that several processes append, and run folders that are not what they should be."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from vlprompt.errors import DataError, RunError
from vlprompt.runs.info import read_info
from vlprompt.runs.records import append, read


def test_lines_of_several_writers_stay_whole(tmp_path):
    path = tmp_path / "results.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: append(path, {"protocol": "p", "method": "m" * 500, "i": i}), range(64)))
    assert sorted(record["i"] for record in read(path)) == list(range(64))


def test_a_line_cut_off_by_a_crash_spoils_nothing(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, {"protocol": "p", "method": "a"})
    with open(path, "a") as file:
        file.write('{"protocol": "p", "meth')
    append(path, {"protocol": "p", "method": "b"})
    assert [record["method"] for record in read(path)] == ["a", "b"]


def test_no_results(tmp_path):
    (tmp_path / "a").write_text("{}\nnothing\n")
    with pytest.raises(DataError, match="no results in it"):
        read(tmp_path / "a")


def test_runs_that_are_none(tmp_path):
    with pytest.raises(RunError, match="no run.json"):
        read_info(tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match="interrupted"):
        read_info(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"method": "coop"}))
    with pytest.raises(RunError, match="damaged"):
        read_info(tmp_path)
