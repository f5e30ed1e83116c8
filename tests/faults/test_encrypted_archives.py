"""Zip archives behind a password, whole or one entry of them, through everything that reads zip archives."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from small_data import picture_folder

from vlprompt.backbones.weights.pickled import open_pickled
from vlprompt.backbones.weights.tensor_files import read_tensors
from vlprompt.data import open_dataset
from vlprompt.errors import BackboneError, DataError, RunError

ENCRYPTED, STRONG, AES = 0x1, 0x40, 99


def locked(data: bytes, way: str, only: int | None = None) -> bytes:
    """A zip archive whose entries, or one of them, say that they are encrypted; only: its number."""
    changed = bytearray(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos, at = archive.infolist(), archive.start_dir
    for number, info in enumerate(infos):
        length = 46 + sum(struct.unpack_from("<HHH", data, at + 28))
        if only in (None, number):
            bits = {"ZipCrypto": ENCRYPTED, "AES": ENCRYPTED, "strong": ENCRYPTED | STRONG}[way]
            for place in (at + 8, info.header_offset + 6):
                changed[place] |= bits
            if way == "AES":
                for place in (at + 10, info.header_offset + 8):
                    struct.pack_into("<H", changed, place, AES)
        at += length
    return bytes(changed)


def packed(folder: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return out.getvalue()


WAYS = pytest.mark.parametrize("way", ["ZipCrypto", "AES", "strong"])
ONLY = pytest.mark.parametrize("only", [None, 0, 1])


@WAYS
@ONLY
def test_pictures(tmp_path, way, only):
    file = tmp_path / "a.zip"
    file.write_bytes(locked(packed(picture_folder(tmp_path / "pictures")), way, only))
    with pytest.raises(DataError, match="protected by a password; unpack it"):
        open_dataset(file)


@WAYS
@ONLY
def test_weights(tmp_path, way, only):
    saved = io.BytesIO()
    torch.save({"a": torch.ones(3), "b": torch.zeros(2)}, saved)
    file = tmp_path / "a.pt"
    file.write_bytes(locked(saved.getvalue(), way, only))
    with pytest.raises(BackboneError) as said:
        read_tensors(file)
    assert "\n" not in str(said.value)
    try:
        with open_pickled(file) as held:
            for stored in held.content.values():
                held.load(stored)
    except RunError as error:
        assert "\n" not in str(error)
    else:
        assert only == 1  # neither the list of tensors nor a tensor


@WAYS
@ONLY
def test_runs_in_the_studio(tmp_path, way, only):
    pytest.importorskip("gradio")
    from vlprompt.studio.zipped_runs import _unpack

    held = tmp_path / "run"
    held.mkdir()
    for name in ("prompts.safetensors", "run.json"):
        (held / name).write_bytes(b"x")
    file = tmp_path / "a.zip"
    file.write_bytes(locked(packed(held), way, only))
    with pytest.raises(RunError, match="not a zip archive that can be read") as said:
        _unpack(file, tmp_path / "out")
    assert "\n" not in str(said.value)


def test_damaged_lzma_in_the_studio(tmp_path):
    pytest.importorskip("gradio")
    from vlprompt.studio.zipped_runs import _unpack

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        for name in ("prompts.safetensors", "run.json"):
            archive.writestr(name, bytes(range(256)) * 20)
    data = bytearray(out.getvalue())
    for place in range(60, 90):
        data[place] ^= 0xFF
    file = tmp_path / "a.zip"
    file.write_bytes(data)
    with pytest.raises(RunError, match="not a zip archive that can be read"):
        _unpack(file, tmp_path / "out")
