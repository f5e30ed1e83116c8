"""Texts to learn from: WordNet nouns and glosses, the 1,000 ImageNet names, Flickr8k captions.

WordNet 3.0 is read from its database files (Debian package `wordnet-base`). An ImageNet id is a
WordNet 3.0 offset, so `imagenet_wnids.txt` (the classes in the teacher's order) is all we add.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CONCRETE = {
    5: "animal",
    6: "object",
    8: "part of the body",
    13: "food",
    17: "thing in nature",
    18: "person",
    20: "plant",
    27: "material",
}
TEMPLATES = """{}|{}.|a {}|the {}|a photo of a {}.|a photo of the {}.|a photo of {}.|a picture of a {}.|an image of a {}.
a {} in a picture.|a bad photo of a {}.|a good photo of a {}.|a good photo of the {}.|a blurry photo of a {}.|a cropped photo of a {}.
a close-up photo of a {}.|a close-up photo of the {}.|a bright photo of a {}.|a dark photo of the {}.|a black and white photo of a {}.
a low resolution photo of a {}.|a pixelated photo of the {}.|a jpeg corrupted photo of a {}.|a photo of many {}.|a photo of one {}.
a photo of a small {}.|a photo of a large {}.|a photo of the nice {}.|a photo of my {}.|a photo of a clean {}.|a photo of a dirty {}.
a photo of the hard to see {}.|itap of a {}.|itap of my {}.|there is a {} in the scene.|this is a {}.|this is a photo of a {}.
a drawing of a {}.|a painting of a {}.|a sketch of a {}.|a cartoon of a {}.|a cartoon {}.|art of a {}.|a rendering of a {}.
a sculpture of a {}.|a toy {}.|a plush {}.|an origami {}.|a tattoo of a {}.|graffiti of a {}.|the {} in a video game.
an emoji of a {}.|a {} emoji.|an icon of a {}.|a clip art picture of a {}.|a centered photo of a {}, seen from above.
a photo of a {}, a type of food.|a photo of a {}, a type of animal.|a photo of a {}, a type of plant.|a photo of a {}, a type of object.
a photo of a person doing {}.|a satellite photo of {}.|a centered satellite photo of {}.|a photo of a {} texture.|a photo of {} in a store.
a photo of a {} in a kitchen.|a photo of a {} on a table.|a photo of a {} in the street.|a photo of a {} outdoors.|{} on a white background"""
TEMPLATES = [t for line in TEMPLATES.split("\n") for t in line.split("|")]
ADJECTIVES = """red green blue yellow black white brown orange pink purple small big young old wooden metal plastic glass wild
fresh dried frozen cooked raw sliced organic electric toy striped spotted round long broken open empty smiling sleeping
running flying modern antique sweet sour spicy low-fat""".split()


@dataclass(frozen=True)
class Concept:
    """A WordNet noun sense: names (most usual first), the first clause of its gloss, kind (lexicographer file)."""

    names: tuple[str, ...]
    gloss: str
    kind: int
    parent: str


def wordnet(folder: Path) -> dict[str, Concept]:
    """Every noun sense by its id ("n02084071")."""
    concepts = {}
    for line in (folder / "data.noun").read_text("utf-8").splitlines():
        if line.startswith(" "):  # the licence at the top
            continue
        data, _, gloss = line.partition(" | ")
        fields = data.split()
        words = int(fields[3], 16)
        names = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(words))
        pointers = fields[5 + 2 * words :]
        parents = [pointers[i + 1] for i, p in enumerate(pointers) if p in ("@", "@i")]
        first = re.split(r"; |;? \"", gloss.strip())[0]
        concepts["n" + fields[0]] = Concept(names, first, int(fields[1]), "n" + parents[0] if parents else "")
    return concepts


def usage(folder: Path) -> Counter[str]:
    """How often each noun occurs in WordNet's tagged texts."""
    counts: Counter[str] = Counter()
    for line in (folder / "cntlist.rev").read_text("utf-8").splitlines():
        key, _, count = line.split()
        lemma, _, sense = key.partition("%")
        if sense.startswith("1:"):
            counts[lemma.replace("_", " ")] += int(count)
    return counts


