"""Names of strangers cannot command a terminal."""

from __future__ import annotations

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from vlprompt.plain_text import Printable, cell, csv_line, of_cell, printable, rich_console

HOSTILE = "a\x1b]0;title\x07b\u202ecod\u2066"


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text):
    shown = printable(text)
    assert not set(shown) & {"\x1b", "\x07", "\r", "\x9b", "\u202e", "\u2066", "\u2028"}
    assert printable(shown) == shown


@given(st.text())
def test_json_stays_the_same_json(text):
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text


def test_ordinary_text_of_all_scripts_stands_as_it_is():
    for text in ("Äpfel\tund\nBirnen", "苹果", "תפוח", "🍎"):
        assert printable(text) == text


def test_a_stream_takes_it_all():
    out = io.StringIO()
    print(HOSTILE, file=Printable(out))
    assert "\x1b" not in out.getvalue() and out.getvalue().endswith("\n")


def test_a_tables_own_colours_stay_and_those_of_names_do_not():
    out = io.StringIO()
    console = rich_console(file=out, force_terminal=True, color_system="standard", width=80)
    console.print(f"[bold]x[/bold] {HOSTILE}", highlight=False)
    assert "\x1b[1m" in out.getvalue() and "\x1b]0;" not in out.getvalue()


@given(st.text(), st.text())
def test_cells_come_back_and_compute_nothing(one, other):
    import csv

    for text in (one, f"={one}", f"'{one}"):
        assert of_cell(cell(text)) == text
        assert not cell(text).startswith(("=", "+", "-", "@"))
    row = next(csv.reader(io.StringIO(csv_line([one, other]), newline="")), [])
    assert row == [one, other] or not (one or other) or "\0" in one + other
