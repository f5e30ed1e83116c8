"""Who imports whom inside the package, read from the source files; nothing of it is imported.

An import counts wherever it stands: at the top, inside a function, or as `import_module("vlprompt.x")`. One under
`if TYPE_CHECKING:` is marked, because it exists for type checkers alone and cannot make anything fail or load.
A room is a folder or a file at the top of the package.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "vlprompt"


@dataclass(frozen=True, order=True)
class Arrow:
    """One import. line: where it stands. typing: under TYPE_CHECKING."""

    importer: str
    imported: str
    line: int
    typing: bool = False


def modules(package: Path) -> dict[str, Path]:
    """Every module of the package folder by its dotted name; packages by theirs."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(module: str) -> str:
    """`vlprompt.data.opening` -> `data`; the package itself is the room `vlprompt`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def arrows(package: Path) -> list[Arrow]:
    """All imports between modules of the package."""
    known = modules(package)
    found = set()
    for name, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        within = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for target, line, typing in _imports(tree, within, typing=False):
            held = target
            while held and held not in known:  # a name inside a module
                held = held.rpartition(".")[0]
            if held and held != name:
                found.add(Arrow(name, held, line, typing))
    return sorted(found)


def _imports(node: ast.AST, within: str, *, typing: bool) -> Iterator[tuple[str, int, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno, typing) for alias in child.names if _ours(alias.name))
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                parts = within.split(".")[: len(within.split(".")) - child.level + 1]
                base = ".".join([*parts, *([child.module] if child.module else [])])
            if _ours(base):
                yield from ((f"{base}.{alias.name}", child.lineno, typing) for alias in child.names)
        elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith("import_module"):
            first = child.args[0] if child.args else None
            if isinstance(first, ast.Constant) and _ours(str(first.value)):
                yield str(first.value), child.lineno, typing
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for part in child.body:
                yield from _imports(ast.Module([part], []), within, typing=True)
            for part in child.orelse:
                yield from _imports(ast.Module([part], []), within, typing=typing)
        else:
            yield from _imports(child, within, typing=typing)


def _ours(name: str) -> bool:
    return name.partition(".")[0] == PACKAGE


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan's strongly connected components of more than one node)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in number:
            visit(node)
    return sorted(found)
