"""Zip and tar archives give what the folder gives; what is dangerous is refused."""

import multiprocessing
import os
import pickle
import stat
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from making import grid, png, tarred, zipped

from vlprompt.data import open_dataset, sources
from vlprompt.errors import DataError, PictureError

FOUND = grid(["cat", "dog"], 5)


def files():
    return {path: png(path) for path in FOUND}


@pytest.fixture(params=["zip", "deflated", "tar", "./tar", "tar.gz", "tar.bz2", "tar.xz"])
def archive(request, tmp_path):
    kind = request.param
    if kind == "zip":
        return zipped(tmp_path / "photos.zip", files())
    if kind == "deflated":
        return zipped(tmp_path / "photos.zip", files(), zipfile.ZIP_DEFLATED)
    mode = {"tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}.get(kind, "w")
    return tarred(
        tmp_path / f"photos.{kind.removeprefix('./')}", files(), mode, "./" if kind == "./tar" else ""
    )


def test_an_archive_is_the_folder(archive, make):
    folder, packed = open_dataset(make(FOUND)), open_dataset(archive)
    assert packed.name == "photos"
    assert packed.splits == folder.splits
    assert packed.class_names == folder.class_names
    assert packed.fingerprint == folder.fingerprint
    assert all(packed.read(item) == png(item.path) for item in packed.all_items)


def _first_bytes(dataset):
    return dataset.read(dataset.all_items[0])


def test_an_archive_can_be_pickled_and_read_from_threads_and_forks(archive):
    dataset = open_dataset(archive)
    expected = [png(item.path) for item in dataset.all_items]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(dataset.read, dataset.all_items * 5)) == expected * 5
    assert _first_bytes(pickle.loads(pickle.dumps(dataset))) == expected[0]
    if hasattr(os, "fork"):
        with multiprocessing.get_context("fork").Pool(2) as processes:
            assert processes.map(dataset.read, dataset.all_items * 3) == expected * 3
        assert _first_bytes(dataset) == expected[0]
    dataset.close()
    assert _first_bytes(dataset) == expected[0]  # opened again


@pytest.mark.parametrize(
    "name", ["../cat/1.png", "/etc/1.png", "cat/../../1.png", "..\\cat\\1.png", "C:\\cat\\1.png"]
)
def test_entries_that_point_outside_are_refused(tmp_path, name):
    for path in (
        zipped(tmp_path / "a.zip", {**files(), name: png(1)}),
        tarred(tmp_path / "a.tar", {name: png(1)}),
    ):
        with pytest.raises(DataError, match="points outside the archive"):
            open_dataset(path)


def test_links_are_left_out(tmp_path):
    path = tarred(tmp_path / "a.tar", files())
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("cat/passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    dataset = open_dataset(path)
    assert len(dataset.all_items) == len(FOUND)
    assert "1 left out: link" in dataset.notices
    zipped(tmp_path / "a.zip", files())
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        entry = zipfile.ZipInfo("cat/passwd.png")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    assert len(open_dataset(tmp_path / "a.zip").all_items) == len(FOUND)


def test_bombs_are_refused(tmp_path, monkeypatch):
    bomb = zipped(tmp_path / "a.zip", {**files(), "cat/b.bmp": bytes(8 * 2**20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match=r"refused, because cat/b\.bmp unpacks to 8 MB"):
        open_dataset(bomb)
    packed = tarred(tmp_path / "a.tar.gz", {"cat/b.bmp": bytes(8 * 2**20)}, "w:gz")
    with pytest.raises(DataError, match="refused, because it unpacks to more than"):
        open_dataset(packed)
    monkeypatch.setattr(sources, "LARGEST_FILE", 10)
    with pytest.raises(DataError, match="at most 0"):
        open_dataset(zipped(tmp_path / "b.zip", files()))
    monkeypatch.undo()
    monkeypatch.setattr(sources, "MOST_FILES", 3)
    with pytest.raises(DataError, match="more than 3 files"):
        open_dataset(zipped(tmp_path / "c.zip", files()))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_cut_off_archives_are_refused_or_miss_pictures(tmp_path, kind):
    whole = (
        zipped(tmp_path / "w.zip", files())
        if kind == "zip"
        else tarred(tmp_path / f"w.{kind}", files(), "w:gz" if kind == "tar.gz" else "w")
    )
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    with pytest.raises(DataError, match="not a complete"):
        open_dataset(path)


def test_damaged_entries_are_picture_errors(tmp_path):
    path = zipped(tmp_path / "a.zip", files())
    data = bytearray(path.read_bytes())
    dataset = open_dataset(path)
    item = dataset.all_items[0]
    start = data.index(dataset.read(item))
    data[start + 30 : start + 40] = bytes(10)
    path.write_bytes(data)
    dataset.close()
    with pytest.raises(PictureError, match="Bad CRC"):
        dataset.load(item)


def test_a_password_is_said(tmp_path):
    path = zipped(tmp_path / "a.zip", files())
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02") + 8  # flags in the central directory
    data[place] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="password"):
        open_dataset(path)
