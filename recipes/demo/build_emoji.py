"""Builds the emoji pictures: emoji of three vendors, sorted into fourteen everyday classes.

    python recipes/demo/build_emoji.py [--work build/demo] [--out src/vlprompt/assets/demo]

Fetches three npm packages with `npm pack` (needs npm and the internet once; what is already in the work
folder is used again), takes the 64 px pictures of the subgroups named in `emoji_classes.json`, puts them on white
and packs them as WebP into one stored zip with a `labels.csv` (path, label, split, domain, emoji). Given the
same packages and the same Pillow the result is the same, byte for byte.

Concepts stay together: a concept is an emoji with its variants ("dog" and "dog face", hearts of any colour),
and all pictures of a concept, from all vendors, lie in one split.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

from PIL import Image

PACKAGES = {
    "google": ("emoji-datasource-google", "16.0.0"),
    "fluent": ("@lobehub/fluent-emoji-3d", "1.1.0"),
    "twitter": ("emoji-datasource-twitter", "16.0.0"),
}
SIZE = 64  # pixels
QUALITY = 62  # WebP
LARGEST_CLASS = 24  # emoji a class
SMALLEST_TRAINING = 6  # emoji a class: three vendors make 18 pictures
TEST, VALIDATION = 0.3, 0.1  # shares of a class's emoji
COLOURS = "red orange yellow green blue light purple brown black grey white pink large small medium"
PEOPLE = "face oncoming facing right man woman male female person boy girl adult"
ALIKE = {  # concepts that the names do not show to be one
    "mermaid": "merperson",
    "merman": "merperson",
    "santa": "claus",
    "mrs claus": "claus",
    "mx claus": "claus",
    "chart with upwards trend": "bar chart",
    "chart with downwards trend": "bar chart",
    "chart": "bar chart",
    "airplane departure": "airplane",
    "airplane arriving": "airplane",
    "no entry sign": "no entry",
    "non potable water": "potable water",
    "motor boat": "boat",
    "speedboat": "boat",
    "calendar": "date",
    "spiral calendar pad": "date",
    "hatched chick": "chick",
    "hatching chick": "chick",
    "baby chick": "chick",
}
GENDERED = re.compile(r"(fe)?male[-_]|(wo)?man[-_]")
VARIANT = {*COLOURS.split(), *PEOPLE.split()}


def fetch(work: Path, package: str, version: str) -> Path:
    """The package's archive in `work`, fetched by npm when it is not there yet."""
    archive = work / f"{package.replace('@', '').replace('/', '-')}-{version}.tgz"
    if not archive.exists():
        subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=work, check=True)
    return archive


def concept(short_name: str) -> str:
    """What an emoji shows, without number, gender, colour and "face": 'dog2' and 'dog' are one concept."""
    words = [re.sub(r"\d+$", "", word) for word in re.split(r"[_-]", short_name)]
    kept = [word for word in words if word and word not in VARIANT]
    name = " ".join(kept) or short_name
    return ALIKE.get(name, name)


def shuffled(names: list[str]) -> list[str]:
    """The names in an order that depends on nothing but the names."""
    return sorted(names, key=lambda name: hashlib.sha256(f"demo {name}".encode()).hexdigest())


def choose(emoji: list[dict], rule: dict) -> list[list[dict]]:
    """The emoji of one class, grouped by concept, at most LARGEST_CLASS of them."""
    groups: dict[str, list[dict]] = {}
    for entry in emoji:
        name = entry["short_name"]
        if entry["subcategory"] not in rule["subgroups"] or name in rule.get("without", []):
            continue
        if name.endswith("facing_right") or (rule.get("neutral") and GENDERED.match(name)):
            continue
        groups.setdefault(concept(name), []).append(entry)
    chosen: list[list[dict]] = []
    for key in shuffled(list(groups)):
        if sum(map(len, chosen)) + len(groups[key]) <= LARGEST_CLASS:
            chosen.append(groups[key])
    return chosen


def split(groups: list[list[dict]]) -> dict[str, list[dict]]:
    """Concepts into train, val and test; the smallest groups go to test and val."""
    total = sum(map(len, groups))
    parts: dict[str, list[dict]] = {"test": [], "val": [], "train": []}
    wanted = {"test": max(2, round(TEST * total)), "val": max(1, round(VALIDATION * total))}
    if total - wanted["test"] - wanted["val"] < SMALLEST_TRAINING:
        wanted["val"] = 0
    for group in sorted(groups, key=len):
        part = next((p for p in ("test", "val") if len(parts[p]) + len(group) <= wanted[p]), "train")
        parts[part] += group
    return parts


def picture(data: bytes) -> bytes:
    """Any RGBA picture as a 64 px WebP on white."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    if image.size != (SIZE, SIZE):
        image.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    ground = Image.new("RGBA", (SIZE, SIZE), "white")
    ground.alpha_composite(image, ((SIZE - image.width) // 2, (SIZE - image.height) // 2))
    out = io.BytesIO()
    ground.convert("RGB").save(out, "WEBP", quality=QUALITY, method=6)
    return out.getvalue()


def member(vendor: str, entry: dict) -> str:
    if vendor == "fluent":
        return f"package/assets/{entry['unified'].lower()}.webp"
    return f"package/img/{vendor}/64/{entry['image']}"


def file_name(short_name: str) -> str:
    return {"+1": "thumbs_up", "-1": "thumbs_down"}.get(short_name, short_name)


def build(work: Path, out: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    files = {vendor: fetch(work, *package) for vendor, package in PACKAGES.items()}
    with tarfile.open(files["google"]) as archive:
        emoji = json.load(archive.extractfile("package/emoji.json"))
    emoji.sort(key=lambda entry: entry["sort_order"])
    # without this flag the package may hold another vendor's picture in its place
    emoji = [entry for entry in emoji if entry["has_img_google"] and entry["has_img_twitter"]]
    rules = json.loads((Path(__file__).parent / "emoji_classes.json").read_text())

    wanted: dict[str, dict[str, tuple]] = {vendor: {} for vendor in PACKAGES}
    for label, rule in rules.items():
        parts = split(choose(emoji, rule))
        if len(parts["train"]) < SMALLEST_TRAINING or len(parts["test"]) < 2:
            raise SystemExit(f"{label}: too few emoji: { {k: len(v) for k, v in parts.items()} }")
        for part, entries in parts.items():
            for entry in entries:
                for vendor in PACKAGES:
                    wanted[vendor][member(vendor, entry)] = (label, part, entry)

    rows, pictures = [], {}
    for vendor, members in wanted.items():
        with tarfile.open(files[vendor]) as archive:
            for info in archive:  # one pass: seeking in a gzip stream is slow
                if info.name in members:
                    label, part, entry = members[info.name]
                    folder = label.replace(" ", "_")
                    path = f"{part}/{folder}/{file_name(entry['short_name'])}_{vendor}.webp"
                    pictures[path] = picture(archive.extractfile(info).read())
                    rows.append((path, label, part, vendor, entry["name"].lower()))
    rows.sort()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "split", "domain", "emoji"))
    writer.writerows(rows)
    with zipfile.ZipFile(out / "emoji.zip", "w", zipfile.ZIP_STORED) as packed:
        for path, data in [("labels.csv", text.getvalue().encode()), *sorted(pictures.items())]:
            packed.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), data)
    size = (out / "emoji.zip").stat().st_size
    print(f"{len(rules)} classes, {len(rows)} pictures, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/demo"), help="where the npm archives lie")
    parser.add_argument("--out", type=Path, default=Path("src/vlprompt/assets/demo"))
    arguments = parser.parse_args()
    build(arguments.work, arguments.out)
