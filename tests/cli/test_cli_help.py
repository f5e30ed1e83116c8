"""Help answers at once, and tells what each method can be told."""

import subprocess
import sys

import pytest

import vlprompt as package
from vlprompt.cli.main import COMMANDS

HEAVY = (
    "torch",
    "matplotlib",
    "numpy",
    "transformers",
    "PIL",
    "huggingface_hub",
    "safetensors",
    "tokenizers",
)


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom vlprompt.cli.main import main\ncode = main(['--help'])\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY [] 0" in done.stdout
    assert "Teach CLIP-like models" in done.stdout


def test_python_dash_m():
    done = subprocess.run(
        [sys.executable, "-m", "vlprompt", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"vlprompt {package.__version__}\n"


@pytest.mark.parametrize("name", [name for name, *_ in COMMANDS])
def test_every_command_shows_examples(vlprompt, name):
    said = vlprompt(name, "--help")
    assert said.code == 0
    assert f"vlprompt {name}" in said.out.split("Usage", 1)[1].split("\n", 1)[1]


def test_help_shows_the_options_of_the_method(vlprompt):
    said = vlprompt("fit", "--method", "maple", "--help")
    assert said.code == 0
    assert "Options of MaPLe" in said.out
    assert "--depth" in said.out
    assert "default 9" in " ".join(said.out.split())
    assert "--epochs" in said.out
    assert "--label-tokens" not in said.out


def test_help_of_a_wrapped_method_shows_both(vlprompt):
    said = vlprompt("fit", "--method=coop+lamm", "--help")
    assert "Options of CoOp" in said.out
    assert "Options of LAMM" in said.out
    assert "--name-position" in said.out
    assert "--label-tokens" in said.out


def test_without_anything_it_shows_help(vlprompt):
    said = vlprompt()
    assert "Usage" in said.out + said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("vlprompt pred", ["predict"]),
        ("vlprompt fit x --epoc", ["--epochs"]),
        ("vlprompt fit x --method coop+", ["coop+lamm"]),
        ("vlprompt protocol few", ["few_shot"]),
        ("vlprompt fit x --recipe maple_c", ["maple_cross_dataset"]),
    ],
)
def test_shell_completion(words, expected, monkeypatch, capsys):
    from vlprompt.cli.main import main

    monkeypatch.setenv("_VLPROMPT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert capsys.readouterr().out.split() == expected
