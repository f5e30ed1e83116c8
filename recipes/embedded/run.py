"""Build the embedded backbone from the packages and the training pictures to the final folder.

    python recipes/embedded/run.py --work DIR --pretrain DIR --out DIR

Every stage keeps what it makes in --work and goes on from there when started again.
"""

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import image_teacher
import numpy as np
import pictures
import text_teacher
import texts
import tokenizer
import torch
import workers
from export import calibrated_scale, export
from space import Space, TeacherSpace, TowerSpace, class_features
from tokenizers import Tokenizer
from torch import Tensor
from towers import Sizes, TextTower
from train_image import Held, Student, blocks_in, normalise, source, train_image
from train_text import train_text
from warm import begin_with, image_blocks_of

STAGES = ("texts", "text", "teacher", "image", "export")


@dataclass(frozen=True)
class Places:
    """Where things are, and on which device to compute."""

    work: Path
    pretrain: Path
    wordnet: Path
    device: torch.device


def corpus_of(places: Places) -> texts.Corpus:
    _, captions = pictures.flickr(places.pretrain, places.work)
    return texts.corpus(places.wordnet, captions, pictures.FLICKR_HELD_OUT)


def learn_tokenizer(places: Places) -> None:
    """Usual names count more often, so that they become one token."""
    corpus = corpus_of(places)
    names = (name for name, weight in corpus.names for _ in range(max(1, round(weight))))
    trained = tokenizer.train([*names, *corpus.captions, *corpus.glosses])
    folder = places.work / "tok"
    folder.mkdir(exist_ok=True)
    tokenizer.save(trained, folder)


def load_tokenizer(places: Places) -> Tokenizer:
    return Tokenizer.from_file(str(places.work / "tok" / "tokenizer.json"))


def load_text(places: Places, sizes: Sizes) -> TextTower:
    tower = TextTower(sizes)
    tower.load_state_dict(torch.load(places.work / "text.pt", map_location="cpu", weights_only=True)["tower"])
    return tower.to(places.device).requires_grad_(False).eval()


def space_of(places: Places, sizes: Sizes, name: str) -> Space:
    """The space called "tower" or "teacher"."""
    if name == "teacher":
        return TeacherSpace(corpus_of(places), places.work, places.device)
    return TowerSpace(load_text(places, sizes), load_tokenizer(places))


def extract_all(places: Places, views: int) -> None:
    sets = {
        "tiny-train": pictures.tiny_imagenet(places.pretrain, places.work, "train").pixels,
        "flickr": pictures.flickr(places.pretrain, places.work)[0].pixels,
    }
    for view in range(views):
        for name, pixels in sets.items():
            image_teacher.extract(name, pixels, view, places.work, places.device)


def held_out(places: Places, space: Space, classes: Tensor, count: int = 1000) -> Held:
    """`count` pictures of Tiny ImageNet's val part and the held-out Flickr8k pictures."""
    ids = texts.imagenet_ids()
    val = pictures.tiny_imagenet(places.pretrain, places.work, "val")
    rows = np.random.default_rng(0).permutation(len(val.keys))[:count]
    known = sorted({ids.index(key) for key in val.keys})
    labels = torch.tensor([known.index(ids.index(val.keys[i])) for i in rows])
    whole, captions = pictures.flickr(places.pretrain, places.work)
    last = range(len(whole.keys) - pictures.FLICKR_HELD_OUT, len(whole.keys))

    def views(pixels: np.ndarray) -> Tensor:
        boxes = image_teacher.view_boxes("", 0, len(pixels)).to(places.device)
        return normalise(pictures.crop(torch.from_numpy(pixels).to(places.device), boxes, Sizes.image_size))

    first = space.lines([captions[whole.keys[i]][0] for i in last])
    return Held(
        views(val.pixels[rows]),
        labels.to(places.device),
        classes[known],
        views(whole.pixels[last.start :]),
        first,
    )


def teach_image(
    places: Places, sizes: Sizes, space: Space, minutes: float, batch: int, compiled: bool
) -> None:
    classes, ids = class_features(space, places.wordnet), texts.imagenet_ids()
    flickr, captions = pictures.flickr(places.pretrain, places.work)
    lines = [line for key in flickr.keys for line in captions[key]]
    spoken = space.lines(lines).view(len(flickr.keys), 5, -1).cpu()
    tiny = pictures.tiny_imagenet(places.pretrain, places.work, "train")
    sources = [
        source("tiny-train", tiny, ids, None, places.work),
        source("flickr", flickr, ids, spoken, places.work),
    ]
    held = held_out(places, space, classes)
    train_image(sources, classes, held, sizes, places.work, places.device, minutes, batch, compiled=compiled)


