"""Numbers of a tensor against torch in float64, on the host and by the way that devices go."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from dump.format.encode import sketch_text
from dump.monitor.sums import Measured, Measurer, settle
from dump.record.statistics import measure

OPS = ("norm", "min", "max", "mean", "zeros", "nans", "sketch")
LEAN = ("norm", "min", "max", "mean", "zeros", "nans")

TENSORS = {
    "one": torch.tensor([3.0]),
    "scalar": torch.tensor(-2.5),
    "matrix": torch.randn(70, 40, generator=torch.Generator().manual_seed(0)),
    "blocks": torch.randn(100_003, generator=torch.Generator().manual_seed(1)) * 1e-3,
    "turned": torch.randn(50, 30, generator=torch.Generator().manual_seed(2)).t(),
    "tiny": torch.full((9,), 1e-25),
    "zeros": torch.zeros(9),
    "half": torch.randn(33, generator=torch.Generator().manual_seed(3)).half(),
    "bfloat16": torch.randn(33, generator=torch.Generator().manual_seed(4)).bfloat16(),
    "double": torch.randn(33, generator=torch.Generator().manual_seed(5)).double(),
    "integers": torch.arange(-3, 9),
}


def _on_host(tensor: torch.Tensor, ops: tuple[str, ...]) -> Measured:
    (found,) = Measurer(ops, 1e-8).measure([tensor])
    return found


def _as_on_device(tensor: torch.Tensor, ops: tuple[str, ...]) -> Measured:
    measurer = Measurer(ops, 1e-8)
    found = Measured(tuple(tensor.shape), tensor.dtype)
    measurer._queue([(found, tensor)], 1.0)
    settle([found])
    return found


@pytest.mark.parametrize("way", [_on_host, _as_on_device])
@pytest.mark.parametrize("ops", [OPS, LEAN])
@pytest.mark.parametrize("name", TENSORS)
def test_numbers_are_those_of_float64(name: str, ops: tuple[str, ...], way: object) -> None:
    tensor = TENSORS[name]
    wide = tensor.double()
    found = way(tensor, ops)  # type: ignore[operator]
    size = float(wide.norm()) / math.sqrt(wide.numel())
    # A device adds the squares up in float32: those of 1e-25 are below its least number.
    if not (name == "tiny" and way is _as_on_device):
        assert found.value("norm") == pytest.approx(float(wide.norm()), rel=1e-6 if way is _on_host else 1e-4)
    assert found.value("min") == float(wide.min())
    assert found.value("max") == float(wide.max())
    assert found.value("mean") == pytest.approx(float(wide.mean()), rel=1e-6, abs=1e-6 * size)
    assert found.value("zeros") == pytest.approx(float((wide.abs() < 1e-8).double().mean()), abs=1e-7)
    assert found.value("nans") == 0
    assert found.value("shape") == str(list(tensor.shape))
    assert found.value("dtype") == str(tensor.dtype)
    if "sketch" in ops and way is _on_host:
        assert found.value("sketch") == sketch_text(measure(tensor).sketch.astype("<f4").tobytes())  # type: ignore[union-attr]


@pytest.mark.parametrize("way", [_on_host, _as_on_device])
def test_nan_and_infinity(way: object) -> None:
    found = way(torch.tensor([1.0, math.nan, -math.inf, math.nan]), LEAN)  # type: ignore[operator]
    assert found.value("nans") == 2
    assert all(math.isnan(float(found.value(op))) for op in ("norm", "min", "max", "mean"))
    found = way(torch.tensor([1.0, -math.inf]), LEAN)  # type: ignore[operator]
    assert (found.value("norm"), found.value("min"), found.value("nans")) == (math.inf, -math.inf, 0)


def test_an_empty_tensor_has_no_numbers() -> None:
    found = _on_host(torch.zeros(0, 3), OPS)
    assert [found.value(op) for op in ("norm", "max", "nans", "sketch", "shape")] == [None, None, None, None, "[0, 3]"]


class _Wraps(torch.Tensor):
    """A tensor without memory, which hears of every operator."""

    heard: list[str] = []  # noqa: RUF012

    @staticmethod
    def __new__(cls: Any, inner: torch.Tensor) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.heard.append(str(func))
        return _Wraps(torch.ones(2))


def test_a_subclass_without_memory_has_no_numbers_and_hears_nothing() -> None:
    found = _on_host(_Wraps(torch.ones(2)), OPS)
    assert [found.value(op) for op in ("norm", "shape")] == [None, "[2]"]
    assert _Wraps.heard == []


def test_a_loss_scale_is_taken_out() -> None:
    values = torch.tensor([1e-9, 0.5, -2.0])
    (plain,) = Measurer(OPS, 1e-8).measure([values])
    (scaled,) = Measurer(OPS, 1e-8).measure([values * 1024], divisor=1024.0)
    for op in OPS:
        assert scaled.value(op) == plain.value(op), op


def test_measuring_leaves_the_storage_resizable() -> None:
    values = torch.randn(5)
    _on_host(values, OPS)
    _on_host(values, LEAN)
    assert values.untyped_storage().resizable()


def test_only_what_is_asked_for_is_measured() -> None:
    found = _on_host(torch.ones(3), ("norm",))
    assert "mean" not in found.numbers
    assert found.sketch is None


def test_one_transfer_brings_a_step_back(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [(Measured((4,), torch.float32), torch.randn(4)) for _ in range(5)]
    Measurer(LEAN, 1e-8)._queue(batch, 1.0)
    transfers = []
    original = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: transfers.append(tensor.shape) or original(tensor))
    settle([measured for measured, _ in batch])
    assert transfers == [(5 * 6,)]
    assert np.isfinite([float(measured.value("norm")) for measured, _ in batch]).all()  # type: ignore[arg-type]
