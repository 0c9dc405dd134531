"""Whatever of ours fails as a call is met: the user's function is called once, its result or error is the user's, and
the failure is told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from dump import native
from dump.config import DumpConfig
from dump.intercept import apis, calls
from dump.intercept import watch as watch_module
from dump.intercept.modules import ModuleCalls, ModuleTree
from dump.intercept.naming import OperatorNames
from dump.intercept.optimizer import OptimizerSteps
from dump.intercept.scripted_code import ScriptedCode
from dump.intercept.steps import LiveOptimizers, StepFinder
from dump.intercept.watch import Watch
from dump.record.recorder import StepRecorder
from dump.session import Session


class _Counts(TorchDispatchMode):
    """Which operators were run."""

    def __init__(self) -> None:
        super().__init__()
        self.run: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.run.append(str(func))
        return func(*args, **(kwargs or {}))


def _train(kind: type[torch.optim.Optimizer]) -> Any:
    """The weights after two steps, and how often the loss was computed."""
    model, made = torch.nn.Linear(2, 1), []
    optimizer = kind(model.parameters(), lr=0.1)  # type: ignore[call-arg]

    def closure() -> Any:
        made.append(1)
        optimizer.zero_grad()
        loss = model(X).square().sum()
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
    return model.weight.tolist(), len(made)


def _hooked() -> Any:
    leaf = torch.ones(2, requires_grad=True)
    result = leaf.exp()
    result.register_hook(lambda gradient: gradient * 2)
    result.sum().backward()
    return leaf.grad


SCRIPTED = torch.jit.script(torch.nn.ReLU())
X = torch.arange(4.0).view(2, 2)
CALLS: dict[str, Callable[[], Any]] = {
    "in Python": lambda: F.softplus(X),
    "in Python, more than one operator": lambda: F.cross_entropy(X, torch.tensor([0, 1])),
    "in C": lambda: torch.relu(X),
    "in C, of a namespace": lambda: torch.linalg.norm(X),
    "method": lambda: X.exp(),
    "operator": lambda: X + X,
    "module": lambda: torch.nn.Linear(2, 2, bias=False)(X).shape,
    "optimizer": lambda: _train(torch.optim.SGD),
    "optimizer with a closure": lambda: _train(torch.optim.LBFGS),
    "operator of torch.ops": lambda: torch.ops.aten.exp(X),
    "scripted": lambda: SCRIPTED(X),
    "in backward": lambda: _hooked(),
    "raises": lambda: torch.relu(torch.ones(2)).view(3),
}
OURS: dict[str, tuple[Any, str]] = {
    "whose call it is": (apis, "in_the_name_of"),
    "whether anybody listens": (watch_module, "_is_reading_code"),
    "whether the call is a kernel's": (watch_module, "_runs_kernel_in_backward"),
    "whether the set-up has ended": (apis, "ends_setup"),
    "what begins a record": (calls, "begin"),
    "what ends a record": (calls, "finish"),
    "what is written unseen": (apis, "_writes_unseen"),
    "the way into a module": (ModuleCalls, "enter"),
    "the way out of a module": (ModuleCalls, "leave"),
    "the name of a module": (ModuleTree, "meet"),
    "who trains": (Watch, "claim"),
    "which step is open": (OptimizerSteps, "_is_open"),
    "which steps have raised": (OptimizerSteps, "drop_those_that_raised"),
    "what a step reads": (OptimizerSteps, "_look"),
    "which optimizers there are": (LiveOptimizers, "made"),
    "the end of a step": (LiveOptimizers, "ends_step"),
    "scripted code": (ScriptedCode, "_count"),
    "names of operators": (OperatorNames, "key"),
    "what to do next": (StepFinder, "outermost"),
    "the number of a call": (StepRecorder, "number"),
    "the stack": (StepRecorder, "take_stack"),
}


def _outcome(act: Callable[[], Any]) -> tuple[list[str], Any]:
    torch.manual_seed(0)
    with _Counts() as counts:
        try:
            result: Any = act()
        except RuntimeError as error:
            result = str(error)
    return counts.run, result.tolist() if isinstance(result, torch.Tensor) else result


@pytest.mark.parametrize(
    ("ours", "core"),
    [pytest.param(ours, native.core, id=ours) for ours in OURS]
    + [pytest.param(ours, None, id=f"{ours}, no native core") for ours in ("whose call it is", "what begins a record")],
)
def test_a_failure_of_ours_is_told_once_and_each_call_is_made_once(
    ours: str, core: Any, config: DumpConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise LookupError("of ours")

    alone = {name: _outcome(act) for name, act in CALLS.items()}
    monkeypatch.setattr(native, "core", core)
    told: list[str] = []
    session = Session(config, finds_steps=True, say=told.append)
    session.start()
    try:
        with monkeypatch.context() as broken:
            broken.setattr(*OURS[ours], fails)
            if ours == "whether the set-up has ended":
                broken.setattr(Watch, "listening", lambda _: False)
            found = {name: _outcome(act) for name, act in CALLS.items()}
    finally:
        session.close()
    assert found == alone
    about = [line for line in told if "of ours" in line]
    assert about
    assert len(about) == len(set(about)), "said once for each point"


def test_a_stand_in_that_cannot_be_made_is_left_out_alone(config: DumpConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "core", None)
    before = torch.relu

    def init(self: Any, original: Any, key: str, watch: Watch) -> None:
        if key == "Torch.relu":
            raise LookupError("of ours")
        made(self, original, key, watch)

    made = apis.RecordedFunction.__init__
    monkeypatch.setattr(apis.RecordedFunction, "__init__", init)
    session = Session(config)
    session.start()
    try:
        assert torch.relu is before
        assert type(torch.tanh) is apis.RecordedFunction
    finally:
        session.close()
    assert torch.relu is before
