"""An optimizer step is one call: gradients, old parameters and settings in, new parameters out."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch

from dump.format.schema import ScalarRecord


def _step(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> None:
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_is_one_call(record: Any, fused: bool) -> None:
    if fused and tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 4):
        pytest.skip("fused optimizers on the CPU came with torch 2.4")
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.25, fused=fused)
    old = model[0].weight.detach().clone()
    dump = record(lambda: _step(optimizer, model), task="tensor")
    call = "Optimizer.AdamW.0.forward"
    assert dump.names[-1] == call
    assert torch.equal(dump.tensor(call, "input.grad.0.weight"), model[0].weight.grad)
    assert torch.equal(dump.tensor(call, "input.param.0.weight"), old)
    assert torch.equal(dump.tensor(call, "output.0.0.weight"), model[0].weight.detach())
    assert not torch.equal(old, model[0].weight)
    assert dump.leaf(call, "input.group.0.lr") == ScalarRecord("float", 0.25)
    assert dump.leaf(call, "input.group.0.betas.1") == ScalarRecord("float", 0.999)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="Muon came with torch 2.9")
def test_what_muon_computes_with_matrices_inside_its_step_is_part_of_it(record: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False))
    optimizer = torch.optim.Muon(model.parameters(), lr=0.25)
    old = model[0].weight.detach().clone()
    dump = record(lambda: _step(optimizer, model), task="tensor")
    call = "Optimizer.Muon.0.forward"
    assert dump.names[-1] == call
    assert not [name for name in dump.names if "mm" in name]
    assert torch.equal(dump.tensor(call, "input.param.0.weight"), old)
    assert torch.equal(dump.tensor(call, "output.0.0.weight"), model[0].weight.detach())
    assert dump.leaf(call, "input.group.0.ns_steps") == ScalarRecord("int", 5)


@pytest.mark.skipif(
    "maximize" not in inspect.signature(torch.optim.LBFGS).parameters, reason="LBFGS maximizes since torch 2.14"
)
def test_a_closure_whose_loss_is_to_grow(record: Any) -> None:
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=1, maximize=True)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = -(weight * weight).sum()
        loss.backward()
        return loss

    dump = record(lambda: optimizer.step(closure))
    assert dump.leaf("Optimizer.LBFGS.0.forward", "input.group.0.maximize") == ScalarRecord("bool", True)
    assert dump.names[-1] == "Optimizer.LBFGS.0.forward"
    assert weight.abs().max() < 1


def test_parameters_without_gradient_or_name(record: Any) -> None:
    loose, idle = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([{"params": [idle]}, {"params": [loose]}], lr=1.0)

    def act() -> None:
        (loose * 2).sum().backward()
        optimizer.step()

    names = [argument.name for argument in record(act)["Optimizer.SGD.0.forward"].inputs]
    assert "input.grad.group1.0" in names
    assert "input.grad.group0.0" not in names


def test_accumulated_gradients_are_read_as_they_stand_at_the_step(record: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def act() -> None:
        model(torch.ones(1, 2)).sum().backward()
        _step(optimizer, model)

    dump = record(act, task="tensor")
    assert dump.tensor("Optimizer.SGD.0.forward", "input.grad.0.weight").tolist() == [[2, 2]]
    assert [name for name in dump.names if "linear" in name and "backward" in name] == [
        "Functional.linear.0.backward",
        "Functional.linear.1.backward",
    ]


def test_a_closure_is_recorded_call_by_call(record: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).square().sum()
        loss.backward()
        return loss

    dump = record(lambda: optimizer.step(closure))
    assert "Functional.linear.0.backward" in dump
    assert dump.names[-1] == "Optimizer.LBFGS.0.forward"


def test_recording_goes_on_after_a_step_that_raised(record: Any) -> None:
    class Fails(torch.optim.SGD):
        fails = True

        def step(self, closure: Any = None) -> Any:
            if self.fails:
                raise KeyError
            return super().step(closure)

    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    optimizer = Fails(model.parameters(), lr=1.0)

    def act() -> None:
        with pytest.raises(KeyError):
            optimizer.step()
        optimizer.fails = False
        _step(optimizer, model)
        torch.ones(1)

    names = record(act).names
    assert names[-2:] == ["Optimizer.Fails.1.forward", "Torch.ones.0.forward"]
    assert "Functional.linear.0.forward" in names


def test_a_step_inside_a_step_does_not_unmute_the_outer_one(record: Any) -> None:
    class Outer(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            result = inner.step()
            torch.exp(torch.ones(1))
            return result

    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    inner = torch.optim.SGD(model.parameters(), lr=1.0)
    outer = Outer(model.parameters(), lr=1.0)
    dump = record(lambda: _step(outer, model))
    assert dump.names[-1] == "Optimizer.Outer.0.forward"
    assert not any("exp" in name for name in dump.names)


def test_a_step_that_calls_its_parents_step_is_one_call(record: Any) -> None:
    class Child(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    torch.optim.SGD(model.parameters(), lr=1.0)  # from here on the parent's step is hooked as well
    child = Child(model.parameters(), lr=1.0)
    dump = record(lambda: _step(child, model))
    assert [name for name in dump.names if "Optimizer" in name] == ["Optimizer.Child.0.forward"]


@pytest.mark.parametrize("by_name", [False, True])
def test_a_step_with_a_closure_is_one_call_and_its_closure_is_recorded_as_what_it_is(
    record: Any, by_name: bool
) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.25, foreach=False)
    old = model[0].weight.detach().clone()
    losses = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        return loss

    def act() -> None:
        losses.append(optimizer.step(closure=closure) if by_name else optimizer.step(closure))

    dump = record(act, task="tensor")
    call = "Optimizer.AdamW.0.forward"
    assert losses[0] is not None
    assert [name for name in dump.names if name.split(".")[1] not in ("ones", "ones_like", "sum", "linear")] == [call]
    assert {"Functional.linear.0.forward", "Functional.linear.0.backward"} <= set(dump.names)
    assert torch.equal(dump.tensor(call, "input.grad.0.weight"), torch.ones(1, 2))
    assert torch.equal(dump.tensor(call, "input.param.0.weight"), old)
    assert torch.equal(dump.tensor(call, "output.0.0.weight"), model[0].weight.detach())
    assert dump.leaf(call, "input.group.0.lr") == ScalarRecord("float", 0.25)


def test_a_closure_that_runs_again_and_again(record: Any) -> None:
    """LBFGS: one call, with what the first evaluation left; every evaluation is recorded, its vectors are not."""
    weight = torch.full((2,), 3.0, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], lr=0.5, max_iter=3)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    dump = record(lambda: optimizer.step(closure), task="tensor")
    assert dump.tensor("Optimizer.LBFGS.0.forward", "input.grad.group0.0").tolist() == [6, 6]
    assert dump.tensor("Optimizer.LBFGS.0.forward", "input.param.group0.0").tolist() == [3, 3]
    assert sum("square" in name and "forward" in name for name in dump.names) > 1
    assert not [name for name in dump.names if "dot" in name or "neg" in name]


def test_a_closure_that_steps_another_optimizer_and_a_step_that_calls_its_parents(record: Any) -> None:
    class Averaging(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    inner_weight, weight = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    inner, outer = torch.optim.SGD([inner_weight], lr=1.0), Averaging([weight], lr=1.0)

    def closure() -> torch.Tensor:
        (inner_weight * 1).sum().backward()
        inner.step()
        loss = weight.exp().sum()
        loss.backward()
        return loss

    dump = record(lambda: outer.step(closure))
    forward = [name for name in dump.names if name.endswith("forward")]
    assert [name for name in forward if "Optimizer" in name] == [
        "Optimizer.SGD.0.forward",
        "Optimizer.Averaging.0.forward",
    ]
    assert "Tensor.exp.0.forward" in forward


def test_a_closure_that_raises_leaves_nothing_behind(record: Any) -> None:
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)

    def closure() -> float:
        raise KeyError("theirs")

    def act() -> None:
        with pytest.raises(KeyError, match="theirs"):
            optimizer.step(closure)
        torch.neg(weight)

    assert record(act).names == ["Torch.neg.0.forward"]


def test_the_closure_that_an_optimizer_sees_has_what_the_closure_has(record: Any) -> None:
    class Closure:
        result = 7

        def __call__(self) -> float:
            return 0.0

    class Asking(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return closure.result, copy.deepcopy(closure).result, closure()

    asking = Asking([torch.ones(1, requires_grad=True)], lr=1.0)
    found = []
    record(lambda: found.append(asking.step(Closure())))
    assert found == [(7, 7, 0.0)]


class Sharing(torch.optim.Optimizer):
    """One whose step is that of an optimizer which has the first parameters alone, as where ranks share them out."""

    def __init__(self, parameters: list[torch.nn.Parameter], own: int) -> None:
        super().__init__(parameters, {"lr": 0.1})
        self.inner = torch.optim.SGD(parameters[:own], lr=0.1)

    def step(self, closure: Any = None) -> None:
        self.inner.step()


@pytest.mark.parametrize(("own", "told"), [(1, ["0.weight"]), (2, [])])
def test_parameters_that_an_optimizer_inside_updates_are_this_ranks_own(record: Any, own: int, told: list[str]) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    optimizer = Sharing(list(model.parameters()), own)
    dump = record(lambda: _step(optimizer, model))
    assert [name for name in dump.names if name.startswith("Optimizer.")] == ["Optimizer.Sharing.0.forward"]
    call = dump["Optimizer.Sharing.0.forward"]
    assert [a.leaf.value for a in call.inputs if a.name.startswith("input.own.")] == told  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # dynamo's own use of it
def test_a_step_that_is_compiled_is_one_call_and_dynamo_says_nothing_of_our_hooks(record: Any) -> None:
    torch._dynamo.reset()
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    step = torch.compile(optimizer.step, backend="eager")

    def act() -> None:
        model(torch.ones(1, 2)).sum().backward()
        step()

    dump = record(act)
    assert dump.names[-1] == "Optimizer.SGD.0.forward"
