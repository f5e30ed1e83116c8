"""Small files that claim gigabytes: they are refused before the memory is taken."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import time
import zipfile
from pathlib import Path

import claim_jobs
import pytest
import torch

MOST = 400  # MB; some of these took more than four thousand


@pytest.fixture
def cost(children):
    """(kind, path) -> MB that a process of its own takes, and what it says."""

    def measure(kind, path):
        process, pipe = children.start(claim_jobs.cost, kind, path)
        process.join(300)
        assert process.exitcode == 0, process.exitcode
        taken, said = pipe.recv()
        assert "\n" not in said
        return taken, said

    return measure


def zipped(
    content: bytes, folder: Path, script: bool, entries: dict[str, bytes] | None = None, packed: bool = False
):
    path = folder / "file.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        archive.writestr("a/data.pkl", content)
        for name, data in ({"version": b"3\n", "byteorder": b"little"} | (entries or {})).items():
            archive.writestr(f"a/{name}", data)
        if script:
            archive.writestr("a/constants.pkl", b"")
    return path


def memo(number: int, code: bytes = b"r") -> bytes:
    """A pickle of {} that is remembered under a number."""
    return b"\x80\x02}" + code + (struct.pack("<I", number) if code == b"r" else b"%d\n" % number) + b"."


@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize("code", [b"r", b"p"])
def test_memory_of_a_pickle(cost, tmp_path, script, code):
    path = zipped(memo(2**28, code), tmp_path, script)
    for kind in ("pickled", "weights"):
        taken, said = cost(kind, path)
        assert taken < MOST and said != "read"


def strided(shape: tuple[int, ...], stride: tuple[int, ...], count: int = 1) -> bytes:
    """A checkpoint of tensors that all look at the same four values."""
    tensor = torch.arange(4.0).as_strided((2, 2), (2, 1))
    out = io.BytesIO()
    torch.save({f"t{i}": tensor for i in range(count)}, out)
    data = bytearray(out.getvalue())
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        content = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
        held = {
            n.partition("/")[2]: archive.read(n) for n in archive.namelist() if not n.endswith("data.pkl")
        }
    sides = b"".join(b"J" + struct.pack("<i", side) for side in shape)
    steps = b"".join(b"J" + struct.pack("<i", step) for step in stride)
    pattern = b"K\x02K\x02\x86", b"K\x02K\x01\x86"
    content = content.replace(pattern[0], sides + b"\x86").replace(pattern[1], steps + b"\x86")
    return content, held


@pytest.mark.parametrize(
    ("shape", "stride"), [((30_000, 30_000), (0, 0)), ((2**30, 2), (0, 1)), ((2, 2**30), (0, 0))]
)
def test_strides_of_zero(cost, tmp_path, shape, stride):
    content, held = strided(shape, stride)
    path = zipped(content, tmp_path, False, held)
    for kind in ("pickled", "weights"):
        taken, said = cost(kind, path)
        assert taken < MOST and said != "read", said


def test_tensors_that_share_their_values(cost, tmp_path):
    tensor = torch.ones(2_000_000)
    torch.save({f"t{i}": tensor[i:] for i in range(2000)}, tmp_path / "file.pt")
    for kind in ("pickled", "weights"):
        began = time.monotonic()
        taken, said = cost(kind, tmp_path / "file.pt")
        assert taken < MOST and "again and again" in said and time.monotonic() - began < 60


def test_tied_weights_are_read(cost, tmp_path):
    tensor = torch.ones(2_000_000)
    torch.save({"a": tensor, "b": tensor}, tmp_path / "file.pt")
    assert cost("weights", tmp_path / "file.pt")[1] == cost("pickled", tmp_path / "file.pt")[1] == "read"


@pytest.mark.parametrize("script", [False, True])
def test_packed_storages(cost, tmp_path, script):
    out = io.BytesIO()
    torch.save({"a": torch.zeros(250_000_000, dtype=torch.uint8)}, out)
    with zipfile.ZipFile(out) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        content, data = archive.read(name), archive.read(name.replace("data.pkl", "data/0"))
    path = zipped(content, tmp_path, script, {"data/0": data}, packed=True)
    assert path.stat().st_size < 1_000_000
    for kind in ("pickled", "weights"):
        taken, said = cost(kind, path)
        assert taken < 200 and "more than the file holds" in said


def pax(size: int, kind: bytes, count: int = 1) -> bytes:
    """A tar whose headers are longer than anything that they could describe."""
    out = io.BytesIO()
    for _ in range(count):
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, size
        out.write(info.tobuf(tarfile.USTAR_FORMAT))
        line = b" comment=" + b"a" * (size - 30) + b"\n"
        body = b"%d" % (len(line) + len(str(size))) + line if kind in (b"x", b"g") else b"n" * size
        out.write(body[:size].ljust(-(-size // 512) * 512, b"\0"))
    for name in ("a/1.png", "b/1.png"):
        info = tarfile.TarInfo(name)
        info.size = 3
        out.write(info.tobuf(tarfile.USTAR_FORMAT) + b"123".ljust(512, b"\0"))
    return out.getvalue() + bytes(1024)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
@pytest.mark.parametrize("packed", [False, True])
def test_headers_of_a_tar(cost, tmp_path, kind, packed):
    import gzip

    data = pax(100_000_000, kind)
    path = tmp_path / ("a.tar.gz" if packed else "a.tar")
    path.write_bytes(gzip.compress(data + os.urandom(2_000_000), 1) if packed else data)
    taken, said = cost("archive", path)
    assert taken < 50 and "extended header" in said, said


def test_many_small_headers_of_a_tar(cost, tmp_path):
    (tmp_path / "a.tar").write_bytes(pax(60_000, b"g", 1000))
    taken, said = cost("archive", tmp_path / "a.tar")
    assert taken < 50 and "extended header" in said


def test_maps_of_holes_in_a_tar(cost, tmp_path):
    """Numbers in the content of a sparse file, each of which became a pair of them."""
    body = b"9" * 6 + b"\n" + b"0\n" * 500_000
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a/1.png")
        info.size = len(body)
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5"}
        archive.addfile(info, io.BytesIO(body))
    taken, said = cost("archive", tmp_path / "a.tar")
    assert taken < 50 and "sparse" in said


def test_a_tar_of_nothing_but_headers(cost, tmp_path):
    import gzip

    info = tarfile.TarInfo("a")
    info.type = tarfile.SYMTYPE
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf() * 100_000 + os.urandom(600_000), 1))
    assert cost("archive", tmp_path / "a.tar.gz")[0] < 50


def test_honest_long_names_are_read(cost, tmp_path):
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
            for i in range(50):
                info = tarfile.TarInfo("long/" * 100 + f"é{i}.png")
                info.size = 3
                archive.addfile(info, io.BytesIO(b"123"))
        assert cost("archive", tmp_path / "a.tar")[1] == "read"


def test_pickles_of_other_programs_are_read_as_before(cost, tmp_path):
    """What torch writes names its memory one after another."""
    torch.save(
        {"state_dict": {f"t{i}": torch.ones(3) * i for i in range(3000)}, "epoch": 3}, tmp_path / "file.pt"
    )
    assert cost("pickled", tmp_path / "file.pt")[1] == "read"
    content = pickle.dumps({i: (i, [i]) for i in range(70_000)}, 2)
    from vlprompt.backbones.weights.pickled import check_pickle

    check_pickle(content)
