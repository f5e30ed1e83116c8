import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlprompt.errors import OptionError
from vlprompt.training.optimizers import KINDS, ParameterGroup, grouped_optimizer, make_optimizer


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


@pytest.mark.parametrize("kind", list(KINDS))
def test_no_compiler_is_imported(kind):
    code = (
        "import sys, torch; from vlprompt.training.optimizers import make_optimizer\n"
        "p = torch.nn.Parameter(torch.ones(2)); o = make_optimizer('KIND', [p], lr=1.0)\n"
        "p.sum().backward(); o.step(2.0); o.zero_grad(); assert 'torch._dynamo' not in sys.modules"
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


def descend(loss, parameters, steps, **said):
    """The losses of so many steps of L-BFGS."""
    optimizer = make_optimizer("lbfgs", parameters, **{"lr": 1.0, "weight_decay": 0.0} | said)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        if value.requires_grad:
            value.backward()
        found.append(float(value.detach()))
        optimizer.step(found[-1])
    return found


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 50), decay=st.sampled_from([0.0, 0.1]))
def test_the_minimum_of_a_bowl(seed, decay):
    """|A (x - c)|^2 / 2 + decay |x|^2 / 2, of which the solution is known, with x in two tensors."""
    draw = torch.Generator().manual_seed(seed)
    a, c = torch.randn(6, 4, generator=draw) + 2 * torch.eye(6, 4), torch.randn(4, generator=draw)
    first, second = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    descend(
        lambda: ((a @ (torch.cat([first, second]) - c)) ** 2).sum() / 2,
        [first, second],
        60,
        weight_decay=decay,
    )
    best = torch.linalg.solve(a.T @ a + decay * torch.eye(4), a.T @ a @ c)
    torch.testing.assert_close(torch.cat([first, second]).detach(), best, atol=1e-2, rtol=1e-2)


def test_a_valley_that_bends():
    """Rosenbrock's, where the way to the minimum is not straight and the loss does not curve upwards everywhere."""
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0]))
    found = descend(lambda: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2, [x], 120)
    assert min(found) < 1e-3 < found[0]


@settings(max_examples=20, deadline=None)
@given(lr=st.floats(0.01, 1.0))
def test_no_step_is_longer_than_the_rate(lr):
    x = torch.nn.Parameter(torch.full((9,), 5.0))
    before, moved = x.detach().clone(), []

    def loss():
        nonlocal before
        moved.append(float((x.detach() - before).pow(2).mean().sqrt()))
        before = x.detach().clone()
        return (x**4).sum()

    descend(loss, [x], 12, lr=lr)
    assert max(moved) <= lr * 1.001 and moved[1] > 0.99 * lr  # the first has nothing but the rate to go by


def test_a_step_too_far_is_taken_back_in_part():
    x = torch.nn.Parameter(torch.tensor([1.0]))
    found = descend(lambda: (x**2).sum(), [x], 3, lr=10.0)
    assert found[1] > found[0] > found[2]


@settings(max_examples=30, deadline=None)
@given(lr=st.floats(0.01, 10.0), steps=st.integers(1, 40), decay=st.sampled_from([0.0, 0.01]))
def test_no_training_ends_at_a_bad_try(lr, steps, decay):
    """Where the last move led to is kept if it was good, else the last good point is; what does not learn stays."""
    x, idle = torch.nn.Parameter(torch.tensor([-1.2, 1.0])), torch.nn.Parameter(torch.ones(2))

    def value():
        return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2

    optimizer = make_optimizer("lbfgs", [idle, x], lr=lr, weight_decay=decay)
    judged = {}
    for _ in range(steps):
        optimizer.zero_grad()
        loss = value()
        loss.backward()
        judged[tuple(x.tolist())] = float(loss.detach() + decay / 2 * x.detach().square().sum())
        optimizer.step(float(loss.detach()))
    tried, loss = x.detach().clone(), float(value().detach())
    back = optimizer.end(loss)
    assert torch.equal(idle, torch.ones(2))
    if back:
        assert judged[tuple(x.tolist())] < loss + decay / 2 * float(tried.square().sum())
    else:
        assert torch.equal(x, tried)
        assert loss + decay / 2 * float(tried.square().sum()) <= max(judged.values())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_ends_that_need_no_judge(kind):
    """Nothing happens without a step, with another kind, or after a good move; a loss that is no number is bad."""
    x = torch.nn.Parameter(torch.tensor([2.0, 1.0]))
    optimizer = make_optimizer(kind, [x], lr=0.01, weight_decay=0.0)
    assert not optimizer.end(math.inf) and optimizer.judges == (kind == "lbfgs")
    (x**2).sum().backward()
    optimizer.step(5.0)
    moved = x.detach().clone()
    assert not optimizer.end(float((moved**2).sum())) and torch.equal(x, moved)
    assert optimizer.end(math.nan) == (kind == "lbfgs")
    assert torch.equal(x, torch.tensor([2.0, 1.0]) if kind == "lbfgs" else moved)


