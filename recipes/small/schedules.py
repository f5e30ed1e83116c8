"""How many passes CoOp and TCP take on a small backbone, and by which optimiser, on the demo's pictures that teach.

    python recipes/small/schedules.py --out schedules.jsonl                        CoOp
    python recipes/small/schedules.py --out schedules.jsonl --recipes small_tcp
    python recipes/small/schedules.py --out schedules.jsonl --finnish              names that say little to the backbone

Each schedule is judged in two ways, as in terms.py. What has the highest mean of the two is taken, or what is level with it in half of the passes.
"""

from __future__ import annotations

from typing import Any

from trying import judge_both_ways, parser

LBFGS: dict[str, Any] = {"optimizer": "lbfgs", "schedule": "constant"}
ADAMW: dict[str, Any] = {"optimizer": "adamw", "schedule": "step"}
MUON: dict[str, Any] = {"optimizer": "muon", "schedule": "epoch"}
SCHEDULES: dict[str, list[dict[str, Any]]] = {
    "small_coop": [
        {"epochs": 100, "lr": 0.01} | LBFGS,
        {"epochs": 200, "lr": 0.01} | LBFGS,
        {"epochs": 100, "lr": 0.03} | LBFGS,
        {"epochs": 100, "lr": 0.003} | LBFGS,
        {"epochs": 100, "lr": 0.01} | ADAMW,
        {"epochs": 100, "lr": 0.03} | ADAMW,
        {"epochs": 200, "lr": 0.003} | ADAMW,
        {"epochs": 50, "lr": 0.01} | MUON,
        {"epochs": 100, "lr": 0.0025} | MUON,
        {"epochs": 100, "lr": 0.005} | MUON,
        {"epochs": 100, "lr": 0.01} | MUON,
        {"epochs": 200, "lr": 0.005} | MUON,
        {"epochs": 200, "lr": 0.01} | MUON,
    ],
    "small_tcp": [
        {"epochs": 50, "lr": 0.01} | LBFGS,
        {"epochs": 100, "lr": 0.01} | LBFGS,
        {"epochs": 50, "lr": 0.005} | MUON,
        {"epochs": 50, "lr": 0.01} | MUON,
        {"epochs": 50, "lr": 0.02} | MUON,
        {"epochs": 25, "lr": 0.02} | MUON,
    ],
}
# The demo's classes in their order, and what is tried with them: the hard case, where the text side has to learn most.
FINNISH = (
    "omena avokado banaani porkkana kurkku mehu kiivi sitruuna limetti mango "
    "meloni maito sieni sipuli appelsiini päärynä paprika ananas peruna tomaatti"
)
HARD: dict[str, list[dict[str, Any]]] = {
    "small_coop": [
        {"epochs": 50, "lr": 0.01} | LBFGS,
        {"epochs": 100, "lr": 0.01} | LBFGS,
        {"epochs": 200, "lr": 0.01} | LBFGS,
        {"epochs": 50, "lr": 0.005} | MUON,
        {"epochs": 100, "lr": 0.005} | MUON,
        {"epochs": 200, "lr": 0.005} | MUON,
    ],
    "small_tcp": [
        {"epochs": 50, "lr": 0.01} | LBFGS,
        {"epochs": 100, "lr": 0.01} | LBFGS,
        {"epochs": 50, "lr": 0.02} | MUON,
    ],
}


def shown(schedule: dict[str, Any]) -> str:
    return f"{schedule['optimizer']} {schedule['lr']:g}, {schedule['epochs']} passes"


def main() -> None:
    flags = parser(__doc__.splitlines()[0], ("small_coop",))
    flags.add_argument("--parts", type=int, default=2)
    flags.add_argument("--draws", type=int, default=1)
    flags.add_argument("--finnish", action="store_true", help="with Finnish names of the classes")
    arguments = flags.parse_args()
    names, schedules = (tuple(FINNISH.split()), HARD) if arguments.finnish else ((), SCHEDULES)
    for recipe in arguments.recipes:
        arguments.recipes = [recipe]
        settings = {shown(schedule): {"train": schedule} for schedule in schedules[recipe]}
        judge_both_ways(arguments, settings, arguments.parts, arguments.draws, names)


if __name__ == "__main__":
    main()
