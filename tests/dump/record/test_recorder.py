from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import dump.sim
from dump.config import DumpConfig
from dump.older_torch import autocast_dtype
from dump.record import contents, deferred
from dump.record.contents import Contents
from dump.record.entries import Emission, Entry, Measured
from dump.record.recorder import StepRecorder
from dump.torch_internals import without_overrides


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Emission] = []
        self.stored: list[tuple[Measured, str | None, Contents]] = []

    def record(self, emission: Emission) -> None:
        self.records.append(emission)

    def store(self, measured: Measured, place: str | None, payload: Contents) -> None:
        self.stored.append((measured, place, payload))

    @property
    def places(self) -> list[str | None]:
        return [place for _, place, _ in self.stored]


def _recorder(**settings: Any) -> tuple[StepRecorder, Kept]:
    kept = Kept()
    return StepRecorder(DumpConfig(**settings), kept), kept


def _emission(name: str, body: dict[str, Any] | None = None) -> Emission:
    return Emission(name, body or {}, None, None)


# ---- names and filters


def test_calls_are_numbered_by_key() -> None:
    recorder, _ = _recorder()
    assert [recorder.number(key) for key in ("a", "b", "a", "a")] == [0, 0, 1, 2]


NAMES = [f"Torch.{api}.{n}.forward" for api, n in itertools.product(("add", "mul"), range(3))]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "012345"),
        ({"api_list": ("add",)}, "012"),
        ({"api_list": ("add.1", "mul.2")}, "15"),
        ({"api_list": ("name-regex(\\.[12]\\.)",)}, "1245"),
        ({"api_list": ("name-regex(^mul)",)}, ""),
        ({"scope": (NAMES[1], NAMES[4])}, "1234"),
        ({"scope": (NAMES[2], NAMES[2])}, "2"),
        ({"scope": (NAMES[4], "never")}, "45"),
        ({"scope": ("never", NAMES[1])}, ""),
        ({"scope": (NAMES[1], NAMES[4]), "api_list": ("mul",)}, "34"),
    ],
)
def test_wanted(settings: dict[str, Any], expected: str) -> None:
    recorder, _ = _recorder(**settings)
    assert "".join(str(number) for number, name in enumerate(NAMES) if recorder.selection.wants(name)) == expected


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        (("all",), "fi fo bi bo"),
        ((), "fi fo bi bo"),
        (("forward",), "fi fo"),
        (("backward",), "bi bo"),
        (("input",), "fi bi"),
        (("forward", "output"), "fo"),
        (("forward", "backward", "input"), "fi bi"),
    ],
)
def test_keeps(modes: tuple[str, ...], expected: str) -> None:
    recorder, _ = _recorder(data_mode=modes)
    kept = [
        direction[0] + side[0]
        for direction, side in itertools.product(("forward", "backward"), ("input", "output"))
        if getattr(recorder, f"{'reads' if side == 'input' else 'writes'}_{direction}")
    ]
    assert recorder.follows_backward is ("bi" in kept or "bo" in kept)
    assert " ".join(kept) == expected


@pytest.mark.parametrize("wanted", [True, False])
def test_stacks_are_taken_where_asked_for(wanted: bool) -> None:
    recorder, _ = _recorder(extra_info=wanted)
    assert (recorder.take_stack() is not None) is wanted


# ---- values


def test_one_value_is_measured_once() -> None:
    recorder, _ = _recorder()
    tensor = torch.randn(4, 5)
    first = recorder.wrote(tensor, "a.output.0")
    again, flat, other = recorder.read([tensor, tensor.view(-1), tensor.t()], "b.input")
    assert again.measured is first.measured
    assert flat.measured is first.measured
    assert other.measured is not first.measured
    assert (first.identity.fresh, again.identity.fresh, flat.identity.fresh) == (True, False, True)
    assert (flat.shape, first.shape) == ((20,), (4, 5))


def test_a_written_value_is_measured_again() -> None:
    recorder, _ = _recorder()
    tensor = torch.zeros(3)
    before = recorder.read(tensor, "a.input.0")
    tensor.add_(1)
    after = recorder.wrote(tensor, "a.output.0")
    assert (before.measured.statistics.max, after.measured.statistics.max) == (0.0, 1.0)


def test_a_write_past_the_version_counter_is_seen_once_declared() -> None:
    recorder, _ = _recorder()
    tensor = torch.zeros(3)
    recorder.read(tensor, "a.input.0")
    tensor.data.add_(1)
    assert recorder.read(tensor, "a.input.0").measured.statistics.max == 0.0
    recorder.touch(tensor)
    assert recorder.read(tensor, "b.input.0").measured.statistics.max == 1.0


