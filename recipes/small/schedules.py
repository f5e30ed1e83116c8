"""How many passes CoOp and TCP take on a small backbone, and by which optimiser, on the demo's pictures that teach.

    python recipes/small/schedules.py --out schedules.jsonl                        CoOp
    python recipes/small/schedules.py --out schedules.jsonl --recipes small_tcp
    python recipes/small/schedules.py --out schedules.jsonl --finnish              names that say little to the backbone
    python recipes/small/schedules.py --out words.jsonl --words --parts 3 --draws 2    CoOp in few passes, from words
    python recipes/small/schedules.py --out quick.jsonl --quick --draws 2 --recipes small_coop,small_coop_lamm,small_tcp

Each schedule is judged in two ways, as in terms.py. What has the highest mean of the two is taken, or what is level with it in half of the passes.
"""

from __future__ import annotations

from typing import Any

from trying import judge_both_ways, parser

WHEN = {"lbfgs": "constant", "adamw": "step", "muon": "epoch"}  # when the rate falls, as each was tried
# Optimiser, rate, passes, and what else differs: the words that a context starts from, or Muon's momentum.
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
# What few passes can reach: twelve are a twentieth of a published schedule of 250.
QUICK = {
    "small_coop": [
        *(("lbfgs", rate, 12) for rate in (0.01, 0.03, 0.1)),
        *(("muon", rate, 12) for rate in (0.02, 0.04, 0.08)),
        *(("muon", rate, 12, momentum) for rate in (0.01, 0.02, 0.04) for momentum in (0.8, 0.5)),
        *(("muon", 0.02, 12, momentum) for momentum in (0.3, 0.0)),
        *(("muon", 0.02, 50, 0.5), ("muon", 0.02, 100, 0.5), ("muon", 0.01, 100, 0.5)),
        *(("lbfgs", 0.01, 100), ("lbfgs", 0.01, 200)),
    ],
    "small_coop_lamm": [
        *(("lbfgs", rate, 12) for rate in (0.01, 0.02, 0.04)),
        *(("adamw", rate, 12) for rate in (0.01, 0.03, 0.1)),
        *(("muon", rate, 12) for rate in (0.005, 0.01, 0.02, 0.04, 0.08)),
        *(("muon", rate, 12, momentum) for rate in (0.04, 0.08) for momentum in (0.8, 0.5, 0.0)),
        *(("muon", rate, 12, momentum) for rate, momentum in ((0.04, 0.3), (0.02, 0.5), (0.02, 0.0))),
        *(("muon", rate, 25, 0.5) for rate in (0.02, 0.04)),
        *(("muon", rate, 50, 0.5) for rate in (0.01, 0.02, 0.04)),
        ("lbfgs", 0.01, 100),
    ],
    "small_tcp": [
        *(("lbfgs", rate, 12) for rate in (0.01, 0.03, 0.1)),
        *(("adamw", rate, 12) for rate in (0.01, 0.03, 0.1)),
        *(("muon", rate, 12) for rate in (0.02, 0.04, 0.08, 0.16)),
        *(("muon", rate, 12, momentum) for rate in (0.04, 0.08) for momentum in (0.8, 0.5)),
        *(("muon", rate, 12, momentum) for rate in (0.08, 0.16) for momentum in (0.3, 0.0)),
        *(("muon", rate, 25, 0.5) for rate in (0.04, 0.08)),
        *(("muon", rate, 50, 0.5) for rate in (0.02, 0.04)),
        ("muon", 0.02, 50),
    ],
}


def differing(
    kind: str, rate: float, passes: int, *more: str | float
) -> tuple[str, dict[str, dict[str, Any]]]:
    """A try's name and what it changes in the recipe."""
    train: dict[str, Any] = {"optimizer": kind, "lr": rate, "epochs": passes, "schedule": WHEN[kind]}
    options: dict[str, Any] = {}
    for one in more:
        if isinstance(one, str):
            options["context_init"] = one
        else:
            train["momentum"] = one
    name = ", ".join((f"{kind} {rate:g}", f"{passes} passes", *map(str, more)))
    return name, {"train": train, "options": options}


def main() -> None:
    flags = parser(__doc__.splitlines()[0], ("small_coop",))
    flags.add_argument("--parts", type=int, default=2)
    flags.add_argument("--draws", type=int, default=1)
    flags.add_argument("--finnish", action="store_true", help="with Finnish names of the classes")
    flags.add_argument(
        "--words", action="store_true", help="CoOp in few passes, its context from words or not"
    )
    flags.add_argument("--quick", action="store_true", help="few passes, by other rates and momenta")
    arguments = flags.parse_args()
    names = tuple(FINNISH.split()) if arguments.finnish else ()
    usual: dict[str, Any] = HARD if arguments.finnish else SCHEDULES
    schedules: dict[str, Any] = FEW if arguments.words else QUICK if arguments.quick else usual
    for recipe in arguments.recipes:
        arguments.recipes = [recipe]
        settings = dict(differing(*one) for one in schedules[recipe])
        judge_both_ways(arguments, settings, arguments.parts, arguments.draws, names)


if __name__ == "__main__":
    main()
