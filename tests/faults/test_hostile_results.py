"""Lines of results from elsewhere: values of wrong kinds are one line, and names do nothing in a table or a figure."""

from __future__ import annotations

import json
import time

import pytest
from seed_records import base_new, record

from vlprompt.cli.main import main
from vlprompt.errors import DataError
from vlprompt.report.comparison import compare
from vlprompt.report.sheet_formats import formatted
from vlprompt.runs.records import read, read_log

WRONG = {
    "protocol": [None, -1, {}, [[]]],
    "method": [None, True, 1e300, []],
    "data": [None, 3, {"a": {}}],
    "backbone": [[], False],
    "shots": ["x", None, [], True, 10**30],
    "seed": [{}, "1", 1.5],
    "accuracy": [1e308, float("nan"), float("-inf"), 10**400],
    "zero_shot": ["x", [1], {"accuracy": None}, {"accuracy": float("nan")}],
    "matrix": [3, [[]], ["x"], [[None]]],
}
RECORDS = [record(accuracy=50.0 + seed, zero_shot=40.0, seed=seed) for seed in (1, 2)]


@pytest.mark.parametrize("key", WRONG)
def test_values_of_wrong_kinds_are_one_line(tmp_path, capsys, key):
    path = tmp_path / "results.jsonl"
    for value in WRONG[key]:
        path.write_text("".join(json.dumps(one) + "\n" for one in (RECORDS[0], RECORDS[1] | {key: value})))
        with pytest.raises(DataError, match="result 2"):
            read(path)
    for words in (["table"], ["plot", "--out", str(tmp_path / "x.svg")]):
        assert main([*words, str(path)]) == 1
        said = capsys.readouterr().err.strip()
        assert len(said.splitlines()) == 1 and "result 2" in said and len(said) < 600


NAME = "<img src=x onerror=alert(1)>\n\\input /etc/passwd | [a](javascript:alert(1)) ^^ ~"


@pytest.mark.parametrize("key", ["data", "method", "backbone"])
def test_names_do_nothing_in_tables(key):
    for record_ in (RECORDS[0], base_new(80.0, 60.0)):
        sheets = compare([{**record_, key: NAME}])
        page, latex = formatted(sheets, "md"), formatted(sheets, "latex")
        assert "<img" not in page.replace("\\<", "") and "](javascript" not in page.replace("\\]", "")
        assert not [line for line in latex.splitlines() if "\\input" in line and not line.startswith("% ")]
        lines = [line for line in page.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


LINES = (
    '{"key": []}',
    '{"key": {}}',
    '{"key": 5}',
    '{"key": null, "error": 1}',
    '{"key": "KEY", "error": {}}',
    '{"key": "KEY", "accuracy": "high"}',
    '{"key": "KEY", "shots": "x"}',
    '{"key": "KEY", "zero_shot": [[]]}',
    '{"key": "KEY", "accuracy": 1e999}',
    "[" * 100_000,
    '"key"',
    "5",
    '{"key": ' + "[" * 500 + "]" * 500 + "}",
)


@pytest.mark.parametrize("line", LINES)
def test_a_sweep_goes_on_beside_lines_of_other_kinds(tmp_path, line):
    from vlprompt.sweeps.ledger import Ledger

    path = tmp_path / "results.jsonl"
    path.write_text(line + "\n" + '{"key": "good", "accuracy": 50.0}' + "\n")
    with Ledger(path) as ledger:
        known = {*ledger.done, *ledger.failed}
        assert "good" in known
        if "KEY" in line and "accuracy" not in line:
            assert "KEY" not in known


def test_a_sweep_reads_no_pipes(tmp_path):
    import os

    from vlprompt.errors import DataError
    from vlprompt.sweeps.ledger import Ledger

    os.mkfifo(tmp_path / "results.jsonl")
    with pytest.raises(DataError, match="no regular file"), Ledger(tmp_path / "results.jsonl"):
        pass


@pytest.mark.parametrize("line", [b"", b"\r", b"{", b"{}", b"0"])
def test_logs_of_nothing_but_lines(tmp_path, line):
    """100 MB of them took more than a minute and a gigabyte."""
    whole = b'{"event": "step", "loss": 1.0}\n'
    path = tmp_path / "log.jsonl"
    path.write_bytes(whole + (line + b"\n") * (30_000_000 // (len(line) + 1)))
    began = time.process_time()
    assert read_log(path) == [json.loads(whole)]
    assert time.process_time() - began < 4


def test_a_line_about_a_file_from_elsewhere_ends(tmp_path, capsys):
    (tmp_path / "list.csv").write_bytes(b"path,label" + b",x" * 100_000 + b"\n")
    assert main(["--quiet", "data", str(tmp_path / "list.csv")]) == 1
    assert len(capsys.readouterr().err) < 5000
