import json
from pathlib import Path

import pytest

from vlprompt.training.schedule import learning_rate

SCHEDULES = json.loads((Path(__file__).parent.parent / "parity" / "schedule.json").read_text())["schedules"]


@pytest.mark.parametrize("case", SCHEDULES, ids=lambda c: f"lr{c['lr']}-{c['max_epoch']}-{c['warmup_epoch']}")
def test_every_epoch_has_the_published_rate(case):
    found = [
        learning_rate(
            epoch,
            lr=case["lr"],
            epochs=case["max_epoch"],
            warmup_epochs=case["warmup_epoch"],
            warmup_lr=case["warmup_constant_lr"],
        )
        for epoch in range(case["max_epoch"])
    ]
    assert found == pytest.approx(case["lr_per_epoch"], rel=1e-9)