def mentions(lines: Iterable[str], longest: int = 3) -> Counter[str]:
    """How often each run of one to `longest` words occurs in `lines`, lower-cased, plurals in -s as singulars too."""
    counts: Counter[str] = Counter()
    for line in lines:
        words = re.findall(r"[a-z][a-z'-]*", line.lower())
        for length in range(1, longest + 1):
            for start in range(len(words) - length + 1):
                phrase = " ".join(words[start : start + length])
                counts[phrase] += 1
                if phrase.endswith("s"):
                    counts[phrase[:-1]] += 1
    return counts


def imagenet_ids() -> list[str]:
    """WordNet ids of the teacher's 1,000 classes, in its order."""
    return (Path(__file__).parent / "imagenet_wnids.txt").read_text().split()


@dataclass(frozen=True)
class Corpus:
    """What the text tower learns from.

    names: [(name, weight)], read through templates. phrases, glosses, captions: read as they are.
    """

    names: list[tuple[str, float]]
    phrases: list[str]
    glosses: list[str]
    captions: list[str]

    def everything(self) -> list[str]:
        """Each distinct text once, in a fixed order: the rows of the teacher's table."""
        return list(dict.fromkeys([n for n, _ in self.names] + self.phrases + self.glosses + self.captions))


def corpus(folder: Path, captions: dict[str, list[str]], held_out: int, phrases: int = 25_000) -> Corpus:
    """Collect the texts; the captions of the last `held_out` pictures are left out."""
    concepts, counts = wordnet(folder), usage(folder)
    kept = sorted(captions)[:-held_out]
    # WordNet's tagged texts are few: what its glosses and the captions speak of is usual as well.
    usual = counts + mentions(
        [c.gloss for c in concepts.values()] + [line for key in kept for line in captions[key]]
    )
    weights: dict[str, float] = {}
    glosses = []
    for concept in concepts.values():
        concrete = concept.kind in CONCRETE
        for rank, name in enumerate(concept.names):
            count = counts[name.lower()]
            if not concrete and count < 2:
                continue
            weight = (
                (0.5 + min(usual[name.lower()], 100) ** 0.5)
                * (1.0 if concrete else 0.5)
                * (1.0 if rank < 2 else 0.6)
            )
            # There are many obscure names of people, plants and genera.
            weight *= 0.5 if concept.kind in (18, 20) else 1.0
            weight *= 0.3 if name.startswith(("genus ", "family ", "order ")) else 1.0
            weights[name] = max(weights.get(name, 0), weight)
        if concrete and (concept.kind not in (18, 20) or counts[concept.names[0].lower()]):
            glosses += [concept.gloss, f"{concept.names[0]}, {concept.gloss}"][
                : 1 + (counts[concept.names[0].lower()] > 0)
            ]
    for key in imagenet_ids():
        for rank, name in enumerate(concepts[key].names):
            weights[name] = max(weights.get(name, 0), 8.0 if rank == 0 else 4.0)
        glosses.append(f"{concepts[key].names[0]}, {concepts[key].gloss}")
    names = list(weights.items())
    draw = random.Random(0)
    nouns = draw.choices([n for n, _ in names], [w for _, w in names], k=phrases + phrases // 4)
    pairs = [f"{draw.choice(ADJECTIVES)} {noun}" for noun in nouns[:phrases]]
    pairs += [f"{a} and {b}" for a, b in zip(nouns[phrases::2], nouns[phrases + 1 :: 2], strict=False)]
    return Corpus(
        names,
        list(dict.fromkeys(pairs)),
        list(dict.fromkeys(glosses)),
        [c for key in kept for c in captions[key]],
    )
