"""Gradients as recorded are, bit for bit, those that torch.autograd.grad gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dump.intercept import autograd


def _leaves(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


Act = Callable[..., torch.Tensor]
CALLS: list[tuple[str, str, Act, Sequence[tuple[int, ...]]]] = [
    ("linear", "Functional.linear.0", F.linear, [(2, 3), (4, 3), (4,)]),
    ("conv2d", "Functional.conv2d.0", F.conv2d, [(1, 2, 5, 5), (3, 2, 3, 3), (3,)]),
    ("addition that broadcasts", "Torch.add.0", torch.add, [(2, 3), (3,)]),
    ("layer norm", "Functional.layer_norm.0", lambda x, w, b: F.layer_norm(x, (4,), w, b), [(3, 4), (4,), (4,)]),
    ("cross entropy", "Functional.cross_entropy.0", lambda x: F.cross_entropy(x, torch.tensor([1, 0])), [(2, 3)]),
    ("chain inside one call", "Functional.gelu.0", F.gelu, [(5,)]),
    ("attention", "Functional.scaled_dot_product_attention.0", F.scaled_dot_product_attention, [(1, 2, 4)] * 3),
    ("einsum", "Torch.einsum.0", lambda a, b: torch.einsum("ij,jk->ki", a, b), [(2, 3), (3, 2)]),
]


@pytest.mark.parametrize(("name", "act", "shapes"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS])
def test_gradients_equal_the_reference(record: Any, name: str, act: Act, shapes: Sequence[tuple[int, ...]]) -> None:
    leaves = _leaves(*shapes)
    # The API is looked up when it is called, as a user's code does.
    function = getattr(F if name.startswith("Functional") else torch, name.split(".")[1])

    def run() -> torch.Tensor:
        if act is function:
            found = getattr(F if name.startswith("Functional") else torch, name.split(".")[1])
            return found(*leaves)
        return act(*leaves)

    output = run()
    outward = torch.randn(output.shape, generator=torch.Generator().manual_seed(4))
    expected = torch.autograd.grad(output, leaves, outward)

    def step() -> None:
        for leaf in leaves:
            leaf.grad = None
        run().backward(outward)

    dump = record(step, task="tensor")
    call = f"{name}.backward"
    assert torch.equal(dump.tensor(call, "input.0"), outward)
    for index, gradient in enumerate(expected):
        assert torch.equal(dump.tensor(call, f"output.{index}"), gradient)
        assert torch.equal(leaves[index].grad, gradient)


def test_an_argument_given_twice_has_the_sum_under_its_first_place(record: Any) -> None:
    (x,) = _leaves((4,))
    dump = record(lambda: torch.mul(x, x).sum().backward(), task="tensor")
    assert torch.equal(dump.tensor("Torch.mul.0.backward", "output.0"), 2 * x.detach())
    assert [argument.leaf is None for argument in dump["Torch.mul.0.backward"].outputs] == [False, True]


def test_an_argument_without_gradient_is_null(record: Any) -> None:
    (x,) = _leaves((2, 2))
    dump = record(lambda: torch.mul(torch.ones(2, 2), x).sum().backward())
    assert [argument.leaf is None for argument in dump["Torch.mul.0.backward"].outputs] == [True, False]


def test_a_value_read_by_two_calls_has_a_gradient_from_each(record: Any) -> None:
    (x,) = _leaves((3,))

    def step() -> None:
        y = torch.tanh(x)
        (torch.exp(y) + torch.sin(y)).sum().backward()

    dump = record(step, task="tensor")
    y = torch.tanh(x.detach())
    through_exp = dump.tensor("Torch.exp.0.backward", "output.0")
    through_sin = dump.tensor("Torch.sin.0.backward", "output.0")
    assert torch.equal(through_exp, y.exp())
    assert torch.equal(through_sin, y.cos())
    assert torch.equal(dump.tensor("Torch.tanh.0.backward", "input.0"), through_sin + through_exp)


def test_a_chain_of_views_and_in_place_calls_is_followed(record: Any) -> None:
    (x,) = _leaves((2, 3))

    def step() -> None:
        y = torch.exp(x).view(3, 2).transpose(0, 1)
        y = torch.mul(y, 2)
        y.add_(1).mul_(3)
        y.sum().backward()

    dump = record(step, task="tensor")
    backward = [name for name in dump.names if name.endswith(".backward")]
    order = ["Tensor.sum.0", "Tensor.mul_.0", "Tensor.add_.0", "Torch.mul.0", "Tensor.transpose.0", "Tensor.view.0"]
    assert backward == [f"{name}.backward" for name in [*order, "Torch.exp.0"]]
    assert dump.tensor("Tensor.add_.0.backward", "output.0").eq(3).all()
    assert dump.tensor("Torch.exp.0.backward", "input.0").eq(6).all()
    assert torch.equal(dump.tensor("Torch.exp.0.backward", "output.0"), x.grad)


def test_a_call_in_place_on_a_view_is_followed_as_far_as_autograd_does(record: Any) -> None:
    (x, y) = _leaves((4,), (2,))

    def step() -> None:
        z = torch.mul(x, 1)
        z[:2].mul_(y)
        z.sum().backward()

    dump = record(step, task="tensor")
    assert torch.equal(dump.tensor("Tensor.mul_.0.backward", "output.1"), y.grad)
    assert torch.equal(dump.tensor("Torch.mul.0.backward", "output.0"), x.grad)


def test_an_assignment_by_index_has_gradients(record: Any) -> None:
    (x, y) = _leaves((3,), ())

    def step() -> None:
        z = torch.mul(x, 1)
        z[1] = y
        (z * 2).sum().backward()

    dump = record(step, task="tensor")
    call = "Tensor.__setitem__.0.backward"
    assert dump.tensor(call, "input.0").tolist() == [2, 2, 2]
    assert dump.tensor(call, "output.0").tolist() == [2, 0, 2]
    assert dump.tensor(call, "output.1").tolist() == 2


def test_outputs_that_lead_nowhere_are_null_and_the_rest_is_recorded(record: Any) -> None:
    (x,) = _leaves((4,))

    def step() -> None:
        first, _ = torch.split(x, 2)
        first.sum().backward()

    dump = record(step)
    split = dump["Torch.split.0.backward"]
    assert [argument.leaf is None for argument in split.inputs] == [False, True]


@pytest.mark.parametrize("differentiable", [False, True])
def test_a_second_backward_through_the_same_graph_is_a_call_of_its_own(record: Any, differentiable: bool) -> None:
    """As where a discriminator's real loss comes with a penalty on its gradients."""
    (x,) = _leaves((2,))

    def step() -> None:
        loss = torch.exp(x).sum()
        loss.backward(retain_graph=True)
        (2 * loss).backward(retain_graph=True)
        torch.autograd.grad(3 * loss, x, create_graph=differentiable)

    dump = record(step, task="tensor")
    assert [name for name in dump.names if "exp" in name] == [
        "Torch.exp.0.forward",
        "Torch.exp.0.backward",
        "Autograd.exp_backward.0.forward",
        "Autograd.exp_backward.1.forward",
    ]
    assert torch.equal(x.grad, 3 * x.detach().exp())
    for number, factor in ((0, 2), (1, 3)):
        name = f"Autograd.exp_backward.{number}.forward"
        assert dump.tensor(name, "input.0").tolist() == [factor, factor]
        assert torch.equal(dump.tensor(name, "input.1.0"), x.detach())
        assert torch.equal(dump.tensor(name, "output.0"), factor * x.detach().exp())


