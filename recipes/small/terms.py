"""Which of LAMM's further losses a small backbone takes, and how much of them, on the demo's pictures that teach.

    python recipes/small/terms.py --out terms.jsonl

Factors of the paper's weights at 16 shots (1/16, 1 and 0.05), with everything else as in the recipes: all three losses
together, each of them alone, none. Each is judged in two ways: by the validation pictures, over four draws of what is
learned (100 pictures, taken elsewhere than those that teach: the harder ones, and few); and by parts, where training and
validation pictures are put together and each fifth is judged by what 16 pictures a class of the others teach (500
pictures, most of which look like some that teach). What has the highest mean of the two is taken.
"""

from __future__ import annotations

from trying import DRAWS, PARTS, judge_both_ways, parser

PAPER = {"parameter_weight": 1 / 16, "feature_weight": 1.0, "logits_weight": 0.05}
LOSSES = {
    "parameter_weight": "parameter_loss",
    "feature_weight": "feature_loss",
    "logits_weight": "logits_loss",
}


def options(factors: dict[str, float]) -> dict[str, float | bool]:
    """By weight's name its factor of the paper's; a loss that is not named is off."""
    on = {name: factor * PAPER[name] for name, factor in factors.items()}
    return {**on, **{loss: False for name, loss in LOSSES.items() if name not in factors}}


def main() -> None:
    flags = parser(__doc__.splitlines()[0], ("small_lamm",))
    flags.add_argument(
        "--factors", type=lambda text: [float(one) for one in text.split(",")], default=[1, 0.3]
    )
    flags.add_argument(
        "--only", type=lambda text: text.split(","), help="settings by their names, without the others"
    )
    arguments = flags.parse_args()
    settings = {"none": options({})}
    for factor in arguments.factors:
        settings[f"all {factor:g}"] = options(dict.fromkeys(PAPER, factor))
        settings |= {f"{LOSSES[name]} {factor:g}": options({name: factor}) for name in PAPER}
    if arguments.only:
        settings = {name: settings[name] for name in arguments.only}
    judge_both_ways(arguments, {name: {"options": own} for name, own in settings.items()}, PARTS, DRAWS)


if __name__ == "__main__":
    main()
