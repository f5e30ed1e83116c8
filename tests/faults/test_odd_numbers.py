"""Numbers that Python's readers refuse in ways of their own, in every entry of what is read; tensors and chunks that lie."""

from __future__ import annotations

import copy
import io
import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import seeds
import targets
from PIL import Image

from vlprompt.data.pictures import open_picture
from vlprompt.errors import VlpromptError
from vlprompt.runs.run import Run

LONG = "9" * 10_000  # Python's int refuses more than 4,300 digits with a ValueError
ODD = (LONG, f"-{LONG}", "1e400", "9007199254740993", "-0.0", "[[[]]]", '""', "{}", "null")
PLACE = "a place for a number"


def bounded(job: Callable[[], object]) -> None:
    """A value or a VlpromptError, and soon."""
    began = time.monotonic()
    try:
        job()
    except VlpromptError as error:
        assert "\n" not in str(error)
    assert time.monotonic() - began < 20


def entries(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key in value if isinstance(value, dict) else range(min(len(value), 2)):
        yield (*above, key)
        if isinstance(value[key], dict | list):
            yield from entries(value[key], (*above, key))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return seeds.run_folder(tmp_path / "run")


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[:12])
def test_in_every_entry_of_a_run(run: Path, odd: str) -> None:
    whole = json.loads((run / "run.json").read_text())
    for *above, last in entries(whole):
        changed = copy.deepcopy(whole)
        part = changed
        for key in above:
            part = part[key]
        part[last] = PLACE
        (run / "run.json").write_text(json.dumps(changed).replace(f'"{PLACE}"', odd))
        bounded(lambda: Run.load(run, seeds.backbone()))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[:12])
def test_in_lists_logs_results_recipes_and_grids(odd: str) -> None:
    for kind in (b"l", b"r", b"x"):
        for text in (
            f'{{"event": "step", "step": {odd}}}\n',
            f'{{"seed": {odd}, "options": {{"a": {odd}}}}}',
        ):
            bounded(lambda: targets.read_json(kind + text.encode()))  # noqa: B023
    for text in (f"method = {odd}", f"[grid]\nseed = [{odd}]"):
        bounded(lambda: targets.read_sweeps(text.encode()))  # noqa: B023
    for text in (
        f"xpath,label\na.jpg,{odd}\nb.jpg,1\n",
        f's{{"train": [["a/1.jpg", {odd}, "x"]]}}',
        f'c["a", {odd}]',
    ):
        bounded(lambda: targets.read_lists(text.encode()))  # noqa: B023


def test_heads_of_tensors_that_lie(run: Path) -> None:
    file = run / "prompts.safetensors"
    data = file.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    head, body = json.loads(data[8 : 8 + size]), data[8 + size :]

    def made(text: str, stated: int | None = None) -> bytes:
        return struct.pack("<Q", len(text) if stated is None else stated) + text.encode() + body

    def with_(**more: Any) -> str:
        return json.dumps({name: value | more for name, value in head.items()})

    text = json.dumps(head)
    for case in (
        *(made(text, stated) for stated in (0, 2**62, 2**64 - 1)),
        made(" " * 20_000_000 + "{}"),
        made('{"a":' * 200_000),
        made(with_(shape=[2**63, 0])),
        made(with_(shape=[2**40, 2**40])),
        made(with_(dtype="F8_E4M3")),
        made(json.dumps({f"{name}{i}": value for name, value in head.items() for i in range(3)})),
        made(json.dumps({"__metadata__": {"a": 1}, **head})),
        made(text.replace("[", f"[{LONG},", 1)),
        made(f"{text[:-1]},{text[1:]}"),
    ):
        file.write_bytes(case)
        seeds.rehash(run)
        bounded(lambda: Run.load(run, seeds.backbone()))


def test_texts_and_profiles_of_a_png_that_unpack_to_gigabytes() -> None:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    whole, packed = out.getvalue(), zlib.compress(bytes(100 * 2**20), 9)
    for kind, start in ((b"iTXt", b"k\0\1\0\0\0"), (b"zTXt", b"k\0\0"), (b"iCCP", b"k\0\0")):
        content = kind + start + packed
        piece = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
        bounded(lambda: open_picture(whole[:33] + 20 * piece + whole[33:], name="a"))  # noqa: B023
