"""A run judged while it goes on: what is wrong is named and kept, nothing else is changed, and a fix acts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from acc_compare.replay.live import LiveCheck, Plan
from acc_compare.replay.results import ReplayedCall
from acc_compare.replay.sensitivity import Sensitivity
from acc_compare.replay.stop_at_nan import StopAtNan
from dump import sim
from dump.config import DumpConfig
from dump.format.nested import read_nested
from dump.record.observer import LastStepDone, Observer
from dump.session import Session

from .conftest import Record, again
from .test_run import HEALTHY, draw, on_npu

if sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
sim.enable()


@dataclass
class Seen:
    check: LiveCheck
    folder: Path | None

    @property
    def wrong(self) -> dict[str, str]:
        return {call.name: call.cause for call in self.check.calls if call.cause}


def watched(act: Callable[[], object], observer: Observer, path: Path, **settings: Any) -> Path | None:
    """Run `act` as step 0 under an observer; the folder of what was kept."""
    session = Session(DumpConfig(task="tensor", dump_path=path, extra_info=False, **settings), observer=observer)
    session.start([])
    try:
        act()
    finally:
        session.close()
        session.remove()
    assert session.failure is None
    assert session.coverage == [] or session.coverage[0].failed == {}
    return session.written[0].folder if session.written else None


def looked_at(act: Callable[[], object], tmp_path: Path, **plan: Any) -> Seen:
    check = LiveCheck(Plan(**plan))
    folder = watched(act, check, tmp_path / "kept")
    check.finish()
    return Seen(check, folder)


def by_name(calls: list[ReplayedCall]) -> dict[str, ReplayedCall]:
    return {call.name: call for call in calls}


@pytest.mark.parametrize("act", HEALTHY, ids=str)
@pytest.mark.parametrize("against", ["float64", "cpu"])
def test_an_innocent_run_is_cleared_and_keeps_nothing(act: Callable[[], None], against: str, tmp_path: Path) -> None:
    seen = looked_at(act, tmp_path, against=against)
    assert (seen.wrong, seen.folder) == ({}, None)
    cleared = [call.name for call in seen.check.calls if call.verdict == "cleared"]
    assert any(name.endswith("forward") for name in cleared)
    assert any(name.endswith("backward") for name in cleared)


def test_it_judges_as_a_replay_of_the_record_does(record: Record, tmp_path: Path) -> None:
    with sim.npu():
        offline = again(record(on_npu), device="npu")
        live = looked_at(on_npu, tmp_path, each=99)
    theirs = {call.name: call.verdict for call in offline.calls if call.reason is None}
    ours = {call.name: call.verdict for call in live.check.calls if call.reason is None}
    assert ours == theirs


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("aten::gelu=scale:1.0001", "Functional.gelu.0.forward"),
        ("aten::gelu_backward=bf16", "Functional.gelu.0.backward"),
        ("aten::addmm=zero_tail:1", "Functional.linear.0.forward"),
        ("aten::_softmax=nan:3", "Torch.softmax.0.forward"),
    ],
)
def test_a_wrong_kernel_is_found_and_kept_for_a_replay(fault: str, name: str, tmp_path: Path) -> None:
    with sim.npu(faults=[fault]):
        seen = looked_at(on_npu, tmp_path)
    assert seen.wrong[name] == "operator"
    assert set(seen.wrong.values()) <= {"operator", "forward"}
    assert seen.folder is not None
    kept = read_nested(seen.folder)
    assert {name, name.replace("backward", "forward")} <= set(kept.names)
    assert {call.name for call in again(seen.folder, device="cpu").of("confirmed")} == {name}


def many() -> None:
    x = draw(4, 8)
    for _ in range(10):
        F.gelu(x)
    F.gelu(draw(3, 8))


@pytest.mark.parametrize(("each", "every", "expected"), [(3, 0, 4), (1, 4, 4), (0, 5, 3), (1, 1, 11)])
def test_so_many_of_each_operator_shape_and_dtype(each: int, every: int, expected: int, tmp_path: Path) -> None:
    seen = looked_at(many, tmp_path, each=each, every=every)
    assert len([call for call in seen.check.calls if call.operator == "Functional.gelu"]) == expected


def training(device: str) -> list[str]:
    """Losses, and the state of what draws, to the bit."""
    torch.manual_seed(3)
    weight = draw(16, 16).detach().to(device).requires_grad_()
    told = []
    for _ in range(3):
        x = torch.randn(8, 16).to(device)
        loss = F.dropout(F.gelu(F.linear(x, weight)), 0.25).square().mean()
        (gradient,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight -= 0.1 * gradient
        told.append(loss.item().hex())
    return [*told, str(torch.get_rng_state().sum()), str(torch.get_default_dtype()), str(torch.is_grad_enabled())]


def test_the_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    alone: list[list[str]] = [training("cpu")]
    looked_at(lambda: alone.append(training("cpu")), tmp_path, every=1)
    assert alone[0] == alone[1]


def test_modes_and_hooks_of_the_script_see_nothing(tmp_path: Path) -> None:
    packed: list[int] = []

    def act() -> None:
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t.numel()) or t, lambda t: t)
        with hooks, torch.autocast("cpu", dtype=torch.bfloat16), warnings.catch_warnings():
            warnings.simplefilter("error")
            F.gelu(draw(4, 8)).sum().backward()

    act()
    before = list(packed)
    packed.clear()
    seen = looked_at(act, tmp_path)
    assert packed == before
    assert seen.wrong == {}


def test_a_fix_puts_the_reference_in_place(tmp_path: Path) -> None:
    right = training("cpu")[:3]
    told: list[list[str]] = []
    with sim.npu(faults=["aten::gelu=scale:1.01", "gelu_backward=scale:1.01"]):
        wrong = training("npu")[:3]
        looked_at(lambda: told.append(training("npu")[:3]), tmp_path, fixes=("Functional.gelu",))
    assert wrong != right
    assert [float.fromhex(loss) for loss in told[0]] == pytest.approx([float.fromhex(loss) for loss in right], rel=1e-5)


def test_it_ends_at_the_first_wrong_call(tmp_path: Path) -> None:
    came_so_far: list[int] = []

    def act() -> None:
        x = draw(4, 8).detach().to("npu").requires_grad_()
        F.gelu(x).sum().backward()
        came_so_far.append(1)
        F.silu(x)
        came_so_far.append(2)

    with sim.npu(faults=["gelu_backward=scale:1.01"]), pytest.raises(LastStepDone):
        looked_at(act, tmp_path, ends=True)
    assert came_so_far == [1]


def pair(scale: float = 1.0) -> None:
    F.silu(F.gelu(scale * draw(8, 8)))


def test_the_bench_as_the_reference(record: Record, tmp_path: Path) -> None:
    bench = record(pair)
    seen = looked_at(lambda: pair(1.001), tmp_path, bench=bench, carries=True)  # other inputs, the same function
    assert seen.wrong == {}
    assert {call.verdict for call in seen.check.calls if "elu" in call.name} == {"cleared"}
    with sim.npu(faults=["aten::silu=scale:1.001"]):
        wrong = looked_at(lambda: F.silu(F.gelu(draw(8, 8).to("npu"))), tmp_path / "x", bench=bench, carries=True)
    assert list(wrong.wrong) == ["Functional.silu.0.forward"]
    other = looked_at(lambda: F.softplus(draw(8, 8)), tmp_path / "y", bench=bench, carries=True)
    assert {call.reason.key for call in other.check.calls if call.reason} == {"replay.reason.no_counterpart"}


def test_inputs_of_the_bench(record: Record, tmp_path: Path) -> None:
    bench = record(pair)
    made: list[torch.Tensor] = []

    def act() -> None:
        made.append(F.silu(F.gelu(draw(8, 8) + 1)))

    looked_at(act, tmp_path, bench=bench, loads=("Functional.silu.0",))
    expected = F.silu(F.gelu(draw(8, 8)))
    assert torch.equal(made[0], expected)
    looked_at(act, tmp_path / "x", bench=bench, loads=("Functional.softplus",))
    assert not torch.equal(made[1], expected)


@pytest.mark.parametrize("kind", ["bit", "noise", "upcast"])
def test_what_a_change_of_inputs_moves(kind: Any, tmp_path: Path) -> None:
    def act() -> None:
        x = 100 + draw(8, 8, grad=False)
        F.gelu(x)
        torch.sub(x, 100.0)

    found = Sensitivity(kind, each=3, every=0)
    assert watched(act, found, tmp_path / "kept") is None
    by_operator = {response.operator: response.amplification for response in found.responses}
    assert 0 < by_operator["Functional.gelu"] < 4 or kind == "upcast"
    if kind != "upcast":
        assert by_operator["Torch.sub"] > 30  # nearly equal numbers are taken from each other


@pytest.mark.parametrize(
    ("act", "found"),
    [
        (lambda x: torch.log(x - 9).add(1), "Torch.log.0.forward"),
        (lambda x: torch.softmax(x.masked_fill(x > 0, -math.inf), -1), ""),
        (lambda x: torch.softmax(torch.full((2, 2), -math.inf) + x[:2, :2], -1), "Torch.softmax.0.forward"),
        (lambda x: (x * x).sum(), ""),
    ],
)
def test_the_first_nan_ends_the_run(act: Callable[[torch.Tensor], object], found: str, tmp_path: Path) -> None:
    observer = StopAtNan()
    config: dict[str, Any] = {"task": "statistics", "extra_info": False, "dump_path": tmp_path / "kept"}
    session = Session(DumpConfig(**config), observer=observer)
    session.start([])
    try:
        act(draw(4, 4, grad=False))
    except LastStepDone:
        assert found
    finally:
        session.close()
    assert observer.found == found
    dump = read_nested(session.written[0].folder)
    assert dump.header.task == "statistics"
    files = list((dump.path / "dump_tensor_data").glob("*"))
    assert bool(files) == bool(found)
    if found:
        assert [call.name for call in again(dump.path, found, device="cpu").calls] == [found]
