import subprocess
import sys

import pytest
import torch

from vlprompt.errors import OptionError
from vlprompt.training.optimizers import ParameterGroup, grouped_optimizer, make_optimizer


def gradients(step: int) -> list[torch.Tensor | None]:
    draw = torch.Generator().manual_seed(step)
    return [torch.randn(4, 3, generator=draw), torch.randn(5, generator=draw) if step else None, None]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            lambda p: make_optimizer("sgd", p, lr=0.5, momentum=0.0, weight_decay=0.01),
            lambda p: torch.optim.SGD(p, lr=0.5, momentum=0.0, weight_decay=0.01),
        ),
        (
            lambda p: make_optimizer("sgd", p, lr=0.5, momentum=0.9, weight_decay=0.01),
            lambda p: torch.optim.SGD(p, lr=0.5, momentum=0.9, weight_decay=0.01),
        ),
        (
            lambda p: make_optimizer("adamw", p, lr=0.5, weight_decay=0.01),
            lambda p: torch.optim.AdamW(p, lr=0.5, weight_decay=0.01),
        ),
        (
            lambda p: make_optimizer("adam", p, lr=0.5, weight_decay=0.01),
            lambda p: torch.optim.Adam(p, lr=0.5, weight_decay=0.01),
        ),
    ],
    ids=["sgd", "sgd with momentum", "adamw", "adam"],
)
def test_the_numbers_are_those_of_torch(ours, theirs):
    def trained(make):
        parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in ((4, 3), (5,), (2,))]
        optimizer = make(parameters)
        for step in range(4):
            optimizer.zero_grad()
            for parameter, gradient in zip(parameters, gradients(step), strict=True):
                parameter.grad = gradient
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            optimizer.step()
        return parameters

    ours, theirs = trained(ours), trained(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert torch.equal(ours[2], torch.ones(2))  # no gradient: no decay


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_no_compiler_is_imported(kind):
    code = (
        "import sys, torch; from vlprompt.training.optimizers import make_optimizer\n"
        "p = torch.nn.Parameter(torch.ones(2)); o = make_optimizer('KIND', [p], lr=1.0)\n"
        "p.sum().backward(); o.step(); o.zero_grad(); assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code.replace("KIND", kind)], check=True)


def test_groups_learn_by_rules_of_their_own():
    first, second, third = (torch.nn.Parameter(torch.ones(3)) for _ in range(3))
    groups = [
        ParameterGroup([second], optimizer="adamw", lr=0.1, weight_decay=0.0),
        ParameterGroup([third], lr=0.5),
    ]
    optimizer = grouped_optimizer(
        "sgd", [first, second, third], groups, lr=0.01, momentum=0.0, weight_decay=0.0
    )
    for parameter in (first, second, third):
        parameter.grad = torch.full((3,), 2.0)
    optimizer.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1, 0.5]
    torch.testing.assert_close(first.detach(), torch.full((3,), 0.98))
    torch.testing.assert_close(second.detach(), torch.full((3,), 0.9))
    torch.testing.assert_close(third.detach(), torch.zeros(3))


def test_wrong_groups_are_refused():
    tensor = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(OptionError, match="two parameter groups"):
        grouped_optimizer("sgd", [tensor], [ParameterGroup([tensor]), ParameterGroup([tensor])], lr=1.0)
    with pytest.raises(OptionError, match='no optimizer "rmsprop"'):
        grouped_optimizer("sgd", [tensor], [ParameterGroup([tensor], optimizer="rmsprop")], lr=1.0)
