import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import grid

from vlprompt.data import open_dataset
from vlprompt.data.naming import class_names, prettified, prettify, read_classes, read_names, sorted_keys
from vlprompt.errors import DataError


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("golden_retriever", "golden retriever"),
        ("AnnualCrop", "Annual Crop"),
        ("HerbaceousVegetation", "Herbaceous Vegetation"),
        ("SeaLake", "Sea Lake"),
        ("Forest", "Forest"),
        ("hard-leaved pocket orchid", "hard-leaved pocket orchid"),
        ("McDonalds", "McDonalds"),
        ("iPhone", "iPhone"),
        ("BMW", "BMW"),
        ("USATruck", "USATruck"),
        ("7-eleven", "7-eleven"),
        ("  two   spaces_ ", "two spaces"),
        ("Müller_Straße", "Müller Straße"),
        ("猫", "猫"),
    ],
)
def test_one_name(key, name):
    assert prettify(key) == name


def test_a_prefix_goes_only_when_all_classes_have_one():
    assert prettified(["001.Black_footed_Albatross", "002.Laysan"]) == ["Black footed Albatross", "Laysan"]
    assert prettified(["n02085620-Chihuahua", "n02085782-Japanese_spaniel"]) == [
        "Chihuahua",
        "Japanese spaniel",
    ]
    assert prettified(["3-ring_binder", "pen"]) == ["3-ring binder", "pen"]
    assert prettified(["1.cat", "2.cat"]) == ["1.cat", "2.cat"]
    assert prettified(["1", "2"]) == ["1", "2"]


def test_numbers_are_sorted_by_value():
    assert sorted_keys(["10", "9", "1"]) == ["1", "9", "10"]
    assert sorted_keys(["b", "10", "9"]) == ["10", "9", "b"]


@settings(deadline=None)
@given(
    st.lists(
        st.text(st.characters(categories=("L", "Nd"), include_characters=" _-."), min_size=1),
        min_size=1,
        unique=True,
    )
)
def test_names_are_never_empty_and_prettifying_twice_changes_nothing(keys):
    names = prettified(keys)
    assert len(names) == len(keys) and all(names)
    assert all(prettify(prettify(key)) == prettify(key) for key in keys)


def test_names_from_mappings_lists_and_files(tmp_path):
    keys = ["n1", "n2", "n3"]
    assert class_names(keys, {"n2": "grey  cat"}) == ("n1", "grey cat", "n3")
    assert class_names(keys, ["a", "b", "c"]) == ("a", "b", "c")
    for text in (
        "a\nb\nc\n",
        "# names\n\na\r\nb\r\nc",
        "n1\ta\nn2\tb\nn3\tc\nn9\tz",
        "folder,name\nn3,c\nn2,b\nn1,a",
    ):
        (tmp_path / "classes.txt").write_text(text)
        assert class_names(keys, tmp_path / "classes.txt") == ("a", "b", "c")
    (tmp_path / "classes.txt").write_text("cat, big\ndog, small\nbird, any")
    assert class_names(keys, str(tmp_path / "classes.txt")) == ("cat, big", "dog, small", "bird, any")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"n4": "x"}, 'no class "n4"; did you mean'),
        (["a"], "1 names for 3 classes"),
        (["a", "b", " "], "empty name"),
        (["a", "b", "A"], "would both be called"),
        ("missing.txt", "cannot be read"),
    ],
)
def test_wrong_names_are_refused(classes, message):
    with pytest.raises(DataError, match=message):
        class_names(["n1", "n2", "n3"], classes)


def test_a_classes_file_in_the_data_set_is_used(make):
    root = make(grid(["n1", "n2"]))
    (root / "classes.txt").write_text("cat\ndog\n")
    dataset = open_dataset(root)
    assert dataset.class_names == ("cat", "dog")
    assert "class names taken from classes.txt" in dataset.notices
    assert open_dataset(root, classes=["x", "y"]).class_names == ("x", "y")
    (root / "classes.txt").write_text("cat\n")
    with pytest.raises(DataError, match="1 lines for 2 classes"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sea lake\nrice field\n", ("sea lake", "rice field")),
        ("7 up\n101 dalmatians\n", ("7 up", "101 dalmatians")),
        (
            "tench, Tinca tinca\ngoldfish, Carassius auratus\n",
            ("tench, Tinca tinca", "goldfish, Carassius auratus"),
        ),
        ("# a remark\n\ncat\r\ndog", ("cat", "dog")),
        ("1\tsea lake\n0\trice field\n", ("rice field", "sea lake")),
        ("10\tc\n9\tb\n", ("b", "c")),
        ("label\tname\n0\tsea lake\n1\trice field\n", ("sea lake", "rice field")),
        ('label,name\n0,sea lake\n1,"tench, Tinca tinca"\n', ("sea lake", "tench, Tinca tinca")),
        ("Faces\tface\ncar_side\tcar side\n", ("face", "car side")),
        (
            "n01440764 tench\nn01443537 goldfish\nn01484850 great white shark\n",
            ("tench", "goldfish", "great white shark"),
        ),
        ("n01443537\tgoldfish\nn01440764\ttench\n", ("tench", "goldfish")),
    ],
)
def test_names_from_a_file_alone(text, names):
    assert read_names(text.encode(), "names.txt") == names


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("K\xe4fer\n".encode("latin-1"), "is not UTF-8 text .*at byte 1.* save it as UTF-8"),
        (b"cat\0dog", "is not UTF-8 text"),
        (b'["cat", "dog"]', "looks like JSON; write one name a line"),
        (b"0\tcat\n0\tdog\n", "no key twice"),
        (b"0,tench, Tinca tinca\n1,goldfish\n", "names with commas in quotes"),
        (b"Faces\tface\ncar side\n", "a key and a name on every line"),
        (b"# nothing\n", "no class names in it"),
    ],
)
def test_files_of_names_that_cannot_be_told(data, message):
    with pytest.raises(DataError, match=f"names.txt: .*{message}"):
        read_names(data, "names.txt")


def test_classes_files_of_wordnet_ids_and_spaces_and_of_other_encodings():
    keys = ["n01440764", "n01443537"]
    assert read_classes(b"n01440764 tench\nn01443537 gold fish\n", keys, "classes.txt") == dict(
        zip(keys, ("tench", "gold fish"), strict=True)
    )
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        assert read_classes("cat\ndog\n".encode(encoding), ["a", "b"], "classes.txt") == ["cat", "dog"]
    with pytest.raises(DataError, match="classes.txt: is not UTF-8"):
        read_classes(b"K\xe4fer\n", ["a"], "classes.txt")
