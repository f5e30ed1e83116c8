"""GalLoP: its formula, which prompts a picture trains, and which patches a prompt looks at."""

from __future__ import annotations

from typing import Any

import by_hand
import pytest
import torch
from against_formulas import NAMES, build, check, pixels
from torch import Tensor

from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch, Method

CHOSEN = torch.tensor([[0, 2], [1, 1], [2, 0]])
SMALL: dict[str, Any] = {"global_prompts": 3, "local_prompts": 2, "patches": "1,3", "dropout": 0.5}


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
@pytest.mark.parametrize(
    ("options", "topk"), [({}, [1, 3]), ({"patches": "2"}, [2, 2]), ({"patches": "4,900"}, [4, 900])]
)
def test_the_formula(options: dict[str, Any], topk: list[int], plain: bool) -> None:
    def logits(*given: Any) -> dict[str, Tensor]:
        out = by_hand.gallop(*given, list(NAMES), topk, CHOSEN)
        clip, g, ours = given[0], out["global_text"], out["local_text"]
        whole = torch.einsum("bd,cgd->bcg", out["image"], g).mean(-1)
        cosines = torch.einsum("bnd,cld->bncl", out["local"], ours)
        best = [
            cosines[..., i].topk(min(k, cosines.shape[1]), dim=1).values.mean(1) for i, k in enumerate(topk)
        ]
        return out | {"logits": clip.scale * (whole + torch.stack(best, -1).mean(-1)) / 2}

    def choose(method: Any) -> None:
        method.draw = lambda step, pictures, keep, count: CHOSEN

    check(
        "gallop", SMALL | options, logits, weights={"local": 1.0, "global": 1.0}, plain=plain, prepare=choose
    )


def drawn(method: Any, steps: int = 40) -> list[Tensor]:
    return [method.see(Batch(pixels=pixels())).extra["chosen"] for _ in range(steps)]


def test_the_paper_draws_without_replacement_and_the_code_with_it() -> None:
    paper = drawn(build("gallop", SMALL | {"dropout": 0.0}).train())
    assert all(torch.equal(one.sort(dim=1).values, torch.arange(3).expand(3, -1)) for one in paper)
    code = drawn(build("gallop", SMALL | {"dropout": 0.0, "reference": "published_code"}).train())
    assert any(len(set(row)) < 3 for one in code for row in one.tolist())
    assert {int(n) for one in code for n in one.flatten()} == {0, 1, 2}


def test_the_share_that_is_left_out() -> None:
    for dropout, kept in ((0.0, 4), (0.3, 3), (0.75, 1), (1.0, 1)):
        method = build("gallop", {"dropout": dropout}).train()
        assert drawn(method, 1)[0].shape == (3, kept)


def test_a_loaded_state_goes_on_with_the_same_choices() -> None:
    first, second = build("gallop", SMALL).train(), build("gallop", SMALL).train()
    kept = drawn(first, 5)
    second.load_state_dict(first.state_dict())
    assert torch.equal(drawn(second, 1)[0], drawn(first, 1)[0])
    assert len({str(one.tolist()) for one in kept}) > 1


def test_patch_states_that_are_known_need_no_tower() -> None:
    method = build("gallop", SMALL).eval()
    features, states = method.backbone.patch_states(pixels())
    with torch.no_grad():
        live, known = method(Batch(pixels=pixels())), method(Batch(features=features, patch_states=states))
    torch.testing.assert_close(known.logits, live.logits)
    torch.testing.assert_close(live.logits, (live.extra["global_logits"] + live.extra["local_logits"]) / 2)


def test_prompts_start_as_the_same_words_and_the_map_as_the_identity() -> None:
    from support import tiny_backbone

    from vlprompt import methods
    from vlprompt.data.task import Task

    method: Method = methods.load("gallop").build(tiny_backbone(3), Task(NAMES))
    contexts = method.learned_context()
    assert contexts is not None and contexts.shape == (8, 4, 64)
    assert torch.equal(contexts, contexts[:1].expand(8, -1, -1))
    assert torch.equal(method.local_map, torch.eye(128))


@pytest.mark.parametrize("patches", ["", "0", "5,10", "5,10,15,x", "1.5", "-3"])
def test_numbers_of_patches_are_checked(patches: str) -> None:
    with pytest.raises(OptionError, match="patches is"):
        build("gallop", {"patches": patches})
