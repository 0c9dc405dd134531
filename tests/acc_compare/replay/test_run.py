"""Innocent calls are cleared, planted faults confirmed with their cause, and what cannot be made again has a reason."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from acc_compare.messages import say
from acc_compare.replay import judge
from acc_compare.replay.run import replay
from acc_compare.replay.wanted import Wanted
from dump import sim
from dump.format.errors import ConfigError, DumpCorrupt, IncomparableError
from dump.format.layout import TENSOR_FOLDER
from dump.format.nested import read_nested
from dump.format.tensors import write_tensor

from .conftest import Record, again, draw, rewrite, the_call, verdicts

if sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
sim.enable()


def dense(dtype: torch.dtype) -> None:
    x, weight = draw(16, 32, dtype=dtype), draw(8, 32, dtype=dtype)
    y = F.layer_norm(F.gelu(F.linear(x, weight)), (8,))
    z = torch.softmax(y.masked_fill(y > 1, -1e9), -1) @ y.t()
    (torch.tanh(8 * z).log1p().abs().sum() + F.cross_entropy(y, torch.arange(16) % 8)).backward()


def convolved() -> None:
    x = draw(2, 3, 9, 9).detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    y = F.batch_norm(F.conv2d(x, draw(4, 3, 3, 3), stride=(2, 1)), torch.zeros(4), torch.ones(4), training=True)
    F.max_pool2d(F.relu(y, inplace=True), 2).pow(2).mean().backward()


def indexed() -> None:
    x = draw(6, 5)
    picked = x[:, (0, 2)] + x[[0, 3, 3, 1, 2, 5], 1:3] + x[..., -1:] + x[x[:, 0] * 0 == 0][:, :2]
    y = torch.zeros(6, 2).index_add(0, torch.tensor([1, 1, 0, 5, 2, 3]), picked)
    y[1:3] = 2.0
    y += 1
    torch.cat([y, y.expand(6, 2)], dim=1).unfold(1, 2, 1).sum((0, 2)).prod().backward()


def in_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = F.linear(draw(16, 32), draw(8, 32))
        F.cosine_similarity(y, F.linear(draw(16, 32), draw(8, 32, grad=False))).sum().backward()


def ill_conditioned() -> None:
    x = torch.vander(torch.linspace(1, 2, 7)) + 0 * draw(7, 7)
    torch.linalg.inv(x).sum().backward()
    torch.cdist(1000 + draw(5, 3), 1000 + draw(6, 3)).sum().backward()


def complex_numbers() -> None:
    torch.view_as_real(torch.fft.fft(draw(4, 8).to(torch.complex64).conj() * 2j)).square().sum().backward()


HEALTHY: list[Callable[[], None]] = [
    lambda: dense(torch.float32),
    lambda: dense(torch.bfloat16),
    lambda: dense(torch.float64),
    convolved,
    indexed,
    in_autocast,
    ill_conditioned,
    complex_numbers,
]


@pytest.mark.parametrize("act", HEALTHY, ids=str)
def test_an_innocent_run_is_cleared(record: Record, act: Callable[[], None]) -> None:
    result = again(record(act))
    assert result.of("cleared")
    told = {call.name: call.tensors for call in (*result.of("confirmed"), *result.of("inherited"))}
    assert told == {}
    reasons = {reason.key for reason, _ in result.reasons}
    assert reasons <= {"replay.reason.reads_nothing"}
    assert any(call.name.endswith("backward") for call in result.of("cleared"))
    assert all(tensor.equal for call in result.calls for tensor in call.tensors)


@pytest.mark.parametrize("act", [convolved, indexed, lambda: dense(torch.float32)], ids=str)
def test_large_numbers_are_no_reason_where_the_results_are_not_large(
    record: Record, act: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "_MOST_ELEMENTS", 1)
    result = again(record(act))
    left = {call.name for call in result.of("not_replayed") if call.reason == say("replay.reason.huge")}
    assert len(left) <= 2  # an index that is a mask: its result's shape is not inferred
    assert len(result.of("cleared")) > 8


FAULTS = [
    ("aten::gelu=scale:1.0001", "Functional.gelu.0.forward"),
    ("aten::gelu=nan:3", "Functional.gelu.0.forward"),
    ("aten::gelu_backward=bf16", "Functional.gelu.0.backward"),
    ("aten::addmm=zero_tail:1", "Functional.linear.0.forward"),
    ("aten::_softmax=add:0.001", "Torch.softmax.0.forward"),
]


def on_npu() -> None:
    x = draw(16, 32).detach().to("npu").requires_grad_()
    y = F.linear(x, draw(8, 32).detach().to("npu"), torch.ones(8, device="npu"))
    torch.softmax(F.gelu(y), -1).square().sum().backward()


@pytest.mark.parametrize(("fault", "call"), FAULTS)
@pytest.mark.parametrize(
    ("device", "is_there", "cause"),
    [("npu", True, "operator"), ("npu", False, "elsewhere"), ("cpu", False, "recorded_device")],
)
def test_a_planted_fault_is_confirmed_with_its_cause(
    record: Record, fault: str, call: str, device: str, is_there: bool, cause: str
) -> None:
    with sim.npu(faults=[fault]):
        folder = record(on_npu)
    with sim.npu(faults=[fault] if is_there else []):
        result = again(folder, device=device)
    told = verdicts(result)
    assert told.pop(call) == cause
    told.pop(call.replace("forward", "backward"), None)  # reads what its forward kept
    assert set(told.values()) <= {"cleared", "not_replayed"}
    assert result.of("confirmed")[0].worst is not None


def test_a_device_that_is_wrong_here_and_was_right(record: Record) -> None:
    with sim.npu():
        folder = record(on_npu)
    with sim.npu(faults=["aten::gelu=scale:1.01"]):
        result = again(folder, "Functional.gelu.0")
    assert verdicts(result)["Functional.gelu.0.forward"] == "replay"


def test_a_backward_after_a_wrong_forward_has_inherited_it(record: Record) -> None:
    with sim.npu(faults=["aten::_softmax=scale:1.01"]):
        folder = record(on_npu)
    result = again(folder, "Torch.softmax.0", device="cpu")
    assert verdicts(result) == {"Torch.softmax.0.forward": "recorded_device", "Torch.softmax.0.backward": "forward"}
    assert len(result.of("inherited")) == 1


def test_one_element_and_a_bench(record: Record) -> None:
    def act() -> None:
        F.gelu(draw(64, 64, grad=False))

    bench, folder = record(act), record(act)

    def one_off(array: Any) -> Any:
        array[3, 4] *= 1.001
        return array

    rewrite(folder, "Functional.gelu.0.forward.output.0", one_off)
    (call,) = again(folder, bench=bench).calls
    (tensor,) = call.tensors
    assert (call.cause, tensor.recorded.wrong, tensor.equal) == ("elsewhere", True, False)
    assert tensor.bench is not None
    assert not tensor.bench.wrong
    assert tensor.bench.relative < tensor.recorded.relative
    (call,) = again(bench, bench=folder).calls
    assert call.verdict == "cleared"
    assert call.tensors[0].bench is not None
    assert call.tensors[0].bench.wrong


def test_an_overflow_and_an_index(record: Record) -> None:
    folder = record(lambda: (torch.exp(draw(4, grad=False)), torch.argmax(draw(9, 8, grad=False), 1)))
    rewrite(folder, "Torch.exp.0.forward.output.0", lambda array: array * math.inf)
    indices = folder / TENSOR_FOLDER / "Torch.argmax.0.forward.output.0.safetensors"
    wrong = np.zeros(9, np.int64)
    write_tensor(indices, data=wrong.tobytes(), dtype="torch.int64", shape=(9,))
    result = again(folder)
    assert {call.cause for call in result.of("confirmed")} == {"elsewhere"}
    exp, argmax = (the_call(result, f"Torch.{api}.0.forward").tensors[0].recorded for api in ("exp", "argmax"))
    assert exp.nonfinite
    assert argmax.ulp is None
    assert 0 < argmax.relative <= 1


def random_numbers() -> None:
    F.dropout(draw(8, 8), 0.5)
    F.dropout(draw(8, 8), 0.5, training=False)


def test_what_draws_is_left_out_where_it_draws(record: Record) -> None:
    assert verdicts(again(record(random_numbers))) == {
        "Functional.dropout.0.forward": "not_replayed",
        "Functional.dropout.1.forward": "cleared",
    }


class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * 2


def left_out(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    (Own.apply(model(torch.empty(2, 4).fill_(1.0))).sum()).backward()
    torch.empty_like(draw(4, grad=False))
    torch.arange(3)
    optimizer.step()


def test_what_is_left_out_has_a_reason(record: Record) -> None:
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    result = again(record(lambda: left_out(model, optimizer), level="mix"))
    found = {call.name.rsplit(".", 2)[0]: call.reason.key for call in result.calls if call.reason is not None}
    assert set(found.values()) == {
        f"replay.reason.{name}" for name in ("module", "autograd", "optimizer", "reads_nothing", "uninitialised")
    }


@pytest.mark.parametrize(
    "name", ["Functional.gelu.1", "Functional.gelu.1.forward", "Functional.gelu.1.backward", "Functional.gelu.1."]
)
def test_a_name_is_one_call_both_ways(record: Record, name: str) -> None:
    folder = record(lambda: F.gelu(F.gelu(draw(4))).sum().backward())
    assert list(verdicts(again(folder, name))) == ["Functional.gelu.1.forward", "Functional.gelu.1.backward"]


def test_a_module_is_the_calls_within_it(record: Record) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU())
    folder = record(lambda: model(draw(2, 4)), level="mix")
    (name,) = {call for call in read_nested(folder).names if ".Linear." in call}
    told = verdicts(again(folder, name))
    (module,) = set(told) - {"Functional.linear.0.forward"}
    assert (told[module], told["Functional.linear.0.forward"]) == ("not_replayed", "cleared")


def test_a_name_that_no_call_has(record: Record) -> None:
    folder = record(lambda: F.gelu(draw(4)))
    with pytest.raises(ConfigError, match=r"Did you mean Functional\.gelu\.0"):
        again(folder, "Functional.gellu.0.forward")


def test_a_dump_without_tensors(record: Record) -> None:
    with pytest.raises(IncomparableError, match="--task tensor"):
        again(record(lambda: F.gelu(draw(4)), task="statistics"))


def test_a_device_that_is_not_here(record: Record) -> None:
    with pytest.raises(ConfigError, match="--device cuda"):
        again(record(lambda: F.gelu(draw(4))), device="cuda")


def test_suspects_by_step_and_rank(record: Record) -> None:
    folder = record(lambda: (F.gelu(draw(4)), F.silu(draw(4))))
    places = (("Functional.gelu.0.forward", 0, None), ("Functional.silu.0.forward", 1, None))
    result = replay(folder, Wanted(places=places))
    assert list(verdicts(result)) == ["Functional.gelu.0.forward"]


def tampered(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    file = folder / "dump.json"
    document = json.loads(file.read_bytes())
    change(document["data"])
    file.write_text(json.dumps(document))
    return folder


def renamed(name: str, second: object = None) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        data[name] = data.pop("Torch.mul.0.forward")
        if second is not None:
            data[name]["input_args"][1] = second

    return change


def with_argument(value: object, place: int = 1) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        data["Torch.mul.0.forward"]["input_args"][place] = value

    return change


UNTRUSTED = [
    (renamed("Torch.load.0.forward"), "unknown"),
    (renamed("Torch.from_file.0.forward"), "unknown"),
    (renamed("Torch.os.system.0.forward"), "unknown"),
    (renamed("Aten.__class__.0.forward"), "unknown"),
    (renamed("Torch.ops.aten.mul.0.forward"), "unknown"),
    (renamed("Functional.torch.0.forward"), "unknown"),
    (with_argument({"type": "function", "value": "print"}), "failed"),
    (with_argument({"type": "slice", "value": ["Tensor", None, None]}), "argument"),
    (with_argument({"type": "dtype", "value": "torch.load"}), "argument"),
    (with_argument({"type": "Generator", "value": None}), "argument"),
    (with_argument({"type": "complex", "value": "__import__('os')"}), "argument"),
    (with_argument({"type": "omitted", "value": 7}), "argument"),
    (with_argument({"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2]}), "no_file"),
    (with_argument({"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2], "data_name": "../x.npy"}), "file"),
    (with_argument({"type": "torch.Tensor", "dtype": "torch.nn", "shape": [0]}), "argument"),
    (renamed("Torch.tile.0.forward", {"type": "int", "value": 1 << 40}), "huge"),
    (renamed("Torch.repeat_interleave.0.forward", {"type": "int", "value": 1 << 40}), "huge"),
]


@pytest.mark.parametrize(("change", "reason"), UNTRUSTED)
def test_nothing_of_a_dump_is_executed(record: Record, change: Callable[[dict[str, Any]], None], reason: str) -> None:
    folder = tampered(record(lambda: torch.mul(draw(3, grad=False), 2)), change)
    (call,) = again(folder).calls
    assert call.reason is not None
    assert call.reason.key == f"replay.reason.{reason}"


def test_a_record_of_the_wrong_form(record: Record) -> None:
    def change(data: dict[str, Any]) -> None:
        data["Torch.mul.0.forward"]["tuples"] = 3

    folder = tampered(record(lambda: torch.mul(draw(3, grad=False), 2)), change)
    with pytest.raises(DumpCorrupt):
        again(folder)


def test_float32_as_the_reference(record: Record) -> None:
    result = again(record(lambda: F.gelu(draw(4))), against="float32")
    assert result.of("cleared")
    assert the_call(result, "Functional.gelu.0.forward").tensors[0].recorded.relative == 0


@pytest.mark.parametrize("level", ["L1", "mix"])
def test_a_module_stands_for_the_calls_within_it_recorded_or_not(record: Record, level: str) -> None:
    inner = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU())
    model = torch.nn.Sequential(torch.nn.Tanh(), inner)
    folder = record(lambda: model(draw(2, 4)).sum().backward(), level=level)
    made = {call.name for call in again(folder, "Module.1").calls}
    apis = {"Functional.linear.0.forward", "Functional.gelu.0.forward"}
    assert apis <= made
    assert "Torch.tanh.0.forward" not in made
    with pytest.raises(ConfigError, match=r"no call 'Module\.7'"):
        again(folder, "Module.7")
