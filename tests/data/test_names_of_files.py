"""File names in Unicode's two forms, and names in zip archives of other encodings."""

import struct
import sys
import unicodedata
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import grid, png, tarred, zipped

from vlprompt.data import from_pictures, open_dataset
from vlprompt.data.naming import class_names, composed, read_classes
from vlprompt.data.zip_names import read_names
from vlprompt.errors import DataError

NFC, NFD = "Äpfel", unicodedata.normalize("NFD", "Äpfel")


def test_both_forms_are_one_class(make):
    dataset = open_dataset(make([f"{NFD}/1.png", f"{NFC}/2.png", f"{NFC}/3.png", *grid(["Möhren"], 3)]))
    assert dataset.class_names == ("Möhren", "Äpfel")
    assert sum(item.label == 1 for item in dataset.all_items) == 3
    assert all(dataset.load(item).mode == "RGB" for item in dataset.all_items)


@pytest.mark.parametrize(("disk", "told"), [(NFC, NFD), (NFD, NFC)])
def test_lists_and_names_in_the_other_form(make, disk, told):
    root = make([f"{disk}/{n}.png" for n in range(4)] + grid(["pear"]))
    names = {told: "apple"}
    assert open_dataset(root, classes=names).class_names == ("pear", "apple")
    (root / "classes.txt").write_text(f"{told}\tapple\npear\tgreen pear\n", encoding="utf-8")
    assert open_dataset(root).class_names == ("green pear", "apple")
    (root / "classes.txt").unlink()
    rows = "".join(f"{told}/{n}.png,{told}\n" for n in range(4)) + "pear/00.png,pear\npear/01.png,pear\n"
    (root / "labels.csv").write_text("path,label\n" + rows, encoding="utf-8")
    for dataset in (open_dataset(root), open_dataset(root, labels="labels.csv")):
        assert dataset.class_names == ("pear", NFC) and len(dataset.all_items) == 6
    (root / f"{disk}.csv").write_text("path,label\n" + rows, encoding="utf-8")
    assert len(open_dataset(root, labels=f"{told}.csv").all_items) == 6


def test_domains_in_the_other_form(make):
    root = make([f"{d}/{c}/{n}.png" for d in (NFD, "photo") for c in ("cat", "dog") for n in range(4)])
    assert open_dataset(root, domains=NFC).domains == (NFC,)
    assert open_dataset(root, domains=[NFD]).domains == (NFC,)


def test_names_that_are_given_are_composed():
    assert class_names(["0", "1"], [NFD, "pear"]) == (NFC, "pear")
    assert read_classes(f"{NFD}\nb\n".encode(), ["x", "y"], "classes.txt") == [NFC, "b"]
    with pytest.raises(DataError, match="would both be called"):
        class_names(["0", "1"], [NFD, NFC])
    dataset = from_pictures([png(1), png(2)], [NFD, "pear"], classes=[NFC, "pear"])
    assert dataset.class_names == (NFC, "pear")


@settings(deadline=None)
@given(st.text())
def test_composing_twice_changes_nothing(text):
    assert composed(composed(text)) == composed(text) == composed(unicodedata.normalize("NFD", text))


# -- zip -------------------------------------------------------------------------------------------------------


class Unmarked(zipfile.ZipInfo):
    """An entry whose name is written as it is, without the mark of UTF-8."""

    def _encodeFilenameFlags(self):
        return self.raw, self.flag_bits & ~0x800


def raw_zip(path, names, encoding, count=2, extra=False):
    """A zip whose names are not marked as UTF-8."""
    with zipfile.ZipFile(path, "w") as archive:
        for at, name in enumerate(f"{name}/{n}.png" for name in names for n in range(count)):
            info = Unmarked(f"{at}.png")
            info.raw = name.encode(encoding)
            if extra:
                told = name.encode()
                info.extra = struct.pack("<HHBI", 0x7075, 5 + len(told), 1, 0) + told
            archive.writestr(info, png(name))
    return path


@pytest.mark.parametrize(
    ("names", "encoding"),
    [
        (["Äpfel", "Möhren"], "utf-8"),
        ([unicodedata.normalize("NFD", n) for n in ("Äpfel", "Möhren")], "utf-8"),
        (["苹果", "香蕉"], "utf-8"),
        (["苹果", "香蕉", "西瓜"], "gbk"),
        (["りんご", "バナナ", "すいか"], "cp932"),
        (["사과", "바나나"], "cp949"),
        (["蘋果", "香蕉", "西瓜"], "big5"),
        (["яблоко", "груша"], "cp866"),
        (["Яблоко", "Груша"], "cp1251"),
        (["яблоко", "груша"], "cp1251"),
        (["ГРУША", "ЯБЛОКО"], "cp1251"),
        (["μήλο", "αχλάδι"], "cp737"),
        (["μήλο", "αχλάδι"], "cp1253"),
        (["jabłko", "gruszka", "śliwka"], "cp1250"),
        (["růže", "třešně"], "cp852"),
        (["Æbler", "Pærer", "Grøntsager"], "cp850"),
        (["Äpfel", "Möhren", "Birnen"], "cp437"),
        (["Äpfel", "Möhren", "Süßkirschen"], "cp1252"),
    ],
)
def test_names_of_zip_archives(tmp_path, names, encoding):
    with open_dataset(raw_zip(tmp_path / "photos.zip", names, encoding, count=4)) as dataset:
        assert sorted(dataset.class_names) == sorted(map(composed, names))
        assert all(dataset.read(item) for item in dataset.all_items)
        said = [text for text in dataset.notices if "encoding of its names" in text]
        assert bool(said) == (encoding != "utf-8")
        assert all(any(name in text for name in names) for text in said)


def test_the_unicode_path_field(tmp_path):
    path = raw_zip(tmp_path / "photos.zip", ["Äpfel", "Möhren"], "cp437", extra=True)
    with open_dataset(path) as dataset:
        assert dataset.class_names == ("Möhren", "Äpfel")
        assert not any("encoding of its names" in text for text in dataset.notices)


def test_marked_names_and_tar_are_as_they_say(tmp_path):
    files = {f"{name}/{n}.png": png(f"{name}{n}") for name in (NFD, "Möhren") for n in range(3)}
    for path in (zipped(tmp_path / "a.zip", files), tarred(tmp_path / "a.tar", files)):
        with open_dataset(path) as dataset:
            assert dataset.class_names == ("Möhren", NFC)
            assert all(dataset.read(item) == files[item.path] for item in dataset.all_items)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5))
def test_any_bytes_are_some_name(raws):
    infos = []
    for raw in raws:
        info = zipfile.ZipInfo("x")
        info.filename = info.orig_filename = raw.decode("cp437")
        infos.append(info)
    names, said = read_names(infos)
    assert (len(names) == len(raws) and "\n" not in said.replace("\\n", "")) or sys.platform == "win32"
