"""What runs past the interceptors is found, named with its line, and recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils import _python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from dump import torch_internals
from dump.config import DumpConfig
from dump.format.reader import read_dump
from dump.intercept.audit import Audit
from dump.intercept.points import release
from dump.session import Session

HAS_KEPT_CODE = release(torch.__version__) >= (2, 10)
NEEDS_COUNTED_VIEWS = pytest.mark.skipif(
    not torch_internals.available("ExcludeKeys"), reason="unseen views have a place in the dataflow since torch 2.2"
)

# Methods as functions of the class: those stay what they are, so that only the audit sees their calls.
relu, relu_, matmul = torch.Tensor.relu, torch.Tensor.relu_, torch.Tensor.matmul
overload = torch.ops.aten.gelu.default


_FFT = ["Aten._fft_r2c", "Aten.view_as_real", "Aten.select"]


def _unseen(dump: Any) -> Mapping[str, Any]:
    assert dump.dump is not None
    found: Mapping[str, Any] = dump.dump.header.coverage["unseen"]
    return found


UNSEEN: list[tuple[str, Callable[[torch.Tensor], object], list[str]]] = [
    ("a method of the class", lambda x: relu(x), ["Aten.relu"]),
    ("a method of the class, composite", lambda x: matmul(x, x), ["Aten.mm"]),
    ("an overload", lambda x: overload(x), ["Aten.gelu"]),
    ("transposed by a property", lambda x: x.mT.exp(), ["Aten.transpose"]),
    ("a property of a complex tensor", lambda x: torch._C._fft.fft_fft(x).real, ["Aten.view_as_real", "Aten.select"]),
    ("a call", lambda x: torch.relu(x), []),
    ("operators of Python", lambda x: -x[0] + 1, []),
    ("namespaces", lambda x: (torch.fft.fft(x), torch.special.erf(x), torch._C._nn.mish(x)), []),
    ("for each", lambda x: torch._foreach_add([x, x], 1.0), []),
    ("custom operator", lambda x: torch.ops.aten.gelu(x), []),
    ("questions", lambda x: (x.detach(), x.sum().item(), x.data, bool((x > 0).all())), []),
]


@pytest.mark.parametrize(("act", "keys"), [row[1:] for row in UNSEEN], ids=[row[0] for row in UNSEEN])
def test_what_nobody_saw_is_listed_and_recorded(
    record: Any, act: Callable[[torch.Tensor], object], keys: list[str]
) -> None:
    x = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    dump = record(lambda: (act(x), x.exp()), audit=True)
    assert sorted(found["recorded_as"] for found in _unseen(dump).values()) == sorted(keys)
    assert {f"{key}.0.forward" for key in keys} <= set(dump.names)
    for found in _unseen(dump).values():
        assert "test_audit.py" in found["line"]


def test_without_the_option_nothing_is_said_of_it(record: Any) -> None:
    dump = record(lambda: (relu(torch.ones(2)), torch.exp(torch.ones(2))))
    assert "unseen" not in dump.dump.header.coverage


def test_an_unseen_call_has_its_gradients_and_its_place_in_the_dataflow(record: Any) -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)

    def act() -> None:
        y = torch.exp(x)
        z = relu(y)
        torch.sum(relu_(torch.sub(z, 1.0))).backward()

    dump = record(act, audit=True, task="tensor")
    assert dump.value("Aten.relu.0.forward", "input.0") == dump.value("Torch.exp.0.forward", "output.0")
    assert dump.value("Aten.relu.0.forward", "output.0") == dump.value("Torch.sub.0.forward", "input.0")
    assert dump.value("Aten.relu_.0.forward", "output.0") == dump.value("Torch.sum.0.forward", "input.0")
    assert dump.tensor("Aten.relu_.0.forward", "output.0").min() == 0
    assert dump.tensor("Aten.relu.0.backward", "output.0").tolist() == [1, 0]
    assert [name for name in dump.names if "threshold" in name] == []


@NEEDS_COUNTED_VIEWS
def test_a_view_is_the_value_that_its_reader_gets(record: Any) -> None:
    x = torch.rand(2, 3).mul_(2)  # its version counter has moved

    def act() -> None:
        torch.exp(x.mT)

    dump = record(act, audit=True)
    assert dump.value("Aten.transpose.0.forward", "output.0") == dump.value("Torch.exp.0.forward", "input.0")


@NEEDS_COUNTED_VIEWS
def test_the_backward_of_an_unseen_view_is_recorded(record: Any) -> None:
    x = torch.ones(1, 3, requires_grad=True)
    expand = torch_internals.TensorBase.expand
    dump = record(lambda: torch.exp(expand(x, 4, 3)).sum().backward(), audit=True)
    assert "Aten.sum.0.forward" in dump
    assert dump.value("Aten.sum.0.forward", "input.0") == dump.value("Torch.exp.0.backward", "output.0")


def test_the_account_is_complete(record: Any) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def act() -> None:
        relu(model(torch.ones(1, 2))).sum().backward()
        optimizer.step()

    coverage = record(act, models=[model], audit=True).dump.header.coverage
    counts = coverage["dispatched"]
    assert counts["unseen"] == sum(found["calls"] for found in coverage["unseen"].values()) == 1
    assert counts["in_calls"] > 0
    assert counts["in_optimizers"] > 0
    assert counts["by_autograd"] > 0
    assert counts["in_modules"] == 0


def test_at_level_l0_modules_stand_for_what_they_run(record: Any) -> None:
    model = torch.nn.Linear(2, 2)
    dump = record(lambda: F.softplus(model(torch.ones(1, 2))), models=[model], level="L0", audit=True)
    assert list(_unseen(dump)) == ["aten::ones", "aten::softplus"]
    assert all(found["recorded_as"] is None for found in _unseen(dump).values())
    assert dump.dump.header.coverage["dispatched"]["in_modules"] > 0
    assert not [name for name in dump.names if name.startswith("Aten")]


def test_compiled_code_stays_compiled(record: Any) -> None:
    runs: list[str] = []

    def backend(module: torch.fx.GraphModule, _: Any) -> Any:
        runs.append("compiled")
        return module.forward

    compiled, x = torch.compile(lambda x: relu(x) + 1, backend=backend), torch.ones(2)
    results: list[torch.Tensor] = []
    dump = record(lambda: results.extend(compiled(x) for _ in range(3)), audit=True)
    torch._dynamo.reset()
    assert runs == ["compiled"]
    assert results[1].tolist() == [2, 2]
    assert dump.dump.header.coverage["compiled"]["graphs"] >= 1


@pytest.mark.parametrize("audit", [False, True])
def test_between_graphs_and_after_them_a_run_is_what_it_is_alone(audit: bool, record: Any) -> None:
    graphs: list[int] = []
    outside = torch.compiler.disable(lambda x: relu(x).exp())

    def backend(module: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(len(module.graph.nodes))
        return module.forward

    def act() -> list[Any]:
        graphs.clear()
        torch._dynamo.reset()
        compiled, x = torch.compile(lambda x: outside(x + 1) * 2, backend=backend), torch.ones(2)
        found = [compiled(x).tolist() for _ in range(3)]
        relu(x)
        return [*found, *graphs]

    alone, recorded = act(), []
    dump = record(lambda: recorded.append(act()), audit=audit)
    torch._dynamo.reset()
    assert recorded == [alone]
    assert "Torch.exp.0.forward" in dump or "Tensor.exp.0.forward" in dump
    assert dump.dump is not None
    coverage = dump.dump.header.coverage
    assert bool(coverage.get("left_out")) is (audit and not HAS_KEPT_CODE)
    if audit:  # in the function that is kept from dynamo and after it; the mode is there again
        assert coverage["unseen"]["aten::relu"]["calls"] == 4


class Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def test_modes_of_the_users_are_left_as_they_were(config: DumpConfig) -> None:
    """One entered before recording and left within it, one the other way round."""
    session = Session(DumpConfig(dump_path=config.dump_path, audit=True))
    x = torch.ones(2)
    with Counting() as outer:
        session.start()
        torch.exp(x)
    inner = Counting()
    inner.__enter__()
    relu(x)
    session.close()
    assert _python_dispatch._get_current_dispatch_mode_stack() == [inner]
    torch.sin(x)
    inner.__exit__(None, None, None)
    assert _python_dispatch._get_current_dispatch_mode_stack() == []
    assert (outer.names, inner.names) == (["aten::exp"], ["aten::relu", "aten::sin"])
    with FlopCounterMode(display=False) as flops:
        x @ x
    assert flops.get_total_flops() >= 0


@pytest.mark.parametrize("broken", ["_is_unseen", "_noted", "_finish", "_after"])
def test_what_the_audit_gets_wrong_leaves_the_operator_alone(
    config: DumpConfig, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("ours")

    monkeypatch.setattr(Audit, broken, fails)
    session = Session(replace(config, audit=True))
    session.start(())
    try:
        found = [relu(torch.tensor([-1.0, 2.0])).tolist(), torch.ones(2).exp().tolist()]
    finally:
        session.close()
        session.remove()
    assert found == [[0.0, 2.0], torch.ones(2).exp().tolist()]
    (written,) = session.written
    coverage = read_dump(written.folder).header.coverage
    assert coverage is not None
    assert any("ours" in reason for reason in coverage["failed"])
