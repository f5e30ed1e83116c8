"""The benchmark data sets of prompt-learning papers, one row each: where their parts lie, and what is in them.

Folders and split files are those of CoOp's data instructions (Zhou et al., IJCV 2022; the same for CoCoOp,
MaPLe and what followed), so data prepared for these work as they are:

    DIR/caltech-101/101_ObjectCategories/..., DIR/caltech-101/split_zhou_Caltech101.json
    open_catalog("caltech101", DIR)

Counts are those of the papers' splits. Templates are the hand-written ones of CoOp's zero-shot runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vlprompt.errors import DataError, nearest

Reader = Literal["split", "aircraft", "imagenet", "test folders"]


@dataclass(frozen=True)
class Part:
    """A folder (name ends in `/`) or file of a data set, and where it comes from. others: names in mirrors."""

    path: str
    source: str
    others: tuple[str, ...] = ()
    needed: bool = True

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path, *self.others)


@dataclass(frozen=True)
class Entry:
    """One data set.

    folder: below the root of all data sets; others: names that it has in mirrors. pictures: its folder of
    pictures. split: the papers' split file. parts: further files. lists: files of the official split, as
    (split, path), for want of the papers'. train, val, test: pictures in the papers' split, None for none.
    renamed: class names that differ from the folders'. left_out: class folders that are not used.
    """

    name: str
    title: str
    folder: str
    template: str
    classes: int
    train: int | None
    val: int | None
    test: int
    pictures: Part
    split: Part | None = None
    parts: tuple[Part, ...] = ()
    others: tuple[str, ...] = ()
    reader: Reader = "split"
    lists: tuple[tuple[str, str], ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Pictures of each split that papers use."""
        known = {"train": self.train, "val": self.val, "test": self.test}
        return {name: count for name, count in known.items() if count is not None}

    @property
    def all_parts(self) -> tuple[Part, ...]:
        return (self.pictures, *((self.split,) if self.split is not None else ()), *self.parts)


COOP = "CoOp's DATASETS.md, github.com/KaiyangZhou/CoOp"
PHOTO = "a photo of a {}."


def _split(title: str) -> Part:
    return Part(f"split_zhou_{title}.json", COOP, needed=False)


def _class_names(others: tuple[str, ...] = ()) -> Part:
    return Part("classnames.txt", f"{COOP} (a copy of imagenet/classnames.txt does)", others)


EUROSAT = {
    "AnnualCrop": "Annual Crop Land",
    "Forest": "Forest",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "River": "River",
    "SeaLake": "Sea or Lake",
}

