"""How many passes CoOp and TCP take on a small backbone, and by which optimiser, on the demo's pictures that teach.

    python recipes/small/schedules.py --out schedules.jsonl                        CoOp
    python recipes/small/schedules.py --out schedules.jsonl --recipes small_tcp
    python recipes/small/schedules.py --out schedules.jsonl --finnish              names that say little to the backbone
    python recipes/small/schedules.py --out words.jsonl --words --parts 3 --draws 2    CoOp in few passes, from words

Each schedule is judged in two ways, as in terms.py. What has the highest mean of the two is taken, or what is level with it in half of the passes.
"""

from __future__ import annotations

from typing import Any

from trying import judge_both_ways, parser

WHEN = {"lbfgs": "constant", "adamw": "step", "muon": "epoch"}  # when the rate falls, as each was tried
# Optimiser, rate, passes, and the words that a context starts from, where it is not random.
SCHEDULES = {
    "small_coop": [
        *(("lbfgs", 0.01, 100), ("lbfgs", 0.01, 200), ("lbfgs", 0.03, 100), ("lbfgs", 0.003, 100)),
        *(("adamw", 0.01, 100), ("adamw", 0.03, 100), ("adamw", 0.003, 200)),
        *(("muon", 0.01, 50), ("muon", 0.0025, 100), ("muon", 0.005, 100), ("muon", 0.01, 100)),
        *(("muon", 0.005, 200), ("muon", 0.01, 200)),
    ],
    "small_tcp": [
        *(("lbfgs", 0.01, 50), ("lbfgs", 0.01, 100)),
        *(("muon", 0.005, 50), ("muon", 0.01, 50), ("muon", 0.02, 50), ("muon", 0.02, 25)),
    ],
}
# The demo's classes in their order, and what is tried with them: the hard case, where the text side has to learn most.
FINNISH = (
    "omena avokado banaani porkkana kurkku mehu kiivi sitruuna limetti mango "
    "meloni maito sieni sipuli appelsiini päärynä paprika ananas peruna tomaatti"
)
HARD = {
    "small_coop": [
        (kind, rate, n) for kind, rate in (("lbfgs", 0.01), ("muon", 0.005)) for n in (50, 100, 200)
    ],
    "small_tcp": [("lbfgs", 0.01, 50), ("lbfgs", 0.01, 100), ("muon", 0.02, 50)],
}
# A start from words may save passes: thirteen tokens, as the sixteen random ones nearly.
WORDS = "a photo of a photo of a photo of a photo of a"
FEW = {
    "small_coop": [
        *(("lbfgs", 0.01, n, WORDS) for n in (12, 25, 50)),
        *(("lbfgs", 0.01, n) for n in (12, 25, 50)),
        *(("muon", 0.02, n, WORDS) for n in (12, 25, 50)),
        ("lbfgs", 0.01, 200),
    ]
}


def main() -> None:
    flags = parser(__doc__.splitlines()[0], ("small_coop",))
    flags.add_argument("--parts", type=int, default=2)
    flags.add_argument("--draws", type=int, default=1)
    flags.add_argument("--finnish", action="store_true", help="with Finnish names of the classes")
    flags.add_argument(
        "--words", action="store_true", help="CoOp in few passes, its context from words or not"
    )
    arguments = flags.parse_args()
    names = tuple(FINNISH.split()) if arguments.finnish else ()
    schedules = FEW if arguments.words else HARD if arguments.finnish else SCHEDULES
    for recipe in arguments.recipes:
        arguments.recipes = [recipe]
        settings: dict[str, dict[str, dict[str, Any]]] = {
            ", ".join((f"{kind} {rate:g}", f"{passes} passes", *start)): {
                "train": {"optimizer": kind, "lr": rate, "epochs": passes, "schedule": WHEN[kind]},
                "options": {"context_init": start[0]} if start else {},
            }
            for kind, rate, passes, *start in schedules[recipe]
        }
        judge_both_ways(arguments, settings, arguments.parts, arguments.draws, names)


if __name__ == "__main__":
    main()