def test_value_of_numbers_without_measuring() -> None:
    recorder, _ = _recorder()
    tensor = torch.zeros(3)
    number = recorder.value_of(tensor)
    assert recorder.read(tensor, "a.input.0").identity.value == number
    assert recorder.value_of(torch.eye(2).to_sparse()) is None


def test_a_tensor_that_no_recorded_call_made_names_its_maker() -> None:
    recorder, _ = _recorder()
    leaf = torch.ones(2, requires_grad=True)
    made = leaf * 2
    recorded = leaf * 3
    recorder.wrote(recorded, "a.output.0")
    entries = recorder.read([leaf, made, recorded, made], "b.input")
    assert [entry.grad_fn for entry in entries] == [None, "MulBackward0", None, None]


# ---- what cannot be recorded


class Plain(torch.Tensor):
    """A subclass that leaves everything to torch, but looks on."""

    seen: list[Any] = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(func)
        return super().__torch_function__(func, types, args, kwargs or {})


class Wrapper(torch.Tensor):
    """A subclass without memory of its own."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Wrapper:
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError("recording must not run the subclass's code")


class Flattening(Wrapper):
    def __tensor_flatten__(self) -> Any:
        raise AssertionError("recording must not run the subclass's code")


def _fake() -> torch.Tensor:
    with FakeTensorMode():
        return torch.randn(3)


def _old(make: Callable[[], torch.Tensor]) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


UNRECORDABLE: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "csr": (lambda: _old(lambda: torch.eye(3).to_sparse_csr()), "layout sparse_csr"),
    "mkldnn": (lambda: torch.eye(3).to_mkldnn(), "layout _mkldnn"),
    "meta": (lambda: torch.ones(3, device="meta"), "meta tensor"),
    "quantized": (lambda: _old(lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)), "quantized"),
    "nested": (lambda: _old(lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])), "nested"),
    "uninitialized": (torch.nn.parameter.UninitializedParameter, "uninitialized"),
    "wrapper": (lambda: Wrapper(torch.ones(3)), "subclass Wrapper"),
    "flattening": (lambda: Flattening(torch.ones(3)), "subclass Flattening"),
    "fake": (_fake, "subclass FakeTensor"),
}
if hasattr(torch, "jagged"):  # since 2.2
    UNRECORDABLE["jagged"] = (
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
        "subclass NestedTensor",
    )


@pytest.mark.parametrize("settings", [{}, {"summary_mode": "md5"}, {"task": "tensor"}], ids=str)
@pytest.mark.parametrize(("make", "reason"), UNRECORDABLE.values(), ids=UNRECORDABLE)
def test_what_cannot_be_recorded_is_named(
    make: Callable[[], torch.Tensor], reason: str, settings: dict[str, Any]
) -> None:
    recorder, _ = _recorder(**settings)
    tensor, plain = make(), torch.ones(2)
    odd, even = recorder.read([tensor, plain], "a.input")
    assert odd.unrecorded.startswith(reason)
    assert odd.measured is None
    assert sum(recorder.skipped.values()) == 1
    assert even.unrecorded is None
    assert all(type(extent) is int for extent in odd.shape)


def test_zeros_without_memory_are_zeros() -> None:
    """As autograd makes them for the gradient of a sign."""
    x = torch.randn(20, 20, requires_grad=True)
    (gradient,) = torch.autograd.grad(torch.sgn(x), x, torch.ones(20, 20))
    assert gradient.data_ptr() == 0
    recorder, _ = _recorder()
    (entry,) = recorder.read([gradient], "a.input")
    assert (entry.shape, entry.unrecorded) == ((20, 20), None)
    assert (entry.measured.statistics.max, entry.measured.statistics.norm) == (0.0, 0.0)


@pytest.mark.parametrize("settings", [{"task": "tensor"}, {"summary_mode": "md5"}])
def test_an_expanded_tensor_of_too_many_elements_is_neither_stored_nor_digested(settings: dict[str, Any]) -> None:
    recorder, kept = _recorder(**settings)
    entry = recorder.read(torch.tensor([2.0]).expand(1 << 20, 1 << 20), "a.input.0")
    assert kept.stored == []
    if settings == {"task": "tensor"}:
        assert (entry.measured.statistics.mean, entry.unrecorded) == (2.0, None)
    else:
        assert "an expanded tensor of 1,099,511,627,776 elements" in entry.unrecorded


def test_of_a_sparse_tensor_its_values_are_recorded() -> None:
    recorder, _ = _recorder()
    tensor = torch.sparse_coo_tensor([[0, 0, 2]], torch.tensor([[3.0], [0.0], [4.0]]), (5, 1), check_invariants=False)
    (entry,) = recorder.read([tensor], "a.input")
    assert (entry.shape, entry.measured.statistics.norm) == ((3, 1), 5.0)


def test_a_dtype_that_cannot_be_summed_is_named() -> None:
    recorder, _ = _recorder()
    entry = recorder.read(torch.zeros(4, dtype=torch.uint8).view(torch.bits8), "a.input.0")
    assert entry.unrecorded.startswith(("NotImplementedError: ", "RuntimeError: "))  # the latter before torch 2.9
    assert recorder.skipped == {"measuring failed": 1}
    assert entry.identity is not None


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, on the way to jvp
@pytest.mark.parametrize(
    "transform",
    [
        lambda f: torch.func.grad(f)(torch.ones(3)),
        lambda f: torch.func.vmap(f)(torch.ones(2, 3)),
        lambda f: torch.func.jvp(f, (torch.ones(3),), (torch.ones(3),)),
    ],
    ids=["grad", "vmap", "jvp"],
)
def test_inside_a_function_transform(transform: Callable[[Callable[[torch.Tensor], torch.Tensor]], Any]) -> None:
    recorder, _ = _recorder()
    outside = torch.arange(3.0)
    entries: list[Entry] = []

    def function(x: torch.Tensor) -> torch.Tensor:
        entries.extend(recorder.read([x, outside], "a.input"))
        return (x * outside).sum()

    transform(function)
    assert entries[0].unrecorded == "inside a function transform"
    # What the function closes over is a plain tensor, and either measured rightly or named.
    assert entries[1].unrecorded is not None or entries[1].measured.statistics.max == 2.0


def test_a_plain_subclass_is_recorded_without_its_code() -> None:
    recorder, _ = _recorder()
    tensor = torch.arange(4.0).as_subclass(Plain)
    Plain.seen.clear()
    entry = recorder.read(tensor, "a.input.0")
    assert entry.measured.statistics.max == 3.0
    assert Plain.seen == []


# ---- what recording leaves alone


class FunctionLog(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


class DispatchLog(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


EVERY_KIND = [
    torch.randn(5),
    torch.randn(4, 4).t(),
    torch.randn(300, dtype=torch.float64).to(torch.bfloat16),
    torch.randn(3, dtype=torch.complex64).conj(),
    torch.arange(5),
    torch.tensor([float("nan"), 1.0]),
]


def _record_all(**settings: Any) -> None:
    recorder, _ = _recorder(**settings)
    recorder.emit(_emission("a", {"input_args": recorder.read(EVERY_KIND, "a.input")}))
    recorder.close()


@pytest.mark.parametrize("settings", [{}, {"summary_mode": "md5"}, {"task": "tensor"}], ids=str)
@pytest.mark.parametrize("log", [FunctionLog, DispatchLog])
def test_no_mode_of_the_users_sees_us(log: Any, settings: dict[str, Any]) -> None:
    with log() as mode:
        _record_all(**settings)
    assert mode.calls == 0


@pytest.mark.parametrize("settings", [{}, {"summary_mode": "md5"}, {"task": "tensor"}, {"remeasure": True}], ids=str)
def test_no_dispatch_mode_sees_a_tensor_that_is_recorded_by_itself(settings: dict[str, Any]) -> None:
    recorder, _ = _recorder(**settings)
    tensors = [*EVERY_KIND, torch.ones(3).as_subclass(Plain), torch.eye(3).to_sparse()]
    with DispatchLog() as mode, without_overrides():
        for tensor in tensors:
            recorder.consumed(tensor, "a.input.0")
            recorder.produced(tensor, "a.output.0")
    recorder.close()
    assert mode.calls == 0


@pytest.mark.parametrize("settings", [{}, {"summary_mode": "md5"}, {"task": "tensor"}], ids=str)
def test_the_runs_state_stays_as_it_was(settings: dict[str, Any]) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    numpys = np.random.get_state()[1].tobytes()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
        _record_all(**settings)
        assert autocast_dtype("cpu") is torch.bfloat16
        assert torch.is_grad_enabled()
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
    with torch.inference_mode():
        _record_all(**settings)
        assert torch.is_inference_mode_enabled()
    with torch.no_grad():
        _record_all(**settings)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tobytes() == numpys


def test_a_default_device_does_not_divert_us() -> None:
    torch.set_default_device("meta")
    try:
        recorder, kept = _recorder(task="tensor")
        entry = recorder.read(torch.arange(70_000.0, device="cpu").to(torch.bfloat16), "a.input.0")
    finally:
        torch.set_default_device(None)
    assert entry.measured.statistics.min == 0.0
    assert len(kept.stored) == 1


def test_gradients_flow_past_us() -> None:
    recorder, _ = _recorder(task="tensor")
    leaf = torch.ones(3, requires_grad=True)
    made = leaf * 2
    recorder.read([leaf, made], "a.input")
    made.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [2.0, 2.0, 2.0]
    assert leaf._version == 0


@pytest.mark.parametrize(
    ("told", "partition"),
    [
        ({"tensor_model_parallel": True, "partition_dim": 1, "partition_stride": 2}, [1, 2]),
        ({"tensor_model_parallel": True, "partition_dim": 0}, [0, 1]),
        ({"tensor_model_parallel": False, "partition_dim": -1, "partition_stride": 1}, []),
        ({"sequence_parallel": True}, []),
        ({"sequence_parallel": False}, None),
        ({"tensor_model_parallel": True, "partition_dim": "rows"}, None),
    ],
)
def test_a_parameter_says_how_it_is_cut(told: dict[str, object], partition: list[int] | None) -> None:
    recorder, _ = _recorder()
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    for name, value in told.items():
        setattr(parameter, name, value)
    assert recorder.read(parameter, "a.input.0").partition == partition


# ---- files and digests


def test_tensor_mode_stores_each_value_once() -> None:
    recorder, kept = _recorder(task="tensor")
    tensor = torch.randn(4, 5)
    recorder.wrote(tensor, "a.output.0")
    recorder.read([tensor, tensor.view(-1), tensor], "b.input")
    assert kept.places == ["a.output.0", "b.input.1"]
    assert [payload.shape for _, _, payload in kept.stored] == [(4, 5), (20,)]


def test_statistics_store_nothing() -> None:
    recorder, kept = _recorder()
    recorder.read(torch.ones(3), "a.input.0")
    assert kept.stored == []


@pytest.mark.parametrize("entry", ["relu", "name-regex(^relu\\.)"])
def test_a_listed_tensor_is_stored_where_the_list_first_names_it(entry: str) -> None:
    recorder, kept = _recorder(tensor_list=(entry,))
    tensor = torch.randn(3)
    made = recorder.wrote(tensor, "conv.output.0")
    read = recorder.read(tensor, "relu.input.0")
    recorder.read(tensor, "relu.input.1")
    assert kept.places == ["relu.input.0"]
    assert read.measured is made.measured
    assert read.measured.statistics is not None


def test_a_listed_tensor_keeps_its_own_shape() -> None:
    recorder, kept = _recorder(tensor_list=("relu",))
    tensor = torch.randn(4, 5)
    recorder.wrote(tensor, "relu.output.0")
    recorder.read(tensor.view(-1), "relu.input.0")
    assert [payload.shape for _, _, payload in kept.stored] == [(4, 5), (20,)]


def test_md5_digests_without_statistics() -> None:
    recorder, kept = _recorder(summary_mode="md5")
    tensor = torch.randn(3000)
    entry = recorder.read(tensor, "a.input.0")
    recorder.read(tensor, "b.input.0")
    assert kept.places == [None]
    assert entry.measured.statistics is None
    assert recorder.devices == {"cpu"}


@pytest.mark.parametrize(("hash_name", "count"), [("md5", 3), ("crc32", 3), ("xor", 3000), ("xxh3", 3000)])
def test_what_is_digested_sooner_than_copied_is_never_handed_on(hash_name: str, count: int) -> None:
    if hash_name == "xxh3":
        pytest.importorskip("xxhash")
    recorder, kept = _recorder(summary_mode="md5", hash=hash_name)
    for tensor in (torch.randn(count), torch.randn(count, 2)[:, 0]):
        entry = recorder.read(tensor, "a.input.0")
        assert entry.measured.md5 == contents.digest(contents.borrow(tensor), hash_name)
    assert kept.stored == []


# ---- records


def test_records_pass_straight_through_on_the_host() -> None:
    recorder, kept = _recorder()
    recorder.emit(_emission("a", {"input_args": recorder.read([torch.ones(2)], "a.input")}))
    assert [emission.name for emission in kept.records] == ["a"]
    assert recorder.calls == 1


def test_the_device_is_noted() -> None:
    recorder, _ = _recorder()
    recorder.read(torch.ones(2), "a.input.0")
    assert recorder.devices == {"cpu"}


def _on_npu(tensor: torch.Tensor) -> torch.Tensor:
    dump.sim.enable()
    return tensor.to("npu")


NEEDS_SIM = pytest.mark.skipif(not hasattr(dump.sim, "kernels"), reason="this torch has no simulated device")


@NEEDS_SIM
def test_records_wait_for_the_device_and_keep_their_order() -> None:
    recorder, kept = _recorder()
    on_host, on_device = torch.randn(50), torch.randn(3, 7)
    for number, tensors in enumerate([[on_host], [_on_npu(on_device), on_host], [on_host], [_on_npu(torch.empty(0))]]):
        recorder.emit(_emission(str(number), {"input_args": recorder.read(tensors, "a.input")}))
    assert [emission.name for emission in kept.records] == ["0"]
    recorder.close()
    assert [emission.name for emission in kept.records] == ["0", "1", "2", "3"]
    found = kept.records[1].body["input_args"][0].measured
    assert found.launched is None
    assert found.statistics.max == float(on_device.max())
    assert found.statistics.norm == pytest.approx(float(on_device.norm()), rel=1e-5)
    assert recorder.devices == {"cpu", "npu"}


@NEEDS_SIM
def test_results_are_fetched_before_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dump.record.recorder._FETCH_AFTER", 4)
    recorder, kept = _recorder()
    for number in range(6):
        recorder.emit(_emission(str(number), {"input_args": recorder.read([_on_npu(torch.ones(2))], "a")}))
    assert len(kept.records) == 4
    recorder.close()
    assert len(kept.records) == 6


@NEEDS_SIM
def test_a_device_that_fails_loses_its_statistics_and_no_record() -> None:
    recorder, kept = _recorder()
    entry = recorder.read(_on_npu(torch.ones(2)), "a.input.0")
    recorder.emit(_emission("a", {"input_args": [entry]}))
    entry.measured.launched = deferred.Queue().take(torch.ones(2, device="meta"))  # cannot be brought back
    recorder.close()
    assert [emission.name for emission in kept.records] == ["a"]
    assert "NotImplementedError" in entry.measured.failure
    assert recorder.skipped == {"measuring failed": 1}


@NEEDS_SIM
def test_device_tensors_are_copied_and_digested() -> None:
    recorder, kept = _recorder(task="tensor")
    tensor = torch.randn(2, 3)
    recorder.read(_on_npu(tensor).t(), "a.input.0")
    assert bytes(kept.stored[0][2].data) == tensor.t().contiguous().numpy().tobytes()


def test_closing_lets_the_storages_go() -> None:
    recorder, kept = _recorder()
    tensor = torch.ones(5)
    recorder.read(tensor, "a.input.0")
    recorder.close()
    assert recorder.value_of(tensor) == 0
    recorder.close()
    assert kept.records == []


def test_the_sinks_own_failure_is_not_taken_for_the_tensors(tmp_path: Path) -> None:
    class Refusing(Kept):
        def store(self, measured: Measured, place: str | None, payload: Contents) -> None:
            raise OSError("full")

    recorder = StepRecorder(DumpConfig(task="tensor"), Refusing())
    with pytest.raises(OSError, match="full"):
        recorder.read(torch.ones(2), "a.input.0")


def test_one_of_ranks_records_waves_beside_sketches(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RANK", "RANK_ID"):
        monkeypatch.delenv(variable, raising=False)
    alone, joined = _recorder()[0], _recorder()[0]
    monkeypatch.setenv("RANK", "0")
    launched = _recorder()[0]
    tensor = torch.randn(4, 8)
    found = [recorder.read([tensor, tensor.view(2, 16)], "x") for recorder in (alone, launched)]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    found.append(joined.read([tensor, tensor.view(2, 16)], "x"))  # as a script may that has begun
    for recorder in (alone, launched, joined):
        recorder.close()
    told = [[entry.measured.statistics.waves for entry in entries] for entries in found]
    assert told[0] == [None, None]
    assert told[1] == told[2]
    assert len({None, *told[1]}) == 3  # each shape has its own
