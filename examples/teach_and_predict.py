"""Learn classes from a folder of class folders and ask about pictures.

    python examples/teach_and_predict.py [FOLDER [PICTURE ...]]

Without a folder, the pictures of the package are used, and the questions are two of its test pictures.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from vlprompt import Run, fit, open_dataset


def main(words: list[str]) -> None:
    data = open_dataset(words[0] if words else "demo")
    print(f"{data.name}: {len(data.class_names)} classes, {', '.join(data.class_names[:4])}, ...")

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        run = fit(data, "lamm", shots=4, train={"epochs": 10}, out=folder)
        print(f"names alone: {run.scores['zero_shot']['accuracy']:.1f} %")
        print(f"learned:     {run.scores[run.info.reported]['accuracy']:.1f} %")

        # the folder is all there is to keep: some kilobytes, without the backbone
        print(f"kept: {sum(file.stat().st_size for file in folder.iterdir()) // 1024} kB")
        again = Run.load(folder)

        pictures = words[1:] or [data.load(item) for item in data.items("test")[:2]]
        for found in again.predict(pictures):
            best = ", ".join(f"{name} {chance:.0%}" for name, chance in found.top[:3])
            print(f"{found.picture}: {found.error or best}")


if __name__ == "__main__":
    main(sys.argv[1:])