def test_tensors_without_a_gradient_stay():
    x, idle = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    descend(lambda: (x**2).sum(), [x, idle], 3, weight_decay=0.5)
    assert torch.equal(idle, torch.ones(2)) and float(x.detach().abs().max()) < 1


def test_it_goes_on_from_what_was_kept():
    """As after an interruption: another optimiser with the tensors of the first does the same steps."""

    def loss_of(x):
        return ((x - torch.arange(5.0)) ** 4).sum()

    whole = torch.nn.Parameter(torch.zeros(5))
    descend(lambda: loss_of(whole), [whole], 9, lr=0.2)
    x = torch.nn.Parameter(torch.zeros(5))
    held: dict = {}
    for _ in range(9):
        optimizer = make_optimizer("lbfgs", [x], lr=0.2, weight_decay=0.0)
        optimizer.state[x].update(held)
        loss = loss_of(x)
        loss.backward()
        optimizer.step(float(loss.detach()))
        held = {name: value.clone() for name, value in optimizer.state[x].items()}
        x.grad = None
    assert torch.equal(x, whole)


def moved(value, gradient, **said):
    """What one step of Muon changes, without momentum or decay."""
    parameter = torch.nn.Parameter(value.clone())
    parameter.grad = gradient
    make_optimizer("muon", [parameter], **{"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0} | said).step()
    return parameter.detach() - value


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 50), shape=st.sampled_from([(4, 9), (9, 4), (3, 2, 8), (7,), ()]))
def test_muon_moves_all_directions_equally_far(seed, shape):
    draw = torch.Generator().manual_seed(seed)
    gradient = torch.randn(shape, generator=draw) * 10.0 ** (seed % 9 - 4)
    change = moved(torch.zeros(shape), gradient)
    assert float((change * gradient).sum()) < 0
    matrix = change.reshape(-1, shape[-1]) if len(shape) > 1 else change.reshape(1, -1)
    found = torch.linalg.svdvals(matrix)
    # directions of small slope move a little less: here a hundredth of the largest, and half a per cent
    torch.testing.assert_close(
        found, torch.full_like(found, 0.1 * max(matrix.shape) ** 0.5), rtol=5e-3, atol=0
    )
    # what the rate says, where no direction is missing
    assert float(change.square().mean().sqrt()) == pytest.approx(0.1, rel=2e-3)


def test_muon_leaves_alone_what_has_no_slope():
    left, right = torch.randn(4, 1), torch.randn(1, 6)
    change = moved(torch.ones(4, 6), left @ right)  # the other three directions are rounding
    assert torch.linalg.matrix_rank(change, rtol=1e-2) == 1
    assert torch.equal(moved(torch.ones(4, 6), torch.zeros(4, 6)), torch.zeros(4, 6))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "lbfgs"])
def test_a_gradient_that_is_not_finite_is_for_the_training_to_say(kind):
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    parameter.grad = torch.full((2, 3), torch.nan)
    make_optimizer(kind, [parameter], lr=0.1).step()
    assert parameter.isnan().all()


def test_muons_momentum_and_decay():
    """One row, where a step is the unit vector of what momentum and gradient point to."""
    first, second = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    parameter = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = make_optimizer("muon", [parameter], lr=0.1, momentum=0.5, weight_decay=0.2)
    expected, held = torch.tensor([1.0, 1.0]), torch.zeros(2)
    for gradient in (first, second):
        parameter.grad = gradient
        optimizer.step()
        held = 0.5 * held + gradient
        ahead = gradient + 0.5 * held
        expected = expected * (1 - 0.1 * 0.2) - 0.1 * 2**0.5 * ahead / ahead.norm()
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-6)


def test_muon_goes_on_bit_for_bit():
    def loss_of(x):
        return (x @ torch.diag(torch.arange(1.0, 6.0)) - 1).square().sum()

    def steps(x, count, held):
        for _ in range(count):
            optimizer = make_optimizer("muon", [x], lr=0.05)
            optimizer.state[x].update(held)
            x.grad = None
            loss_of(x).backward()
            optimizer.step()
            held = {name: value.clone() for name, value in optimizer.state[x].items()}
        return held

    whole, parts = torch.nn.Parameter(torch.zeros(3, 5)), torch.nn.Parameter(torch.zeros(3, 5))
    steps(whole, 8, {})
    steps(parts, 5, steps(parts, 3, {}))
    assert torch.equal(whole, parts)
    assert loss_of(whole).item() < loss_of(torch.zeros(3, 5)).item()
