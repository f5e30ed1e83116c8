"""Imports go one way: the table below says what each room may import, and nothing else is allowed.

Rooms stand in storeys, the ground first; a room imports only from rooms above it in the table, so that no circle of
rooms can be. An import counts wherever it stands, also inside functions and under TYPE_CHECKING: what a room names
in its types it knows about. Circles between single modules are looked for without TYPE_CHECKING, because a type
checker reads both sides at once. The shop window `vlprompt/__init__.py` may name everything for type checkers.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

import vlprompt

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from import_graph import Arrow, arrows, circles, modules, room_of  # noqa: E402

PACKAGE = Path(vlprompt.__file__).parent

# the ground floor: small things that know nothing of pictures, towers or prompts. All rooms may import these
GROUND = {
    "renamed": "",
    "vlprompt": "renamed",
    "errors": "",
    "error_messages": "errors",
    "files": "",
    "plain_text": "",
    "web_guards": "",
    "seeds": "",
    "temperature": "",
    "options": "errors",
    "locks": "errors files",
    "sqlite_store": "errors",
    "hub_access": "errors",
    "ray_cluster": "errors",
    "record_schema": "errors",
}
# everything else, lowest first: what a room may import beside the ground floor
ALLOWED = {
    "data": "",
    "backbones": "",
    "prompts": "backbones",
    "methods": "data backbones prompts",
    "feeding": "data backbones methods",
    "training": "data backbones prompts methods feeding",
    "scoring": "data methods feeding",
    "runs": "data backbones prompts methods feeding training scoring",
    "fitting": "data backbones methods feeding training scoring runs",
    "contract": "data backbones prompts methods feeding training",
    "estimator": "data backbones methods feeding scoring runs fitting",
    "protocols": "data backbones methods feeding training scoring runs fitting",
    "collections": "data backbones feeding runs",
    "sweeps": "data backbones prompts methods feeding training runs fitting protocols",
    "report": "data backbones prompts methods feeding scoring runs protocols",
    "serving": "data backbones methods feeding runs",
    "studio": "data backbones methods feeding training scoring runs fitting report",
    "demo": "data backbones methods feeding training scoring runs fitting protocols report",
    "cli": "data backbones methods feeding training scoring runs fitting protocols collections sweeps report "
    "serving studio demo",
    "__main__": "cli",
}
TABLE = {room: set(words.split()) for room, words in (GROUND | ALLOWED).items()}
for _room in ALLOWED:
    TABLE[_room] |= set(GROUND)

FOUND = arrows(PACKAGE)


def forbidden(found: list[Arrow]) -> list[str]:
    """Imports between rooms that the table does not hold, as lines to read."""
    return [
        f"{arrow.importer} line {arrow.line} imports {arrow.imported}"
        for arrow in found
        if room_of(arrow.importer) != room_of(arrow.imported)
        and room_of(arrow.imported) not in TABLE[room_of(arrow.importer)]
        and not (arrow.importer == "vlprompt" and arrow.typing)
    ]


def test_every_room_has_a_line():
    assert {room_of(name) for name in modules(PACKAGE)} == set(TABLE)


def test_the_table_goes_one_way():
    order = list(TABLE)
    for room, allowed in TABLE.items():
        upwards = [other for other in allowed if order.index(other) >= order.index(room)]
        assert not upwards, f"{room} may not import {upwards}: they stand at its height or above"


def test_no_import_is_against_the_table():
    assert forbidden(FOUND) == []


def test_no_circle_of_modules():
    graph: dict[str, set[str]] = {}
    for arrow in FOUND:
        if not arrow.typing and arrow.imported != "vlprompt":
            graph.setdefault(arrow.importer, set()).add(arrow.imported)
    assert circles(graph) == []


def test_no_module_name_occurs_twice():
    """`options` in four rooms says nothing in a trace or an editor's tab."""
    names = Counter(name.rpartition(".")[2] for name in modules(PACKAGE))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.fixture
def small(tmp_path):
    """A package to be read, given as file -> text."""

    def write(**files: str) -> list[Arrow]:
        for name, text in ({"__init__": ""} | files).items():
            path = tmp_path / "vlprompt" / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return arrows(tmp_path / "vlprompt")

    return write


@pytest.mark.parametrize(
    "text",
    [
        "from vlprompt.cli import main",
        "import vlprompt.cli.main",
        "def f():\n    from vlprompt.cli.main import x",
        "class A:\n    def f(self):\n        if self:\n            import vlprompt.cli.main as m",
        "from importlib import import_module\nimport_module('vlprompt.cli.main')",
        "try:\n    from .cli import main\nexcept ImportError:\n    pass",
    ],
)
def test_an_import_is_found_wherever_it_stands(small, text):
    found = small(files=text, cli__in____init__="", cli__in__main="x = 1")
    assert ("vlprompt.files", "vlprompt.cli.main") in {(a.importer, a.imported) for a in found}
    assert any("vlprompt.files" in line for line in forbidden(found))


def test_imports_for_type_checkers_are_marked(small):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from vlprompt.seeds import x\nelse:\n    import vlprompt.errors"
    found = small(files=text, seeds="x = 1", errors="")
    assert {(a.imported, a.typing) for a in found} == {("vlprompt.seeds", True), ("vlprompt.errors", False)}


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}}) == []
