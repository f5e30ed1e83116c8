"""The package as a whole: public names, types, data files, docstrings, nothing of anybody's machine."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import vlprompt

ROOT = Path(__file__).parents[1]
PACKAGE = Path(vlprompt.__file__).parent  # the one that is tested, wherever it is installed
MODULES = sorted(PACKAGE.rglob("*.py"))
TEXTS = {".py", ".md", ".toml", ".txt", ".json", ".cff", ".html", ".css", ".js", ".yml", ".yaml", ".csv", ""}


def tracked() -> list[Path]:
    """Files under version control, or (outside of a clone) all that could be."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [
        path
        for folder in ("src", "tests", "docs", "recipes")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    ]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_public_names() -> None:
    assert sorted(vlprompt.__all__) == vlprompt.__all__
    for name in vlprompt.__all__:
        assert getattr(vlprompt, name).__name__ == name
        assert name in dir(vlprompt)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vlprompt.nothing


def test_every_name_is_declared_for_type_checkers() -> None:
    source = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    blocks = [n for n in ast.parse(source).body if isinstance(n, ast.If)]
    declared = {
        alias.name
        for block in blocks
        for n in block.body
        if isinstance(n, ast.ImportFrom)
        for alias in n.names
    }
    assert set(vlprompt.__all__) <= declared


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?(dev|rc|a|b)\d+)?", vlprompt.__version__)
    assert metadata.version("vlprompt") == vlprompt.__version__
    assert f"## {vlprompt.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version: {vlprompt.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_importing_is_light() -> None:
    heavy = ("torch", "numpy", "matplotlib", "PIL", "tokenizers", "huggingface_hub", "typer", "rich")
    loaded = python("import sys, vlprompt; print(*sys.modules)").split()
    assert not set(heavy) & set(loaded)


def test_console_script() -> None:
    scripts = [e for e in metadata.entry_points(group="console_scripts") if e.name == "vlprompt"]
    assert [e.value for e in scripts] == ["vlprompt.cli.main:main"]
    loaded = python("import sys, vlprompt.cli.main; print(*sys.modules)").split()
    assert not {"torch", "matplotlib", "transformers"} & set(loaded)


def test_typed_and_licensed() -> None:
    about = metadata.metadata("vlprompt")
    assert (PACKAGE / "py.typed").is_file()
    assert "Apache-2.0" in about["License-Expression"]
    assert "END OF TERMS AND CONDITIONS" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert about["Requires-Python"] == ">=3.10"


def test_core_dependencies_stay_lean() -> None:
    core = [
        re.split(r"[^\w.-]", line)[0].lower()
        for line in metadata.requires("vlprompt") or ()
        if "extra ==" not in line
    ]
    core = [name for name in core if name != "tomli"]  # what Python 3.10 lacks
    assert sorted(core) == [
        "huggingface-hub",
        "matplotlib",
        "numpy",
        "pillow",
        "rich",
        "safetensors",
        "tokenizers",
        "torch",
        "typer",
    ]


def test_package_data() -> None:
    assets = PACKAGE / "assets"
    for name in (
        "clip_vocabulary/merges.txt.gz",
        "clip_vocabulary/LICENSE",
        "demo/groceries.zip",
        "demo/emoji.zip",
        "demo/NOTICE.txt",
        "recipes/coop.json",
    ):
        assert (assets / name).stat().st_size > 0, name
    assert sum(file.stat().st_size for file in (assets / "demo").glob("*.zip")) < 3 * 10**6


def test_package_data_is_in_the_wheel() -> None:
    """What is in the folder is not ignored, so that the build takes it."""
    inside = [path for path in (PACKAGE / "assets").rglob("*") if path.is_file()]
    done = subprocess.run(
        ["git", "check-ignore", *map(str, inside)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


def test_docstrings() -> None:
    """Modules, public classes and public functions say what they give."""
    bare = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        where = path.relative_to(PACKAGE)
        if tree.body and not ast.get_docstring(tree):
            bare.append(str(where))
        for node in tree.body:
            public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            if public and not ast.get_docstring(node) and _needs_one(node, path):
                bare.append(f"{where}: {node.name}")
    assert not bare


def _needs_one(node: ast.FunctionDef | ast.ClassDef, path: Path) -> bool:
    """Neither what is three lines long nor the classes of a method's file, which begins with what they are."""
    if isinstance(node, ast.ClassDef):
        return not (path.parent.name == "methods" and path.stem not in ("base", "__init__"))
    return len(node.body) > 3


def test_public_functions_have_docstrings() -> None:
    for name in vlprompt.__all__:
        thing = getattr(vlprompt, name)
        assert inspect.getdoc(thing), name
        members = inspect.getmembers(thing, inspect.isfunction) if inspect.isclass(thing) else []
        for member, function in members:
            if not member.startswith("_") and function.__module__.startswith("vlprompt"):
                assert inspect.getdoc(function), f"{name}.{member}"


def test_every_module_imports() -> None:
    for path in MODULES:
        name = ".".join(("vlprompt", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        if not name.endswith("__main__"):
            importlib.import_module(name)


def test_no_path_of_a_machine() -> None:
    """No home folders, no temporary folders of a session, no addresses of private hosts."""
    private = re.compile(
        r"/(?:home|Users)/(?!USER)[\w.-]+/|/root/|/work"
        r"/|/tmp/[\w.]+_jobs|[A-Z]:\\Users\\|\b(?:10|192\.168)(?:\.\d{1,3}){2,3}\b"
    )
    found = []
    for path in tracked():
        if path.suffix not in TEXTS or path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in private.finditer(text)]
    assert not found


@pytest.mark.parametrize("script", ["make_tables.py", "make_results.py", "make_architecture.py"])
def test_tables_of_the_documentation_are_up_to_date(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
