"""Compare methods on the same pictures: mean and deviation over seeds.

    python examples/own_loop_over_methods.py [FOLDER]

`vlprompt protocol few_shot FOLDER --method zeroshot,lamm,tip_adapter` does the same, and `vlprompt table` shows it.
"""

from __future__ import annotations

import sys

from vlprompt import few_shot, load_backbone, open_dataset
from vlprompt.protocols.protocol_records import summary

METHODS = ("zeroshot", "lamm", "tip_adapter")


def main(words: list[str]) -> None:
    data = open_dataset(words[0] if words else "demo")
    backbone = load_backbone("embedded")  # once, for all methods; image features are computed once too
    for method in METHODS:
        records = few_shot(data, method, backbone, shots=4, seeds=(1, 2), train={"epochs": 5})
        accuracy = summary(records)["accuracy"]
        print(f"{method:12} {accuracy['mean']:5.1f} ± {accuracy['std']:.1f} % over {accuracy['n']} seeds")


if __name__ == "__main__":
    main(sys.argv[1:])
