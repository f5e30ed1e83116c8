"""How well `predict --reject` tells pictures of no known class, on folders of six classes and pictures that nothing was chosen on.

    python benchmarks/unknown.py grocery.zip:fine caltech101.zip flowers.zip pacs.zip

For each source and seed a folder of ten pictures of six classes is learned (as in folders.py), by which `fit` chooses the
threshold: by cross-validation among these sixty pictures. Then three kinds of pictures are looked at, none of which it has
seen: others of the six classes, which should get an answer; pictures of other classes of the same source; and
pictures of the other sources. Printed are the area under the ROC curve of the likeness to the classes, and the shares that get
an answer and that are called unknown where nothing else is said than `--reject`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
from folders import Folder, folders
from reporting import processor

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.loading import load_backbone
from vlprompt.data.dataset import Item
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import Encoder
from vlprompt.fitting.learning import fit
from vlprompt.scoring.rejection import likeness, threshold_of

LEARNED, MOST = 10, 120  # pictures of a class; unknown pictures of a kind


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """How often a known picture has the larger value, of all pairs; ties count half. Per cent."""
    less = np.searchsorted(np.sort(unknown), known, side="left")
    equal = np.searchsorted(np.sort(unknown), known, side="right") - less
    return float(100 * (less + equal / 2).sum() / (len(known) * len(unknown)))


def unknown_of(folder: Folder, others: Sequence[Folder]) -> dict[str, list[tuple[Folder, Item]]]:
    """Pictures of other classes of the folder's source, and of other sources."""
    labels = {item.label for items in folder.learned.values() for item in items}
    same = [item for item in folder.source.all_items if item.label not in labels]
    step = max(1, len(same) // MOST)
    found = {"other classes of the source": [(folder, item) for item in same[::step][:MOST]]}
    for other in others:
        if other.source is not folder.source and other.seed == folder.seed:
            items = [item for items in other.unseen.values() for item in items]
            found[f"pictures of {other.name}"] = [(other, item) for item in items[:MOST]]
    return found


def features(pictures: Sequence[tuple[Folder, Item]], backbone: Backbone, cache: FeatureCache) -> np.ndarray:
    """[N, d] of pictures that lie in one source."""
    source = pictures[0][0].source
    inputs = Encoder(source, backbone, cache=cache).features([item for _, item in pictures])
    return inputs.features[0].float().cpu().numpy()


def judged(
    folder: Folder, others: Sequence[Folder], backbone: Backbone, cache: FeatureCache
) -> list[dict[str, Any]]:
    """A row for each kind of unknown pictures."""
    with tempfile.TemporaryDirectory() as place:
        shown, _ = folder.write(Path(place), LEARNED)
        run = fit(shown, "linear_probe", backbone, cache=cache)  # likeness is the same whatever is learned
    assert run.known is not None
    least = threshold_of(run.info, by_likeness=True)
    kept = [(folder, item) for items in folder.unseen.values() for item in items]
    known = likeness(features(kept, backbone, cache), run.known)
    rows = []
    for kind, pictures in unknown_of(folder, others).items():
        far = likeness(features(pictures, backbone, cache), run.known)
        rows.append(
            {
                "what": "unknown",
                "source": folder.name,
                "seed": folder.seed,
                "kind": kind,
                "auroc": round(auroc(known, far), 2),
                "answered": round(100 * float((known >= least).mean()), 2),
                "called_unknown": round(100 * float((far < least).mean()), 2),
                "known": len(known),
                "unknown": len(far),
                "backbone": backbone.fingerprint,
                "machine": processor(),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", metavar="PATH[:COLUMN]")
    parser.add_argument("--seeds", type=lambda s: [int(n) for n in s.split(",")], default=[1, 2, 3, 4])
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--cache", type=Path, help="folder of kept features; the usual one if not given")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    backbone, cache = load_backbone(args.backbone), FeatureCache(args.cache)
    made = [one for source in args.sources for one in folders(source, args.classes, 20, args.seeds)]
    rows = []
    for folder in made:
        for row in judged(folder, made, backbone, cache):
            rows.append(row)
            if args.json:
                print(json.dumps(row, ensure_ascii=False), flush=True)
    if not args.json:
        by_kind: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            by_kind[row["source"], row["kind"]].append(row)
        print("| learned | unknown pictures | area under the curve | known answered | unknown told |")
        print("|---|---|---|---|---|")
        for (source, kind), found in by_kind.items():
            means = (
                statistics.mean(row[key] for row in found) for key in ("auroc", "answered", "called_unknown")
            )
            print(f"| {source} | {kind} | {' | '.join(f'{mean:.1f}' for mean in means)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
