"""Names of strangers: for terminals, pages, spreadsheets and prompts."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import run_info, tiny_backbone

from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.methods import load, names
from vlprompt.plain_text import cell, markdown, markdown_code, of_cell, printable, rich_console
from vlprompt.runs.model_card import card
from vlprompt.runs.predictions_file import Said, read_predictions, to_csv

ESCAPES = (
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\u202eb",
    "\x08\x08\x08",
    "\rover",
    "\x00",
    "a\u2028b",
)
WEB = (
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    '<img src=x onerror="alert(1)">',
    "![x](http://e/x.png)",
)
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1", '=cmd|"/C calc"!A0')


@pytest.mark.parametrize("text", ESCAPES)
def test_nothing_that_a_terminal_obeys(text, capsys):
    from vlprompt.cli.console import note, out, say, switches
    from vlprompt.cli.error_reporting import fail
    from vlprompt.training.progress_bar import ProgressBar

    switches.quiet = False
    note(text), say(text), fail(text)
    out().print(text, markup=False)
    with ProgressBar() as bar:
        bar({"event": "message", "text": text})
        bar({"event": "skipped", "path": text, "reason": text})
    said = capsys.readouterr()
    for line in (*said.out.split("\n"), *said.err.split("\n")):
        assert printable(line) == line and "\r" not in line
    assert printable("plain\ttext\n日本語 é 👍") == "plain\ttext\n日本語 é 👍"
    assert json.loads(printable(json.dumps({"a": text}, ensure_ascii=False))) == {"a": text}


def test_colours_of_tables_reach_the_terminal_and_those_of_names_do_not():
    to = io.StringIO()
    console = rich_console(file=to, force_terminal=True, color_system="standard", highlight=False)
    console.print(f"[red]{ESCAPES[0]}[/red]")
    assert "\x1b[31m\\u001b[31mred" in to.getvalue()


@given(st.text())
def test_cells_come_back(text):
    assert of_cell(cell(text)) == text
    assert not cell(text) or cell(text)[0] not in "=+-@\t\r"


def test_predictions_hold_no_formulas_and_are_read_back(tmp_path):
    rows = [Said("test", text, text, text, 0.5, None, text, 0.25) for text in (*FORMULAS, *WEB, "plain")]
    (tmp_path / "predictions.csv").write_bytes(to_csv(rows))
    for row in csv.reader(io.StringIO((tmp_path / "predictions.csv").read_bytes().decode(), newline="")):
        assert not any(value[:1] in tuple("=+-@\t\r") for value in row if value)
    assert read_predictions(tmp_path) == rows


def test_a_model_card_shows_names_as_words():
    bad = [*WEB, "| a | b |", "`x`", "a\n\n# heading", "**bold**", "<!-- ", "a_b _c_"]
    info = run_info(
        class_names=bad, notices=bad, paper=WEB[0], method="coop", options={"context_init": WEB[1]}
    )
    info.data.name, info.backbone.source = WEB[2], "`</code>" + WEB[0]
    text = card(info)
    for line in text.split("```")[0].split("\n"):
        plain = re.sub(r"`[^`]*`", "", re.sub(r"\\.", "", line))  # without what is escaped, and without code
        assert "<" not in plain and "](" not in plain and "`" not in plain and "**" not in plain, line
    assert "\n# heading" not in text and text.count("\n# ") == 0
    assert r"a_b \_c\_" in text
    assert markdown("ripe apple, red (large)") == "ripe apple, red (large)"
    assert markdown_code("a`b\nc") == "`a'b c`"


NOTHING = ("\u200b", "\u200b\u200d", "\ufeff", " \u2060 ")


@pytest.mark.parametrize("method", [name for name in names() if "+" not in name] + ["coop+lamm"])
def test_names_that_are_nothing_or_the_same_to_the_tokenizer_are_refused(method):
    backbone = tiny_backbone()
    for nothing in NOTHING:
        ids = backbone.tokenizer.ids(nothing)
        with pytest.raises(OptionError, match="class name") if not ids else pytest.raises(OptionError):
            load(method).build(backbone, Task(("cat", nothing, nothing + " ")))
    for one, other in (("cat", "ca\u200bt"), ("Cat", "cat"), ("a  b", "a b")):
        if backbone.tokenizer.ids(one) == backbone.tokenizer.ids(other):
            with pytest.raises(OptionError, match="read the same"):
                load(method).build(backbone, Task((one, other)))


def test_the_tokenizer_is_asked():
    """Names that differ as texts and are equal to a tokenizer are found, whatever it leaves out."""
    from vlprompt.prompts.words import check_tokens

    class Deaf:
        def ids(self, text):
            return [ord(c) for c in text.lower() if c.isalpha()]

    check_tokens(("cat", "dog"), Deaf())
    with pytest.raises(OptionError, match=r"'cat' and 'C-A-T' read the same"):
        check_tokens(("cat", "C-A-T"), Deaf())
    with pytest.raises(OptionError, match=r"'\\u200b' is nothing"):
        check_tokens(("\u200b", "dog"), Deaf())
