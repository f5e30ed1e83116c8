"""What is suggested can be pasted."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlprompt.cli.main import main
from vlprompt.cli.suggestions import Blank, aligned, pasted


@given(st.lists(st.text(min_size=1).filter(lambda text: "\0" not in text), max_size=4))
def test_a_shell_reads_back_the_words(words):
    assert shlex.split(pasted(*words)) == ["vlprompt", *words]


def test_paths_are_no_options_and_blanks_stand_as_they_are():
    assert pasted("predict", Path("-x y"), Blank("PICTURE...")) == "vlprompt predict './-x y' PICTURE..."


def test_what_commands_are_for_stands_in_one_column():
    one, other = aligned([("a", "first"), ("abc", "second")])
    assert one.index("first") == other.index("second")


@pytest.mark.parametrize("name", ["my run", "it's", "a;b&c", "Ünïcode $HOME"])
def test_the_commands_after_fit_work_with_any_folder(name, place, capsys):
    out = Path("runs") / name
    words = ["fit", "photos", "--method", "lamm", "--epochs", "1", "--shots", "2", "--out", str(out)]
    assert main(words) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  vlprompt ")]
    assert len(told) == 3
    for line in told:
        command = shlex.split(line.split("   ")[0])[1:]
        assert command[1] == str(out)
        assert main([word.replace("PICTURE...", "new/1.jpg") for word in command]) == 0, command