def test_a_pass_through_a_part_of_the_graph_does_not_take_from_the_next(record: Any) -> None:
    (x,) = _leaves((4,))

    def step() -> None:
        first, second = torch.split(x, 2)
        first.sum().backward(retain_graph=True)
        second.sum().backward()

    names = record(step).names
    assert names.count("Torch.split.0.backward") == 1
    assert "Autograd.split_backward.0.forward" in names


def test_where_modules_alone_are_recorded_further_passes_are_counted(record: Any) -> None:
    model = torch.nn.Linear(2, 2)

    def step() -> None:
        loss = model(torch.ones(1, 2)).sum()
        loss.backward(retain_graph=True)
        loss.backward()

    assert record(step, models=[model], level="L0").dump.header.coverage["repeated"] == 1
    assert "repeated" not in record(step, models=[model], level="mix").dump.header.coverage


def test_double_backward_is_left_as_it_is(record: Any) -> None:
    (x,) = _leaves((3,))
    second = []

    def step() -> None:
        (first,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
        second.extend(torch.autograd.grad(first.sum(), x))

    record(step)
    torch.testing.assert_close(second[0], 6 * x.detach())


def test_gradients_that_came_are_recorded_where_others_never_do(record: Any) -> None:
    """A call with two nodes at its border of which backward reaches one."""
    (x, y) = _leaves((2,), (2,))

    class Two(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return a.exp(), b.sin()

    class Outer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.two = Two()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self) -> torch.Tensor:
            return self.two(x, y)[0] * self.scale

    outer = Outer()
    dump = record(lambda: outer().sum().backward(), level="L0")
    call = dump["Module.two.Two.backward.0"]
    assert [argument.leaf is None for argument in (*call.inputs, *call.outputs)] == [False, True, False, True]


def test_the_walk_stops_at_its_limit() -> None:
    (x,) = _leaves((2,))
    before = autograd.before_call([x])
    assert before is not None
    y = x
    for _ in range(5):
        y = y + 1
    assert autograd.find_border(before, [y], 5) is not None
    assert autograd.find_border(before, [y], 3) is None


def test_no_graph_has_no_border() -> None:
    (x,) = _leaves((2,))
    with torch.no_grad():
        assert autograd.before_call([x]) is None
    before = autograd.before_call([x])
    assert before is not None
    assert autograd.find_border(before, [x, torch.ones(1)], 10) is None


def test_a_graph_is_freed_as_soon_as_it_is_without_us(record: Any) -> None:
    import weakref

    (x,) = _leaves((2,))
    alive = []

    class Kept(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: torch.Tensor) -> torch.Tensor:
            ctx.kept = torch.ones(1)
            alive.append(weakref.ref(ctx.kept))
            return a.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient

    def step() -> None:
        import gc

        gc.disable()
        try:
            loss = torch.exp(Kept.apply(x)).sum()
            del loss
            assert alive[0]() is None
        finally:
            gc.enable()

    record(step)


def test_a_call_of_which_only_a_part_runs_backward_stands_before_what_follows_the_backward_pass(record: Any) -> None:
    lstm = torch.nn.LSTM(3, 4, num_layers=2, batch_first=True)
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(3))

    def step() -> None:
        output, _ = lstm(x)  # the states go unused
        output.sum().backward()
        torch.mul(lstm.weight_hh_l0.grad, 0.5)

    names = list(record(step).calls)
    assert names.index("VF.lstm.0.backward") < names.index("Torch.mul.0.forward")
