"""What is left out is said; links, folders of programs, runs inside the data, HEIC, files without endings."""

import importlib.util
import io
import json
import os
import sys

import pytest
from making import grid, png, zipped
from PIL import Image

from vlprompt.cli.collection_arguments import pictures
from vlprompt.data import open_dataset, open_picture, picture_files, sources
from vlprompt.data.dataset import equal_notices
from vlprompt.errors import DataError, PictureError

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 200


@pytest.fixture
def without_heif(monkeypatch):
    monkeypatch.setattr(picture_files, "heif_is_read", lambda: False)
    for module in ("folder_layouts", "pictures"):
        monkeypatch.setattr(f"vlprompt.data.{module}.heif_is_read", lambda: False)


def both(make, tmp_path, found, more=()):
    """The folder and its archive."""
    root = make(found)
    for name, data in dict(more).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    files = {str(p.relative_to(root).as_posix()): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    return root, zipped(tmp_path / "photos.zip", files)


def test_files_that_are_not_read_are_counted_by_ending(make, tmp_path, without_heif):
    more = {f"cat/IMG_{n}.HEIC": HEIC for n in range(9)} | {"dog/a.CR2": b"x" * 99, "dog/b.mp4": b"x" * 99}
    for place in both(
        make, tmp_path, grid(["cat", "dog"]), more | {"dog/x": HEIC, "cat/notes.txt": b"hello"}
    ):
        said = " | ".join(open_dataset(place).notices)
        assert "9 .heic" in said and "1 .cr2" in said and "1 .mp4" in said and "1 HEIC (by content)" in said
        assert "vlprompt[heif]" in said and ".txt" not in said
    only = tmp_path / "only"
    (only / "cat").mkdir(parents=True)
    (only / "cat" / "1.heic").write_bytes(HEIC)
    with pytest.raises(DataError, match=r"no pictures in it that can be read: 1 .heic files; pip install"):
        open_dataset(only)
    with pytest.raises(DataError, match=r"no pictures in this folder that can be read: 1 .heic files"):
        pictures([str(only)])
    with pytest.raises(PictureError, match=r"is a HEIC picture; pip install 'vlprompt\[heif\]'"):
        open_picture(HEIC)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_without_an_ending_are_told_by_content(make, tmp_path, format):
    more = {f"dog/x{n}": png(f"x{n}", format=format) for n in range(5)}
    more |= {"dog/1.jpg_large": png("y", format=format), "dog/README": b"no picture at all, only words"}
    for place in both(make, tmp_path, grid(["cat", "dog"]), more):
        dataset = open_dataset(place)
        assert len(dataset.all_items) == 14
        assert any(
            "6 files without a picture's ending are pictures by content" in text for text in dataset.notices
        )
        assert all(dataset.load(item).mode == "RGB" for item in dataset.all_items)


@pytest.mark.parametrize(
    "folder", ["@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "@__thumb", "lost+found"]
)
def test_folders_of_storage_and_programs(make, tmp_path, folder):
    found = [
        *grid(["cat", "dog"], 6),
        f"{folder}/1.png",
        f"cat/{folder}/00.png/THUMB.png",
        f"dog/{folder}/2.png",
    ]
    for place in both(
        make, tmp_path, found, {"cat/Thumbs.db": b"x", "dog/~$x.png": b"x", "cat/._1.png": b"x"}
    ):
        dataset = open_dataset(place)
        assert dataset.class_names == ("cat", "dog") and len(dataset.all_items) == 12
        assert any(
            f"left out: in {folder}/, which a system or program writes" in text for text in dataset.notices
        )


@pytest.mark.parametrize("name", ["run.json", "predict.json"])
def test_runs_inside_the_data_are_no_class(make, tmp_path, name):
    more = {f"runs/photos/{name}": b"{}", "runs/photos/predictions.csv": b"path,label\ncat/00.png,dog\n"}
    found = [*grid(["cat", "dog"], 6), "runs/photos/report-figures/confusion.png"]
    for place in both(make, tmp_path, found, more):
        dataset = open_dataset(place)
        assert dataset.class_names == ("cat", "dog") and len(dataset.all_items) == 12
        assert any(
            "1 pictures in folders of runs left out (runs/photos/)" in text for text in dataset.notices
        )
        assert not any("folders without pictures" in text for text in dataset.notices)


# -- links -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="links need leave elsewhere")
def test_a_folder_linked_twice_counts_twice(make, tmp_path):
    root = make([*grid(["cat"], 4), *grid(["dog"], 4)])
    store = make(grid(["all"], 4), "store")
    (root / "bird").symlink_to(store / "all")
    (root / "more").mkdir()
    (root / "more" / "again").symlink_to(store / "all")
    (root / "cat" / "loop").symlink_to(root)
    (root / "cat" / "self").symlink_to(root / "cat")
    dataset = open_dataset(root)
    assert dataset.class_names == ("bird", "cat", "dog", "more") and len(dataset.all_items) == 16
    assert "2 left out: link that leads in a circle" in dataset.notices
    assert any("the same picture lies in two classes, 4 times" in text for text in equal_notices(dataset))
    assert sorted(pictures([str(root)])) == sorted(str(root / item.path) for item in dataset.all_items)


@pytest.mark.skipif(os.name != "posix", reason="links need leave elsewhere")
def test_links_that_lead_to_the_same_folders_again_and_again_end(make, monkeypatch):
    root = make(grid(["cat", "dog"], 1))
    monkeypatch.setattr(sources, "MOST_FOLDERS", 500)
    for level in range(20):
        (root / f"d{level}").mkdir()
        for twin in "ab":
            (root / f"d{level}" / twin).symlink_to(root / f"d{level + 1}")
    (root / "d20").mkdir()
    with pytest.raises(DataError, match="more than .* files"):
        open_dataset(root)


def test_predict_lists_a_folder_as_fit_does(make, tmp_path):
    more = {
        "cat/x": png("x"),
        "cat/@eaDir/t.png": png("t"),
        "cat/.hidden.png": png("h"),
        "runs/a/run.json": b"{}",
    }
    root, _ = both(make, tmp_path, [*grid(["cat", "dog"]), "runs/a/report-figures/f.png"], more)
    dataset = open_dataset(root)
    assert sorted(pictures([str(root)])) == sorted(str(root / item.path) for item in dataset.all_items)
    assert f"{root / 'cat' / 'x'}" in pictures([str(root)])


# -- the same picture under two labels -------------------------------------------------------------------------


def test_the_same_picture_in_two_classes_is_said(make):
    root = make(grid(["cat", "dog"], 4))
    (root / "dog" / "copy.png").write_bytes((root / "cat" / "00.png").read_bytes())
    said = equal_notices(open_dataset(root, val_fraction=0, test_fraction=0))
    assert said == [
        "the same picture lies in two classes, 1 times (cat: cat/00.png = dog: dog/copy.png); only one can be right"
    ]
    for name in ("cat", "dog"):
        (root / name / "empty.png").write_bytes(b"")
    assert equal_notices(open_dataset(root, val_fraction=0, test_fraction=0)) == said


# -- files of class names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "0\tcat\n1\tdog\n"),
        ("classes.txt", "cat\ndog\n"),
        ("classes.txt", "0 cat\n1 dog\n"),
        ("classes.csv", "id;name\n0;cat\n1;dog\n"),
        ("classes.json", json.dumps({"0": "cat", "1": "dog"})),
        ("class_names.json", json.dumps(["cat", "dog"])),
        ("labels.txt", "cat\ndog\n"),
        ("class_to_name.json", json.dumps({"cat": 0, "dog": 1})),
        ("names.txt", "0,cat\n1,dog\n2,bird\n"),
    ],
)
def test_names_of_classes_beside_a_list_and_in_a_folder(make, name, text):
    root = make([f"pics/{n}.png" for n in range(8)])
    (root / name).write_text(text)
    rows = "".join(f"pics/{n}.png,{n % 2}\n" for n in range(8))
    (root / "num.csv").write_text("path,label\n" + rows)
    for dataset in (open_dataset(root / "num.csv"), open_dataset(root)):
        assert dataset.class_names == ("cat", "dog")
        assert f"class names taken from {name}" in dataset.notices


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "0 cat\n1 dog\n2 big bird\n"),
        ("class_indices.json", json.dumps({"cat": 0, "dog": 1, "big bird": 2})),
    ],
)
def test_names_of_folders_that_are_called_like_pictures(make, name, text):
    root = make(grid(["0", "1", "2"]))
    (root / name).write_text(text)
    dataset = open_dataset(root)
    assert dataset.class_names == ("cat", "dog", "big bird")
    assert f"class names taken from {name}" in dataset.notices