ENTRIES = (
    Entry(
        "imagenet",
        "ImageNet",
        "imagenet",
        PHOTO,
        1000,
        1_281_167,
        None,
        50_000,
        Part(
            "images/",
            "image-net.org, ILSVRC 2012: train/ and val/ with a folder per class",
            ("train/", "Data/CLS-LOC/", "ILSVRC/Data/CLS-LOC/"),
        ),
        parts=(
            _class_names(),
            Part(
                "images/val/",
                "image-net.org, ILSVRC 2012: the validation pictures, sorted into a folder per class",
                ("val/", "Data/CLS-LOC/val/", "ILSVRC/Data/CLS-LOC/val/"),
            ),
        ),
        others=("ImageNet", "imagenet-1k", "ILSVRC2012", "ILSVRC"),
        reader="imagenet",
    ),
    Entry(
        "caltech101",
        "Caltech101",
        "caltech-101",
        PHOTO,
        100,
        4128,
        1649,
        2465,
        Part(
            "101_ObjectCategories/",
            "data.caltech.edu/records/mzrjq-6wc02",
            ("caltech-101/101_ObjectCategories/", "caltech101/101_ObjectCategories/"),
        ),
        _split("Caltech101"),
        others=("caltech101", "Caltech101", "Caltech-101"),
        renamed={"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"},
        left_out=("BACKGROUND_Google", "Faces_easy"),
    ),
    Entry(
        "oxford_pets",
        "OxfordPets",
        "oxford_pets",
        "a photo of a {}, a type of pet.",
        37,
        2944,
        736,
        3669,
        Part("images/", "robots.ox.ac.uk/~vgg/data/pets: images.tar.gz"),
        _split("OxfordPets"),
        (Part("annotations/", "robots.ox.ac.uk/~vgg/data/pets: annotations.tar.gz", needed=False),),
        ("oxford-iiit-pet", "OxfordPets", "pets"),
        lists=(("train", "annotations/trainval.txt"), ("test", "annotations/test.txt")),
    ),
    Entry(
        "stanford_cars",
        "StanfordCars",
        "stanford_cars",
        PHOTO,
        196,
        6509,
        1635,
        8041,
        Part(
            "cars_train/",
            "Krause et al., 2013: cars_train.tgz and cars_test.tgz (the first page is gone; see "
            "github.com/pytorch/vision/issues/7545)",
        ),
        Part("split_zhou_StanfordCars.json", COOP),
        (Part("cars_test/", "Krause et al., 2013: cars_test.tgz"),),
        ("StanfordCars", "cars", "stanford-cars"),
    ),
    Entry(
        "oxford_flowers",
        "OxfordFlowers",
        "oxford_flowers",
        "a photo of a {}, a type of flower.",
        102,
        4093,
        1633,
        2463,
        Part("jpg/", "robots.ox.ac.uk/~vgg/data/flowers/102: 102flowers.tgz", ("flowers-102/jpg/",)),
        Part("split_zhou_OxfordFlowers.json", COOP),
        (
            Part("cat_to_name.json", COOP, needed=False),
            Part("imagelabels.mat", "robots.ox.ac.uk/~vgg/data/flowers/102: imagelabels.mat", needed=False),
        ),
        ("flowers-102", "Flowers102", "flowers102", "OxfordFlowers"),
    ),
    Entry(
        "food101",
        "Food101",
        "food-101",
        "a photo of {}, a type of food.",
        101,
        50_500,
        20_200,
        30_300,
        Part(
            "images/",
            "data.vision.ee.ethz.ch/cvl/datasets_extra/food-101: food-101.tar.gz",
            ("food-101/images/",),
        ),
        _split("Food101"),
        (Part("meta/", "food-101.tar.gz", needed=False),),
        ("food101", "Food101", "Food-101"),
        lists=(("train", "meta/train.txt"), ("test", "meta/test.txt")),
    ),
    Entry(
        "fgvc_aircraft",
        "FGVCAircraft",
        "fgvc_aircraft",
        "a photo of a {}, a type of aircraft.",
        100,
        3334,
        3333,
        3333,
        Part(
            "images/",
            "robots.ox.ac.uk/~vgg/data/fgvc-aircraft: fgvc-aircraft-2013b.tar.gz, its data/",
            ("data/images/", "fgvc-aircraft-2013b/data/images/"),
        ),
        parts=tuple(
            Part(name, "fgvc-aircraft-2013b.tar.gz", (f"data/{name}", f"fgvc-aircraft-2013b/data/{name}"))
            for name in (
                "variants.txt",
                "images_variant_train.txt",
                "images_variant_val.txt",
                "images_variant_test.txt",
            )
        ),
        others=("fgvc-aircraft-2013b", "FGVCAircraft", "aircraft"),
        reader="aircraft",
    ),
    Entry(
        "sun397",
        "SUN397",
        "sun397",
        PHOTO,
        397,
        15_880,
        3970,
        19_850,
        Part("SUN397/", "vision.princeton.edu/projects/2010/SUN: SUN397.tar.gz"),
        _split("SUN397"),
        others=("SUN397", "sun-397"),
    ),
    Entry(
        "dtd",
        "DescribableTextures",
        "dtd",
        "{} texture.",
        47,
        2820,
        1128,
        1692,
        Part("images/", "robots.ox.ac.uk/~vgg/data/dtd: dtd-r1.0.1.tar.gz", ("dtd/images/",)),
        _split("DescribableTextures"),
        (Part("labels/", "dtd-r1.0.1.tar.gz", ("dtd/labels/",), needed=False),),
        ("DTD", "DescribableTextures"),
        lists=(("train", "labels/train1.txt"), ("val", "labels/val1.txt"), ("test", "labels/test1.txt")),
    ),
    Entry(
        "eurosat",
        "EuroSAT",
        "eurosat",
        "a centered satellite photo of {}.",
        10,
        13_500,
        5400,
        8100,
        Part(
            "2750/",
            "zenodo.org/records/7711810: EuroSAT_RGB.zip (first: madm.dfki.de/files/sentinel/EuroSAT.zip)",
            ("EuroSAT_RGB/", "eurosat/2750/", "EuroSAT/2750/"),
        ),
        _split("EuroSAT"),
        others=("EuroSAT", "EuroSAT_RGB"),
        renamed=EUROSAT,
    ),
    Entry(
        "ucf101",
        "UCF101",
        "ucf101",
        "a photo of a person doing {}.",
        101,
        7639,
        1898,
        3783,
        Part("UCF-101-midframes/", f"{COOP}: UCF-101-midframes.zip, the middle frame of every video"),
        _split("UCF101"),
        others=("UCF101", "ucf-101"),
    ),
    Entry(
        "imagenetv2",
        "ImageNetV2",
        "imagenetv2",
        PHOTO,
        1000,
        None,
        None,
        10_000,
        Part(
            "imagenetv2-matched-frequency-format-val/",
            "github.com/modestyachts/ImageNetV2: matched frequency",
        ),
        parts=(_class_names(("../imagenet/classnames.txt",)),),
        others=("ImageNetV2", "imagenet-v2"),
        reader="test folders",
    ),
    Entry(
        "imagenet_sketch",
        "ImageNet-Sketch",
        "imagenet-sketch",
        PHOTO,
        1000,
        None,
        None,
        50_889,
        Part("images/", "github.com/HaohanWang/ImageNet-Sketch", ("sketch/",)),
        parts=(_class_names(("../imagenet/classnames.txt",)),),
        others=("ImageNet-Sketch", "imagenet_sketch"),
        reader="test folders",
    ),
    Entry(
        "imagenet_a",
        "ImageNet-A",
        "imagenet-adversarial",
        PHOTO,
        200,
        None,
        None,
        7500,
        Part("imagenet-a/", "github.com/hendrycks/natural-adv-examples"),
        parts=(_class_names(("../imagenet/classnames.txt",)),),
        others=("imagenet_a", "ImageNet-A"),
        reader="test folders",
    ),
    Entry(
        "imagenet_r",
        "ImageNet-R",
        "imagenet-rendition",
        PHOTO,
        200,
        None,
        None,
        30_000,
        Part("imagenet-r/", "github.com/hendrycks/imagenet-r"),
        parts=(_class_names(("../imagenet/classnames.txt",)),),
        others=("imagenet_r", "ImageNet-R"),
        reader="test folders",
    ),
)

