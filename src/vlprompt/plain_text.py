"""Text of strangers, such as class and file names, where it does more than being read: terminals, pages, sheets.

A name may hold the control sequences of a terminal, which move the cursor, set its title or answer in the user's
place, and marks that turn the direction of writing, so that another name is seen than is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

# control characters but tab and newline, marks of direction, separators of lines, and halves of characters
_NOT_SHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with \\u001b and the like in place of what a terminal would obey; JSON stays the same JSON."""
    return _NOT_SHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Printable:
    """A stream to write such text to. to: the stream that gets it."""

    def __init__(self, to: Any) -> None:
        self.to = to

    def write(self, text: str) -> int:
        return int(self.to.write(printable(text)))


def rich_console(**more: Any) -> Console:
    """rich's Console, whose own colours reach the terminal and those of names do not. more: as it takes them."""
    from rich.console import Console, RenderHook
    from rich.segment import Segment

    class Plain:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for part in console.render(self.inner, options):
                yield part if part.control else Segment(printable(part.text), part.style)

        def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Any:
            return console.measure(self.inner, options=options)

    class Hook(RenderHook):
        def process_renderables(self, renderables: Iterable[Any]) -> list[Any]:
            return [Plain(one) for one in renderables]

    made = Console(**more)
    made.push_render_hook(Hook())
    return made


_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def cell(text: str) -> str:
    """The text of a cell in a CSV file, with an apostrophe before what a spreadsheet would compute."""
    return f"'{text}" if _FORMULA.match(text) else text


def of_cell(text: str) -> str:
    """The text that `cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv_line(values: Iterable[Any]) -> str:
    """A row of a CSV file, as Python's csv writes it; but a carriage return is quoted too, which else ends the row."""
    texts = ("" if value is None else str(value) for value in values)
    quoted = (
        f'"{text.replace(chr(34), 2 * chr(34))}"' if re.search('[,"\r\n]', text) else text for text in texts
    )
    return ",".join(quoted) + "\n"


_MARKS = re.compile(r"[\\`*\[\]<>&|~$]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")


def markdown(text: str) -> str:
    """The text as words of a Markdown page: no links, no HTML, no table of its own, on one line."""
    return _MARKS.sub(lambda found: f"\\{found[0]}", " ".join(printable(text).split()))


def markdown_code(text: str) -> str:
    """The same between backticks."""
    return f"`{' '.join(printable(text).split()).replace('`', chr(39))}`"