def test_names_of_more_classes_than_there_are(make):
    root = make([f"{n}/{k}.png" for n in (0, 3, 7) for k in range(4)])
    (root / "classes.txt").write_text("".join(f"name {n}\n" for n in range(10)))
    assert open_dataset(root).class_names == ("name 0", "name 3", "name 7")


def test_other_texts_are_no_class_names(make):
    root = make(grid(["cat", "dog"]))
    (root / "labels.txt").write_text("a\nb\n")
    (root / "names.json").write_text('{"x": {"y": 1}}')
    assert open_dataset(root).class_names == ("cat", "dog")


# -- inside picture files --------------------------------------------------------------------------------------


def turned(size=(8, 4)):
    image = Image.new("RGB", size, "red")
    image.paste("blue", (0, 0, size[0] // 2, size[1]))
    return image


def exif(orientation):
    held = Image.Exif()
    held[0x0112] = orientation
    return held.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_as_they_were_seen(orientation):
    from PIL import ImageOps

    for format in ("JPEG", "PNG", "WEBP", "TIFF"):
        out = io.BytesIO()
        turned().save(out, format, exif=exif(orientation))
        want = ImageOps.exif_transpose(Image.open(io.BytesIO(out.getvalue()))).convert("RGB")
        assert open_picture(out.getvalue()).tobytes() == want.tobytes()
        if format != "TIFF":  # which Pillow turns by itself
            assert open_picture(out.getvalue(), turn=False).size == (8, 4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tag", [0x011A, 0x8825, 0x8769, 0x010F, 0x0201])
@pytest.mark.parametrize("kind", [1, 2, 5, 10, 13])
def test_other_tags_may_be_damaged(order, tag, kind):
    import struct

    mark = b"II*\0" if order == "<" else b"MM\0*"
    tags = sorted(
        [
            (0x0112, 3, 1, struct.pack(order + "HH", 6, 0)),
            (tag, kind, 0x7FFFFFF0, struct.pack(order + "I", 0xFFFFFF00)),
        ]
    )
    body = b"".join(struct.pack(order + "HHI", t, k, c) + v for t, k, c, v in tags)
    data = b"Exif\0\0" + mark + struct.pack(order + "IH", 8, len(tags)) + body + b"\0\0\0\0"
    out = io.BytesIO()
    turned().save(out, "JPEG", exif=data)
    assert open_picture(out.getvalue()).size == (4, 8)


@pytest.mark.parametrize("kind", ["zTXt", "iCCP", "tEXt", "prIv"])
def test_side_data_of_any_size_is_skipped(kind):
    import struct
    import zlib

    out = io.BytesIO()
    turned().save(out, "PNG", exif=exif(6))
    whole = out.getvalue()
    packed = zlib.compress(b"a" * 5_000_000)
    body = {
        "zTXt": b"note\0\0" + packed,
        "iCCP": b"icc\0\0" + packed,
        "tEXt": b"note\0" + b"a" * 70_000_00,
    }.get(kind, packed)
    chunk = (
        struct.pack(">I", len(body))
        + kind.encode()
        + body
        + struct.pack(">I", zlib.crc32(kind.encode() + body))
    )
    after = 8 + 25  # the head
    assert open_picture(whole[:after] + chunk + whole[after:]).tobytes() == open_picture(whole).tobytes()
    assert open_picture(whole).size == (4, 8)


def test_a_thin_strip_takes_no_gigabytes():
    import numpy as np

    from vlprompt.backbones.preprocessing import Preprocessing

    values = (np.arange(3000) % 256).astype(np.uint8)
    strip = Image.fromarray(np.stack([values] * 3, axis=-1)[None])
    for image in (strip, strip.transpose(Image.Transpose.ROTATE_90)):
        crop = Preprocessing(size=64).crop(image)
        assert crop.size == (64, 64)
        assert abs(int(np.asarray(crop).mean()) - int(values[1500])) < 3
    assert Preprocessing(size=64).crop(Image.new("RGB", (1, 1_000_000))).size == (64, 64)
    small = Image.fromarray(np.random.default_rng(1).integers(0, 256, (4, 60, 3), np.uint8))
    scaled = small.resize((64 * 60 // 4, 64), Image.Resampling.BICUBIC)
    left = round((scaled.width - 64) / 2)
    assert Preprocessing(size=64).crop(small).tobytes() == scaled.crop((left, 0, left + 64, 64)).tobytes()


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
def test_heic_is_read_where_it_can_be(make):
    import pillow_heif

    pillow_heif.register_heif_opener()
    root = make(grid(["cat", "dog"]))
    out = io.BytesIO()
    turned((64, 32)).save(out, "HEIF", exif=exif(6))
    (root / "cat" / "IMG_1.HEIC").write_bytes(out.getvalue())
    (root / "dog" / "mislabelled.jpg").write_bytes(out.getvalue())
    dataset = open_dataset(root)
    assert len(dataset.all_items) == 10
    assert open_picture(out.getvalue()).size == (32, 64)
    assert all(dataset.load(item).mode == "RGB" for item in dataset.all_items)
    assert sys.modules["pillow_heif"] is pillow_heif
