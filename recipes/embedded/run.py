"""Build the embedded backbone from two packages, WordNet and the training pictures to the final folder.

    python recipes/embedded/run.py --work DIR --pretrain DIR --out DIR [--train-minutes N] [--device cuda]

Every stage keeps what it makes in --work and goes on from there when started again.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import closed_form
import grids
import judging
import numpy as np
import pictures
import published
import sentences
import texts
import torch
import torch.nn.functional as F
import vocabulary
from export import export, logit_scale
from tokenizers import Tokenizer
from torch import Tensor
from towers import Config, ImageTower, TextTower
from train import Recipe, Source, damped, train

STAGES = ("vocabulary", "closed-form", "grids", "train", "export")
HELD_OUT = 500  # last Flickr8k pictures: retrieval, never trained on
SIZE, WIDTH, LAYERS, MLP_WIDTH, HIDDEN = 192, 512, 3, 1024, 1536


@dataclass(frozen=True)
class Settings:
    """work, pretrain, wordnet, out: folders. pictures: of each big set for the axes; trained: Tiny ImageNet's part
    that is cached for training."""

    work: Path
    pretrain: Path
    wordnet: Path
    out: Path
    device: torch.device
    pictures: int = 3000
    trained: int = 3_000
    minutes: float = 60
    end: float = math.inf  # seconds since 1970: training stops then at the latest

    # Chosen on held-out names and pictures (judging.py).
    kernel: float = 0.5
    ridge: float = 0.5
    captions: float = 0.2
    wider: float = 0.3
    share: float = 0.5  # of what the blocks learnt


def learn_vocabulary(s: Settings) -> None:
    folder = published.minilm(s.work)
    concepts = texts.wordnet(s.wordnet)
    lines = [n for c in concepts.values() for n in c.names] + [c.gloss for c in concepts.values()]
    for _, captions in (pictures.flickr(s.pretrain), pictures.named(s.pretrain)):
        lines += [line for several in captions.values() for line in several]
    lines += [p.name for p in pictures.named(s.pretrain)[0]] + list(texts.TEMPLATES)
    source = vocabulary.published(folder)
    lines = list(dict.fromkeys(lines))
    tokenizer, kept = vocabulary.pruned(folder, vocabulary.needed(source, lines))
    same = all(
        a.tokens == b.tokens
        for a, b in zip(source.encode_batch(lines), tokenizer.encode_batch(lines), strict=True)
    )
    assert same, "pruning changed how a text is split"
    tokenizer.save(str(s.work / "tokenizer.json"))
    torch.save(kept, s.work / "kept.pt")
    print(f"vocabulary: {len(kept)} of {source.get_vocab_size()} tokens, {len(lines)} texts split as before")


def tokenizer_of(s: Settings) -> Tokenizer:
    return Tokenizer.from_file(str(s.work / "tokenizer.json"))


def archive(s: Settings, key: str) -> Path:
    return s.pretrain / {
        "tiny": "tiny-imagenet.zip",
        "tiny-val": "tiny-imagenet.zip",
        "flickr": "flickr8k.zip",
    }.get(key, "named.zip")


def listed(s: Settings, key: str) -> list[pictures.Picture]:
    """The pictures of one cached set, in the order of its rows."""
    if key in ("tiny", "tiny-val"):
        return pictures.tiny_imagenet(s.pretrain, "train" if key == "tiny" else "val")[
            : 30_000 if key == "tiny" else 1000
        ]
    if key == "flickr":
        return pictures.flickr(s.pretrain)[0]
    named = pictures.named(s.pretrain)[0]
    if key == "judge":
        return judging.held_out([p for p in named if p.name])
    return [p for p in named if p.source not in judging.JUDGES + judging.EMOJI + pictures.RESEARCH_ONLY]


def grid_cache(s: Settings, key: str, stem: torch.nn.Module, upto: int | None = None) -> np.ndarray:
    return grids.extract(key, archive(s, key), listed(s, key), stem, SIZE, s.work, s.device, upto)


def start_towers(s: Settings) -> tuple[Config, ImageTower, TextTower, Tensor]:
    """Both towers with the published weights; EfficientNet's classifier [1000, 1280] too."""
    net, kept = published.efficientnet(), torch.load(s.work / "kept.pt")
    config: Config = {
        "format": "vlprompt-hybrid-clip",
        "version": 1,
        "embed_dim": WIDTH,
        "image": published.image_config(net, SIZE, WIDTH, LAYERS, MLP_WIDTH),
        "text": published.text_config(len(kept)) | {"hidden": HIDDEN},
    }
    image, text = ImageTower(config["image"]), TextTower(config["text"], WIDTH)
    published.fill_stem(image, net)
    published.start_blocks(image)
    published.fill_text(text, published.minilm(s.work), kept)
    image = image.to(s.device, memory_format=torch.channels_last).eval().requires_grad_(False)
    return config, image, text.to(s.device).eval().requires_grad_(False), net._fc.weight.detach()


