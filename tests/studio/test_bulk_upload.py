"""Classes from archives, from folders that were permitted, and from the package."""

from __future__ import annotations

import zipfile

import pytest
from conftest import png
from small_data import picture_folder

from vlprompt.errors import DataError
from vlprompt.studio.bulk_upload import EXAMPLES, bring_archive, bring_examples, bring_folder
from vlprompt.studio.limits import Limits


def counts(session):
    return {shown.name: len(shown.pictures) for shown in session.classes}


def test_examples(studio):
    session = studio.session("a")
    assert bring_examples(session) == []
    assert counts(session) == dict.fromkeys(EXAMPLES, 12)


def test_an_archive(studio, tmp_path):
    folder = picture_folder(tmp_path / "pictures", {"train": 2}, classes=3)
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder / "train"))
        archive.writestr("red cat/broken.png", b"nothing")
    session = studio.session("a")
    session.add_class("green dog")
    said = bring_archive(session, path)
    assert counts(session)["green dog"] == 2 and sum(counts(session).values()) == 6
    assert any("broken.png" in text for text in said)


def test_an_archive_that_points_outside(studio, tmp_path):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../cat/a.png", png("red cat", 0))
        archive.writestr("dog/a.png", png("green dog", 0))
    with pytest.raises(DataError, match="outside"):
        bring_archive(studio.session("a"), path)


class TestFolders:
    @pytest.fixture
    def pictures(self, tmp_path):
        return picture_folder(tmp_path / "mine" / "pictures", {"train": 2}, classes=2)

    def test_permitted(self, studio, pictures):
        session = studio.session("a")
        bring_folder(session, str(pictures), [pictures.parent])
        assert sum(counts(session).values()) == 4

    def test_closed_at_first(self, studio, pictures):
        with pytest.raises(DataError, match="--allow-folder"):
            bring_folder(studio.session("a"), str(pictures), studio.allowed)

    def test_elsewhere(self, studio, pictures, tmp_path):
        (pictures.parent / "link").symlink_to(tmp_path)
        session = studio.session("a")
        for path in ("/etc", str(tmp_path), str(pictures / ".." / ".."), str(pictures.parent / "link")):
            with pytest.raises(DataError, match="only folders below"):
                bring_folder(session, path, [pictures.parent])
        with pytest.raises(DataError, match="no such folder"):
            bring_folder(session, str(pictures / "none"), [pictures.parent])

    def test_links_and_lists_that_lead_out(self, studio, pictures, tmp_path):
        secret = tmp_path / "secret.png"
        secret.write_bytes(png("red cat", 77))
        (pictures / "train" / "blue sea" / "secret.png").symlink_to(secret)
        session = studio.session("a")
        said = bring_folder(session, str(pictures), [pictures])
        assert sum(counts(session).values()) == 4
        assert any("secret.png" in text and "outside" in text for text in said)


class TestLargePictures:
    @pytest.fixture
    def limits(self):
        return Limits(picture_bytes=100)

    def test_are_left_out_before_they_are_read(self, studio, tmp_path):
        folder = picture_folder(tmp_path / "pictures", {"train": 1}, classes=2)
        session = studio.session("a")
        said = bring_folder(session, str(folder), [tmp_path])
        assert sum(counts(session).values()) == 0 and sum("larger than" in text for text in said) == 2
