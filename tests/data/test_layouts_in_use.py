"""Layouts of well-known collections, as they are unpacked."""

import pytest
from making import grid, png

from vlprompt.data import open_dataset
from vlprompt.errors import DataError


@pytest.fixture
def lay_out(tmp_path):
    """Writes pictures and texts below a folder."""

    def write(pictures, texts=None, name="set"):
        root = tmp_path / name
        for path, data in [*((path, png(path)) for path in pictures), *(texts or {}).items()]:
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data if isinstance(data, bytes) else data.encode())
        return root

    return write


def counts(dataset):
    return {split: len(items) for split, items in dataset.splits.items()}


def lines(rows, header=""):
    return header + "".join(f"{row}\n" for row in rows)


def test_birds_with_numbered_names(lay_out):
    found = [
        f"images/{c}/{c}_{n}.jpg"
        for c in ("001.Black_footed_Albatross", "002.Laysan_Albatross")
        for n in range(4)
    ]
    texts = {
        "images.txt": lines(f"{n + 1} {path[7:]}" for n, path in enumerate(found)),
        "image_class_labels.txt": lines(f"{n + 1} {1 + n // 4}" for n in range(8)),
        "classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
    }
    dataset = open_dataset(lay_out(found, texts))
    assert dataset.class_names == ("Black footed Albatross", "Laysan Albatross")


def test_pets_with_columns_of_spaces(lay_out):
    found = [f"images/{c}_{n}.jpg" for c in ("Abyssinian", "beagle", "Bengal") for n in range(6)]
    rows = [f"{path[7:-4]} {1 + n // 6} {1 + n // 6 % 2} {1 + n // 12}" for n, path in enumerate(found)]
    texts = {
        "annotations/trainval.txt": "# Image CLASS-ID SPECIES\n" + lines(rows[1::2]),
        "annotations/test.txt": lines(rows[::2]),
    }
    dataset = open_dataset(lay_out(found, texts))
    assert dataset.class_keys == ("1", "2", "3") and counts(dataset) == {"train": 9, "test": 9}


def test_skin_with_one_hot_labels_and_other_facts(lay_out):
    found = [f"ISIC_Training_Input/ISIC_{n:07d}.jpg" for n in range(8)]
    hot = [f"ISIC_{n:07d},{n % 2}.0,{1 - n % 2}.0,0.0" for n in range(8)]
    facts = [f"ISIC_{n:07d},{50 + n % 3 * 5}.0,head,{'male' if n % 3 else 'female'}" for n in range(8)]
    texts = {
        "ISIC_Training_GroundTruth.csv": lines(hot, "image,MEL,NV,UNK\n"),
        "ISIC_Training_Metadata.csv": lines(facts, "image,age_approx,site,sex\n"),
    }
    dataset = open_dataset(lay_out(found, texts))
    assert dataset.class_names == ("MEL", "NV")
    assert any("ISIC_Training_Metadata.csv is not used" in text for text in dataset.notices)


def test_folders_that_are_parts_are_no_classes(lay_out):
    found = [f"HAM_images_part_{1 + n % 2}/ISIC_{n:07d}.jpg" for n in range(12)]
    rows = [f"HAM_{n // 2},ISIC_{n:07d},{'bkl' if n % 3 else 'nv'},histo,{n % 5},male" for n in range(12)]
    header = "lesion_id,image_id,dx,dx_type,number,sex\n"
    dataset = open_dataset(lay_out(found, {"HAM_metadata.csv": lines(rows, header)}))
    assert dataset.class_names == ("bkl", "nv") and len(dataset.all_items) == 12
    with pytest.raises(DataError, match="part_1 and HAM_images_part_2 are parts of one set by their names"):
        open_dataset(lay_out(found, name="bare"))
    assert len(open_dataset(lay_out(grid(["type 1", "type 2", "type 10"], 3), name="types")).class_names) == 3


def test_signs_with_a_list_for_each_split(lay_out):
    found = [f"Train/{c}/{c}_{n}.png" for c in range(3) for n in range(4)]
    more = [f"Test/{n:05d}.png" for n in range(5)] + [f"Meta/{c}.png" for c in range(3)]
    header = "Width,Height,Roi.X1,ClassId,Path\n"
    texts = {
        "Train.csv": lines([f"27,26,5,{path.split('/')[1]},{path}" for path in found], header),
        "Test.csv": lines([f"53,54,6,{n % 3},Test/{n:05d}.png" for n in range(5)], header),
        "Meta.csv": lines([f"Meta/{c}.png,{c},0" for c in range(3)], "Path,ClassId,ShapeId\n"),
    }
    dataset = open_dataset(lay_out([*found, *more], texts))
    assert dataset.class_keys == ("0", "1", "2") and counts(dataset) == {"train": 12, "test": 5}