def solve(s: Settings) -> None:
    config, image, text, classifier = start_towers(s)
    tokenizer = tokenizer_of(s)
    shown = grid_cache(s, "flickr", image.stem, s.pictures)[: s.pictures]
    flickr = grids.pooled(shown)
    tiny = grids.pooled(grid_cache(s, "tiny", image.stem, s.pictures)[: s.pictures])
    weight, bias = closed_form.principal_axes(torch.cat([tiny, flickr]), WIDTH)
    with torch.no_grad():
        image.grid.weight.copy_(weight)
        image.grid.bias.copy_(bias)

    concepts, ids = texts.wordnet(s.wordnet), texts.imagenet_ids()
    directions = closed_form.class_directions(classifier, weight)
    pairs = closed_form.class_pairs(concepts, ids, directions, s.wider)
    embedded = sentences.sentences(text, tokenizer, pairs.texts, s.device)
    paths, captions = pictures.flickr(s.pretrain)
    lines = [line for p in paths[: s.pictures] for line in captions[p.path]]
    count = torch.tensor([len(captions[p.path]) for p in paths[: s.pictures]])
    owner = torch.arange(len(count)).repeat_interleave(count)
    spoken = sentences.sentences(text, tokenizer, lines, s.device)
    spoken = F.normalize(spoken, dim=1)
    spoken = torch.zeros(len(count), spoken.shape[1]).index_add(0, owner, spoken) / count[:, None]
    seen = F.normalize(flickr @ weight.T + bias, dim=1)
    solved = closed_form.kernel_regression(
        torch.cat([embedded, spoken]),
        torch.cat([pairs.targets, seen - seen.mean(0)]),
        torch.cat([pairs.weights, torch.full((len(spoken),), s.captions)]),
        HIDDEN,
        s.kernel,
        s.ridge,
    )
    with torch.no_grad():
        text.hidden.weight.copy_(solved.hidden)
        text.hidden.bias.copy_(solved.bias)
        text.projection.weight.copy_(solved.projection)
        text.projection.bias.zero_()
    state = {
        "config": config,
        "image": image.state_dict(),
        "text": text.state_dict(),
        "directions": directions,
    }
    torch.save(state, s.work / "closed-form.pt")
    print("closed form:", judged(s, image, text))


def load(s: Settings, name: str) -> tuple[Config, ImageTower, TextTower]:
    state = torch.load(s.work / f"{name}.pt", map_location=s.device)
    config = state["config"]
    image, text = ImageTower(config["image"]), TextTower(config["text"], config["embed_dim"])
    image.load_state_dict(state["image"])
    text.load_state_dict(state["text"])
    return config, image.to(s.device).eval(), text.to(s.device).eval()


@torch.no_grad()
def features_of(image: ImageTower, cached: np.ndarray, device: torch.device, batch: int = 256) -> Tensor:
    """Cached grids -> features [N, embed_dim]."""
    out = []
    for start in range(0, len(cached), batch):
        grid = torch.from_numpy(cached[start : start + batch].astype(np.float32)).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            out.append(image.read(image.grid(grid)).cpu())
    return torch.cat(out)


def speaker(s: Settings, text: TextTower) -> judging.Speak:
    tokenizer = tokenizer_of(s)

    @torch.no_grad()
    def speak(lines: list[str]) -> Tensor:
        pooled = sentences.sentences(text, tokenizer, lines, s.device)
        return text.joint(pooled.to(s.device)).cpu()

    return speak


def judged(s: Settings, image: ImageTower, text: TextTower) -> str:
    """Both held-out measures in one line."""
    cached = grid_cache(s, "judge", image.stem)
    features, pictures_ = features_of(image, cached, s.device), listed(s, "judge")[: len(cached)]
    return judging.means(
        judging.zero_shot(features, pictures_, speaker(s, text)), judging.probe(features, pictures_)
    )


