"""The documentation: the site builds without a warning and asks nobody for anything; what it shows works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import vlprompt
from vlprompt import methods
from vlprompt.cli.flags import flag, flag_names
from vlprompt.cli.main import COMMANDS, main, options_of
from vlprompt.options import field_table

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
FUNCTIONS = {name: function for name, function, *_ in COMMANDS}
EVERYWHERE = {"--help", "--debug", "--quiet", "--version", "--install-completion", "--show-completion"}


def blocks(page: Path, language: str) -> list[str]:
    """Code of a language (with or without a title behind it) on a page."""
    head = rf"^```{language}(?: [^\n]*)?\n" if language else r"^```\n"
    return re.findall(head + r"(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """Every `vlprompt ...` of a page's code, in one line each."""
    code = "".join(b for language in ("sh", "") for b in blocks(page, language)).replace("\\\n", " ")
    lines = [re.sub(r"^[A-Z_]+=\S+ |^python -m ", "", line.strip()) for line in code.splitlines()]
    return [line for line in lines if line.startswith("vlprompt ")]


def run_python(code: str, page: str) -> None:
    exec(compile(code, page, "exec"), {"__name__": "__main__"})


# -- the site ----------------------------------------------------------------------------------------


def test_the_site_builds_and_asks_nobody_for_anything(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the site needs vlprompt[docs]")
    pytest.importorskip("material", reason="the site needs vlprompt[docs]")
    pytest.importorskip("mkdocstrings", reason="the site needs vlprompt[docs]")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:|//)[^>]*>", html)
        loaded += re.findall(
            r"<link\b[^>]*\brel=[\"']?(?:stylesheet|preconnect|preload|icon)[^>]*https?://[^>]*>", html
        )
        assert not loaded, f"{page.name}: {loaded}"
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(
            r"url\([\"']?https?:|@import [\"']?https?:", style.read_text(encoding="utf-8")
        ), style.name
    text = (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
    for name in ("PromptClassifier", "predict_proba", "fit", "load_backbone", "check_method", "MissingExtra"):
        assert name in text, name


def test_every_public_name_is_on_the_page_of_the_interface() -> None:
    shown = re.findall(r"^::: (\S+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    for name in vlprompt.__all__:
        thing = getattr(vlprompt, name)
        assert f"{thing.__module__}.{thing.__qualname__}" in shown, name


def test_every_method_is_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "methods").glob("*.md"))
    overview = (DOCS / "methods.md").read_text(encoding="utf-8")
    for name in methods.names():
        if not name.endswith("+lamm"):
            assert f"`{name}`" in text or f"`--method {name}`" in text, name
            assert f"[`{name}`](methods/" in overview, name


# -- commands ----------------------------------------------------------------------------------------


def test_every_command_is_on_its_page() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert re.findall(r"^### vlprompt (\S+)$", text, re.MULTILINE)
    for name in FUNCTIONS:
        assert f"### vlprompt {name}\n" in text, f"docs/cli.md says nothing of vlprompt {name}"
        assert any(line.split()[1] == name for line in commands(DOCS / "cli.md")), (
            f"no example of vlprompt {name}"
        )
    assert set(re.findall(r"^### vlprompt (\S+)$", text, re.MULTILINE)) == set(FUNCTIONS)


def flags_of(words: list[str]) -> set[str]:
    """All flags that a command takes with the methods it names."""
    function = FUNCTIONS[words[0]]
    chosen = [w for w in words if "my_package" not in w and "nudge" not in w]
    _, panels = options_of(chosen)
    known = EVERYWHERE | {part for name in flag_names(function) for part in name.split("/")}
    for panel in [*panels, *getattr(sys.modules[function.__module__], "PANELS", ())]:
        for row in field_table(panel.kind):
            known |= {flag(row["name"]), "--no-" + row["name"].replace("_", "-")}
    return known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_flags_exist(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        if not words or words[0] == "COMMAND":
            continue
        if words[0].startswith("-"):
            assert words[0] in EVERYWHERE, line
            continue
        assert words[0] in FUNCTIONS, line
        if "my_kgcoop" in line:  # the method of add-a-method.md, whose commands are run below
            continue
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in flags_of(words), f"{line}: {word}"


def test_completion_is_installed_and_completes(tmp_path: Path) -> None:
    home = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    vlprompt = Path(sys.executable).with_name("vlprompt")
    if not vlprompt.exists() or not Path("/bin/bash").exists():
        pytest.skip("needs bash and an installed vlprompt")
    done = subprocess.run(
        [vlprompt, "--install-completion", "bash"], env=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    script = (
        f"export PATH={vlprompt.parent}:$PATH; source {tmp_path}/.bashrc; complete -p vlprompt; "
        "COMP_WORDS=(vlprompt fit photos/ --method mapl); COMP_CWORD=4; _vlprompt_completion vlprompt; "
        'echo "found: ${COMPREPLY[*]}"'
    )
    shown = subprocess.run(["/bin/bash", "-c", script], env=home, capture_output=True, text=True, check=False)
    assert "complete -o default -F _vlprompt_completion vlprompt" in shown.stdout, shown.stderr
    assert "found: maple maple+lamm" in " ".join(shown.stdout.split()), shown.stdout + shown.stderr


# -- code --------------------------------------------------------------------------------------------


def test_quick_start(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = commands(DOCS / "index.md")
    assert len(lines) == 4
    for line in lines:
        code = main(shlex.split(line, comments=True)[1:])
        shown = capsys.readouterr()
        assert code == 0, f"{line}\n{shown.out}\n{shown.err}"
    assert (place / "runs" / "photos" / "report.html").is_file()
    for page in ("index.md", "faq.md"):  # the latter loads the run that was just made
        for code in blocks(DOCS / page, "python"):
            run_python(code, page)
    assert "red apple" in capsys.readouterr().out.replace("_", " ")


@pytest.mark.slow
def test_python_page(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On all of the demo pictures."""
    for code in blocks(DOCS / "api.md", "python"):
        run_python(code, "api.md")
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_add_a_method(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = DOCS / "add-a-method.md"
    file, *uses = blocks(page, "python")
    (place / "my_kgcoop.py").write_text(file, encoding="utf-8")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setitem(sys.modules, "my_kgcoop", None)  # gone again behind the test
    del sys.modules["my_kgcoop"]
    assert len(uses) == 2
    for code in uses:
        run_python(code, page.name)
    said = capsys.readouterr().out.splitlines()[-1].replace("_", " ")
    assert any(name in said for name in ("red apple", "green pear", "plum"))
    lines = commands(page)
    assert len(lines) == 3
    for line in lines:
        code = main(shlex.split(line)[1:])
        shown = capsys.readouterr()
        assert code == 0, f"{line}\n{shown.out}\n{shown.err}"
    assert "--distance-weight" in shown.out
    assert '"my_kgcoop.KgCoOp+lamm"' in (place / "runs" / "near-names" / "run.json").read_text(
        encoding="utf-8"
    )
