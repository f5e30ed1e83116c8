"""How many passes CoOp takes on a small backbone, and by which optimiser, on the demo's pictures that teach.

    python recipes/small/schedules.py --out schedules.jsonl

Each schedule is judged in two ways, as in terms.py. What has the highest mean of the two is taken.
"""

from __future__ import annotations

from typing import Any

from trying import judge_both_ways, parser

SCHEDULES: dict[str, dict[str, Any]] = {
    "L-BFGS 0.01, 100 passes": {"epochs": 100},
    "L-BFGS 0.01, 200 passes": {"epochs": 200},
    "L-BFGS 0.03, 100 passes": {"epochs": 100, "lr": 0.03},
    "L-BFGS 0.003, 100 passes": {"epochs": 100, "lr": 0.003},
    "AdamW 0.01, 100 passes": {"epochs": 100, "optimizer": "adamw", "schedule": "step"},
    "AdamW 0.03, 100 passes": {"epochs": 100, "optimizer": "adamw", "schedule": "step", "lr": 0.03},
    "AdamW 0.003, 200 passes": {"epochs": 200, "optimizer": "adamw", "schedule": "step", "lr": 0.003},
}


def main() -> None:
    flags = parser(__doc__.splitlines()[0], ("small_coop",))
    flags.add_argument("--parts", type=int, default=2)
    flags.add_argument("--draws", type=int, default=1)
    arguments = flags.parse_args()
    settings = {name: {"train": schedule} for name, schedule in SCHEDULES.items()}
    judge_both_ways(arguments, settings, arguments.parts, arguments.draws)


if __name__ == "__main__":
    main()