def sources_of(s: Settings, image: ImageTower, text: TextTower) -> list[Source]:
    """What the blocks learn from: cached grids, and the features of their texts."""
    concepts, speak = texts.wordnet(s.wordnet), speaker(s, text)
    paths, captions = pictures.flickr(s.pretrain)
    shown = grid_cache(s, "flickr", image.stem)[: len(paths) - HELD_OUT]
    lines, rows = [], []
    for p in paths[: len(shown)]:
        rows.append(list(range(len(lines), len(lines) + len(captions[p.path]))))
        lines += captions[p.path]
    result = [Source("captions", shown, speak(lines), rows)]
    for key, kind in (("named", "names"), ("tiny", "labels")):
        cached = grid_cache(s, key, image.stem, s.trained if key == "tiny" else None)
        labels = [p.name for p in listed(s, key)[: len(cached)]]
        if not labels:
            continue
        known = sorted(set(labels))
        spoken = [concepts[key_].names[0] for key_ in known] if key == "tiny" else known
        result.append(
            Source(kind, cached, judging.names_of(speak, spoken), [[known.index(x)] for x in labels])
        )
    return result


def train_blocks(s: Settings) -> None:
    config, image, text = load(s, "closed-form")
    state = torch.load(s.work / "closed-form.pt", map_location=s.device)
    file = s.work / "sources.pt"
    if not file.exists():  # texts take minutes; the grids are on the disk already
        torch.save([(x.kind, x.texts, x.rows, len(x.grids)) for x in sources_of(s, image, text)], file)
    keys = {"captions": "flickr", "names": "named", "labels": "tiny"}
    sources = [
        Source(
            kind,
            np.load(s.work / f"{keys[kind]}-{SIZE}.npy", mmap_mode="r")[:count],
            features.to(s.device),
            rows,
        )
        for kind, features, rows, count in torch.load(file, map_location=s.device)
    ]
    average = train(
        image, sources, state["directions"].to(s.device), s.work, s.minutes, Recipe(), s.device, s.end
    )
    average = damped(average, s.share)
    torch.save(
        {"config": config, "image": average.state_dict(), "text": text.state_dict()}, s.work / "trained.pt"
    )
    print("trained:", judged(s, average, text))


def clock(at: str) -> float:
    """Seconds since 1970 of "HH:MM" today; no end without it."""
    if not at:
        return math.inf
    hour, minute = map(int, at.split(":"))
    return time.mktime((*time.localtime()[:3], hour, minute, 0, 0, 0, -1))


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for everything in between (about 4 GB)"
    )
    parser.add_argument(
        "--pretrain", type=Path, required=True, help="folder with tiny-imagenet.zip, flickr8k.zip, named.zip"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished backbone")
    parser.add_argument(
        "--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="WordNet 3.0 database files"
    )
    parser.add_argument("--stages", default=",".join(STAGES), help=f"comma-separated, of {', '.join(STAGES)}")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--train-minutes", type=float, default=60, help="wall clock; 0 leaves the closed form"
    )
    parser.add_argument("--end", default="", help="HH:MM of today: training stops then at the latest")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    options = parser.parse_args(arguments)
    stages = options.stages.split(",")
    unknown = set(stages) - set(STAGES)
    if unknown:
        parser.error(f"unknown stage {sorted(unknown)[0]!r}; stages are {', '.join(STAGES)}")
    if options.threads:
        torch.set_num_threads(options.threads)
    s = Settings(
        options.work,
        options.pretrain,
        options.wordnet,
        options.out,
        torch.device(options.device),
        minutes=options.train_minutes,
        end=clock(options.end),
    )
    s.work.mkdir(parents=True, exist_ok=True)
    if "vocabulary" in stages:
        learn_vocabulary(s)
    if "closed-form" in stages:
        solve(s)
    if "grids" in stages:
        _, image, _ = load(s, "closed-form")
        for key, upto in (("named", None), ("flickr", None), ("tiny-val", None), ("tiny", s.trained)):
            grid_cache(s, key, image.stem, upto)
    if "train" in stages and s.minutes:
        train_blocks(s)
    if "export" in stages:
        name = "trained" if (s.work / "trained.pt").exists() else "closed-form"
        config, image, text = load(s, name)
        cached = grid_cache(s, "tiny-val", image.stem)
        concepts = texts.wordnet(s.wordnet)
        labels = [p.name for p in listed(s, "tiny-val")]
        known = sorted(set(labels))
        classes = judging.names_of(speaker(s, text), [concepts[key].names[0] for key in known])
        config["logit_scale"] = logit_scale(
            features_of(image, cached, s.device), classes, torch.tensor([known.index(x) for x in labels])
        )
        export(config, image, text, tokenizer_of(s), s.out)
        print(f"exported {name} to {s.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
