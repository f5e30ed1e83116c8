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


def test_from_step_to_step_down_to_a_rate():
    """As torch's cosine schedule, called once a step."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.2)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12, eta_min=1e-3)
    for epoch in range(3):
        for step in range(4):
            found = learning_rate(epoch + step / 4, lr=0.2, epochs=3, final_lr=1e-3)
            assert found == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
            optimizer.step()
            theirs.step()