def write(places: Places, sizes: Sizes, out: Path) -> None:
    """Export the averaged towers, with a logit scale calibrated on held-out pictures."""
    state = torch.load(places.work / "image.pt", map_location="cpu", weights_only=True)
    sizes = replace(sizes, image_blocks=blocks_in(state["average"]))
    student, text = Student(sizes), load_text(places, sizes)
    student.load_state_dict(state["average"])
    student.to(places.device).eval()
    space, concepts = TowerSpace(text, load_tokenizer(places)), texts.wordnet(places.wordnet)
    held = held_out(places, space, class_features(space, places.wordnet), 5000)
    known = sorted(
        set(pictures.tiny_imagenet(places.pretrain, places.work, "val").keys), key=texts.imagenet_ids().index
    )
    classes = space.names([concepts[key].names[0] for key in known])  # as a user would name them
    with torch.no_grad():
        features = torch.cat([student(x) for x in held.tiny.split(250)])
    scale = calibrated_scale(features, classes, held.labels)
    export(student.tower, text, load_tokenizer(places), sizes, scale, out)
    for name in ("README.md", "LICENSE", "NOTICE"):
        card = Path(__file__).parent / "card" / name
        if card.exists():
            shutil.copy(card, out / name)
    accuracy = ((features @ classes.T).argmax(1) == held.labels).float().mean()
    print(
        f"exported to {out}: step {state['step']}, {state['images']} pictures, {state['seconds'] / 60:.0f} min, "
        f"logit scale {scale}, held-out Tiny ImageNet zero-shot {100 * accuracy:.1f} %"
    )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for everything in between (about 2 GB)"
    )
    parser.add_argument(
        "--pretrain", type=Path, required=True, help="folder with tiny-imagenet.zip and flickr8k.zip"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished backbone")
    parser.add_argument(
        "--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="WordNet 3.0 database files"
    )
    parser.add_argument("--stages", default=",".join(STAGES), help=f"comma-separated, of {', '.join(STAGES)}")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--views", type=int, default=3, help="teacher views per picture: the whole one and random crops"
    )
    parser.add_argument("--text-minutes", type=float, default=20)
    parser.add_argument("--image-minutes", type=float, default=120, help="wall clock, earlier runs' included")
    parser.add_argument(
        "--space",
        choices=("tower", "teacher"),
        default="tower",
        help="what image features are trained towards",
    )
    parser.add_argument(
        "--blocks",
        type=int,
        default=Sizes.image_blocks,
        help="of the image tower; more than before: it grows",
    )
    parser.add_argument("--batch", type=int, default=512, help="pictures a step")
    parser.add_argument(
        "--begin-with", type=Path, help="a finished backbone's folder: go on from its towers and vocabulary"
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile the image tower (needs a C++ compiler)"
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that train the image tower together"
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    options = parser.parse_args(arguments)
    unknown = set(options.stages.split(",")) - set(STAGES)
    if unknown:
        parser.error(f"unknown stage {sorted(unknown)[0]!r}; stages are {', '.join(STAGES)}")
    if options.threads:
        torch.set_num_threads(options.threads)
    name = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    # Under `torchrun` every process has a GPU of its own.
    name = f"cuda:{os.environ['LOCAL_RANK']}" if name == "cuda" and "LOCAL_RANK" in os.environ else name
    places, sizes = (
        Places(options.work, options.pretrain, options.wordnet, torch.device(name)),
        Sizes(image_blocks=options.blocks),
    )
    options.work.mkdir(parents=True, exist_ok=True)
    stages = options.stages.split(",")
    if options.begin_with:
        begin_with(
            options.begin_with, replace(sizes, image_blocks=image_blocks_of(options.begin_with)), options.work
        )
    if "texts" in stages and not options.begin_with:
        learn_tokenizer(places)
    if "text" in stages:
        corpus = corpus_of(places)
        table = text_teacher.embed("corpus", corpus.everything(), places.work, places.device)
        train_text(
            corpus, table, load_tokenizer(places), sizes, places.work, places.device, options.text_minutes
        )
    if "teacher" in stages:
        extract_all(places, options.views)
    if "image" in stages and options.workers > 1 and "WORLD_SIZE" not in os.environ:
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            f"--nproc-per-node={options.workers}",
            __file__,
        ]
        subprocess.run([*command, *arguments, "--stages", "image"], check=True)
    elif "image" in stages:
        workers.start(places.device)
        if workers.rank() == 0:
            (options.work / "train.pid").write_text(f"{os.getpid()}\n")
        space = space_of(places, sizes, options.space)
        teach_image(places, sizes, space, options.image_minutes, options.batch, options.compile)
    if "export" in stages:
        write(places, sizes, options.out)


if __name__ == "__main__":
    main(sys.argv[1:])
