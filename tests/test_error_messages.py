"""Every error becomes one line."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlprompt.error_messages import explain
from vlprompt.errors import DataError, OptionError


@given(st.text())
def test_an_explanation_is_one_line(text):
    for error in (OptionError(text), DataError(text), ValueError(text), OSError(text)):
        assert "\n" not in explain(error).text and "  " not in explain(error).text


def test_errors_on_purpose_say_their_own_words_and_code():
    found = explain(OptionError("no such\n  thing"))
    assert (found.code, found.text, found.mistake) == (2, "no such thing", False)
    assert explain(DataError("empty")).code == 1


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")])
def test_what_the_system_refuses_names_the_file(number, said):
    text = explain(OSError(number, "strange words", "photos/a.jpg")).text
    assert text.startswith("photos/a.jpg: ") and said in text


def test_what_nobody_foresaw_is_ours():
    found = explain(KeyError("x"))
    assert found.mistake and found.text == "unexpected KeyError: 'x'" and found.code == 1


def test_memory_that_runs_out_has_a_mend():
    assert "--batch" in explain(MemoryError()).text