_ALIASES = {
    "flowers102": "oxford_flowers",
    "pets": "oxford_pets",
    "cars": "stanford_cars",
    "aircraft": "fgvc_aircraft",
    "imagenetrendition": "imagenet_r",
    "imagenetadversarial": "imagenet_a",
}


def plain(name: str) -> str:
    """A name without capitals and signs: ImageNet-A, imagenet_a and imagenetA are the same."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def find(name: str) -> Entry:
    """The data set of that name, as in the catalog, in papers or in CoOp's configurations."""
    wanted = plain(name)
    wanted = plain(_ALIASES.get(wanted, wanted))
    for entry in ENTRIES:
        if wanted in (plain(entry.name), plain(entry.title), plain(entry.folder)):
            return entry
    raise DataError(
        f'no data set "{name}" in the catalog: {nearest(name, (entry.name for entry in ENTRIES))}'
    )


def papers_split(file: str, counts: Mapping[str, int]) -> bool:
    """Whether a split file of that name, with so many pictures in each split, is one that papers use."""
    name = file.rpartition("/")[2]
    return any(e.split is not None and e.split.path == name and e.counts == counts for e in ENTRIES)


# what papers test on after learning on ImageNet
TRANSFER = {
    "cross_dataset": (
        "caltech101",
        "oxford_pets",
        "stanford_cars",
        "oxford_flowers",
        "food101",
        "fgvc_aircraft",
        "sun397",
        "dtd",
        "eurosat",
        "ucf101",
    ),
    "domain_generalization": ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"),
}
ELEVEN = ("imagenet", *TRANSFER["cross_dataset"])