def test_class_folders_to_train_and_a_list_of_flat_pictures_to_validate(lay_out):
    words = ("n01443537", "n01629819")
    found = [f"train/{w}/images/{w}_{n}.JPEG" for w in words for n in range(4)]
    flat = [f"val/images/val_{n}.JPEG" for n in range(4)] + ["test/images/test_0.JPEG"]
    texts = {
        "wnids.txt": lines(words),
        "words.txt": lines([f"{w}\tname {w[1:]}, or so" for w in words]),
        "val/val_annotations.txt": lines([f"val_{n}.JPEG\t{words[n % 2]}\t0\t3\t4\t6" for n in range(4)]),
    } | {f"train/{w}/{w}_boxes.txt": f"{w}_0.JPEG\t0\t1\t2\t3\n" for w in words}
    dataset = open_dataset(lay_out([*found, *flat], texts))
    assert dataset.class_keys == words and counts(dataset) == {"train": 8, "test": 4}
    assert "train: a folder for each class" in dataset.understood
    assert any("names the classes and is not used (--classes words.txt" in text for text in dataset.notices)
    assert any("the classes are codes" in text for text in dataset.notices)


@pytest.mark.parametrize("train", ["train/", ""])
def test_a_list_of_a_flat_test_folder_beside_class_folders(lay_out, train):
    root = lay_out(
        grid(["cat", "dog"], prefix=train) + [f"test/{n}.png" for n in range(4)],
        {
            "test_labels.csv": lines(
                [f"{n}.png,{'cat dog'.split()[n % 2]}" for n in range(4)], "image,label\n"
            )
        },
    )
    dataset = open_dataset(root)
    assert dataset.class_names == ("cat", "dog") and counts(dataset) == {"train": 8, "test": 4}


def test_a_list_that_could_be_read_by_no_program_of_ours_is_named(lay_out):
    root = lay_out(["jpg/1.jpg", "jpg/2.jpg"], {"imagelabels.mat": b"MATLAB 5.0 MAT-file"})
    with pytest.raises(DataError, match=r"imagelabels.mat is not used: lists are read as CSV, JSON or text"):
        open_dataset(root)


def test_attributes_are_no_classes(lay_out):
    rows = [f"{n:06d}.jpg,{n % 2 * 2 - 1},{1 - n % 3 // 2 * 2}" for n in range(8)]
    texts = {"list_attr.csv": lines(rows, "image_id,Bald,Smiling\n")}
    with pytest.raises(
        DataError, match="only one class.*list_attr.csv is not used: which column.*Bald, Smiling"
    ):
        open_dataset(lay_out([f"img_align/{n:06d}.jpg" for n in range(8)], texts))


def test_numbers_of_pictures(lay_out):
    texts = {"labels.csv": lines([f"{n},{'ab'[n % 2]}" for n in range(8)], "id,name\n")}
    dataset = open_dataset(lay_out([f"jpg/image_{n:05d}.jpg" for n in range(8)], texts))
    assert dataset.class_names == ("a", "b") and "by number" in dataset.understood


def test_templates_beside_class_folders(lay_out):
    found = grid(["cat", "dog"], 4)
    texts = {
        "metadata.csv": lines(
            [f"{path},a {'photo' if '0' in path[-5] else 'picture'} of a {path[:3]}" for path in found],
            "file_name,text\n",
        )
    }
    dataset = open_dataset(lay_out(found, texts))
    assert dataset.class_names == ("cat", "dog")
    assert any("text (texts by its name); the folders are used" in text for text in dataset.notices)


def test_a_labels_file_that_names_the_folders(lay_out):
    dataset = open_dataset(
        lay_out(grid(["cat", "dog"]), {"labels.csv": "folder,name\ncat,Katze\ndog,Hund\n"})
    )
    assert dataset.class_names == ("Katze", "Hund")


def test_a_workbook_is_named(lay_out, tmp_path):
    import zipfile

    root = lay_out(grid(["cat", "dog"]))
    with zipfile.ZipFile(root / "list.xlsx", "w") as book:
        book.writestr("xl/workbook.xml", "<x/>")
    with pytest.raises(DataError, match="is a workbook; save the sheet with the list as CSV"):
        open_dataset(root / "list.xlsx")


def test_lists_of_words_and_numbers(lay_out):
    texts = {
        "train.txt": lines(f"imgs/{n}.jpg {n % 2}" for n in range(5)),
        "val.txt": lines(f"imgs/{n}.jpg {n % 2}" for n in range(5, 8)),
        "synset_words.txt": "n01 tench, Tinca\nn02 goldfish\n",
    }
    dataset = open_dataset(lay_out([f"imgs/{n}.jpg" for n in range(8)], texts))
    assert dataset.class_keys == ("0", "1") and counts(dataset) == {"train": 5, "test": 3}
