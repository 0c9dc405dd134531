"""Many tensors measured by the kernels of one are as each alone; their number hardly tells in what is launched."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import dump.sim
from dump.record import batched, deferred
from dump.record.statistics import Statistics, measure

NEEDS_SIM = pytest.mark.skipif(not hasattr(dump.sim, "kernels"), reason="this torch has no simulated device")
NAN, INF = math.nan, math.inf


def _together(tensors: list[torch.Tensor]) -> list[Statistics]:
    queue = deferred.Queue()
    found = deferred.fetch([queue.take(tensor) for tensor in tensors])
    assert all(isinstance(each, Statistics) for each in found)
    return found  # type: ignore[return-value]


def _assert_alike(found: Statistics, tensor: torch.Tensor) -> None:
    wanted = measure(tensor)
    ends = (found.max, found.min, found.nan, found.inf)
    assert ends == pytest.approx((wanted.max, wanted.min, wanted.nan, wanted.inf), rel=0, abs=0, nan_ok=True)
    assert type(found.max) is type(wanted.max)
    wide = tensor.double()
    largest = float(wide[torch.isfinite(wide)].abs().max()) if torch.isfinite(wide).any() else 1.0
    assert found.norm == pytest.approx(wanted.norm, rel=1e-6, nan_ok=True)
    assert found.mean == pytest.approx(wanted.mean, rel=1e-5, abs=1e-7 * largest, nan_ok=True)
    assert found.sketch is not None
    assert wanted.sketch is not None
    bound = 1e-5 * max(float(np.linalg.norm(wanted.sketch.astype(np.float64))), largest)
    assert np.abs(found.sketch.astype(np.float64) - wanted.sketch).max() <= bound


def test_tensors_of_every_size_and_kind() -> None:
    torch.manual_seed(0)
    sizes = [1, 2, 15, 16, 17, 255, 256, 257, 511, 512, 4095, 4097, 65535, 65536, 65537, 70001]
    floats = [torch.randn(size, dtype=dtype) for size in sizes for dtype in (torch.float32, torch.float64)]
    narrow = [torch.randn(size).to(torch.bfloat16) * 100 for size in sizes]
    whole = [torch.randint(-9, 9, (size,)) - 2**40 for size in sizes] + [torch.ones(300, dtype=torch.bool)]
    tensors = [tensor for group in zip(floats, floats[::-1], strict=True) for tensor in group] + narrow + whole
    for found, tensor in zip(_together(tensors), tensors, strict=True):
        _assert_alike(found, tensor)


def test_what_one_holds_does_not_touch_its_neighbours() -> None:
    plain = torch.linspace(-3, 5, 1000)
    bad, masked = plain.clone(), plain.clone()
    bad[7], bad[13], masked[::3] = NAN, -INF, -1e9
    all_low = torch.full((1000,), -1e9)  # no mask, since nothing else is there
    huge, tiny = plain * 1e30, plain * 1e-30
    tensors = [plain, bad, masked, all_low, huge, tiny, torch.zeros(1000), plain]
    for found, tensor in zip(_together(tensors), tensors, strict=True):
        _assert_alike(found, tensor)


def test_a_batch_that_is_full_gives_way_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "MOST", 3)
    monkeypatch.setattr(deferred, "CAPACITY", 1 << 18)
    tensors = [torch.full((300,), float(number)) for number in range(10)]
    tensors += [torch.randn(size) for size in (1 << 17, 1 << 17, 1 << 19, 70000)]
    for found, tensor in zip(_together(tensors), tensors, strict=True):
        _assert_alike(found, tensor)


def test_what_is_written_after_the_call_is_not_measured() -> None:
    queue, tensor = deferred.Queue(), torch.ones(100)
    item = queue.take(tensor)
    tensor.fill_(7.0)
    (found,) = deferred.fetch([item])
    assert isinstance(found, Statistics)
    assert found.max == 1.0


def test_a_batch_that_fails_takes_no_other_with_it() -> None:
    queue = deferred.Queue()
    items = [queue.take(tensor) for tensor in (torch.ones(5, device="meta"), torch.ones(5), torch.empty(0))]
    lost, found, empty = deferred.fetch(items)
    assert isinstance(lost, RuntimeError)
    assert isinstance(found, Statistics)
    assert isinstance(empty, Statistics)
    assert (found.max, empty.max) == (1.0, None)


def test_a_batch_whose_first_copy_failed_measures_nothing() -> None:
    queue, odd = deferred.Queue(), torch.ones(5)
    kind = batched.Kind.of(odd)
    queue._open[None, kind] = batch = batched.Batch(kind, 16)
    (found,) = deferred.fetch([queue.take(torch.ones(200))])
    assert isinstance(found, Statistics)
    assert (batch.floats, batch.failure) == (None, None)


@NEEDS_SIM
def test_launches_hardly_grow_with_the_number_of_tensors() -> None:
    dump.sim.enable()
    tensors = [torch.randn(1000).to("npu") for _ in range(100)]

    def launches(number: int) -> int:
        before = sum(dump.sim.op_counts().values())
        _together(tensors[:number])
        return sum(dump.sim.op_counts().values()) - before

    launches(1)  # which uploads the signs
    one = launches(1)
    assert launches(100) <= one + 99


@pytest.mark.parametrize("others", [True, False])
def test_waves_of_tensors_of_every_shape(others: bool) -> None:
    torch.manual_seed(0)
    shapes = [(1,), (70,), (4, 8), (1, 1), (3, 5, 7), (2, 3000), (64, 3, 7, 7), (300, 10)]
    tensors = [torch.randn(shape, dtype=dtype) for shape in shapes for dtype in (torch.float32, torch.float64)]
    bad, masked = torch.randn(6, 40), torch.randn(6, 40)
    bad[1, 2], bad[3, 3], masked[:, 20:] = NAN, INF, -1e9
    tensors += [torch.randint(0, 9, (7, 9)), torch.randn(3, 5).to(torch.bfloat16), bad, masked]
    queue = deferred.Queue()
    taken = [queue.take(tensor, waves=True) for tensor in tensors]
    plain = [queue.take(tensor) for tensor in tensors] if others else []
    found = deferred.fetch(taken + plain)
    for each, tensor in zip(found, tensors, strict=False):
        wanted = measure(tensor, waves=True)
        assert isinstance(each, Statistics)
        assert each.waves is not None
        assert wanted.waves is not None
        ours, theirs = (np.frombuffer(raw, "<f4").astype(np.float64) for raw in (each.waves, wanted.waves))
        assert np.abs(ours - theirs).max() <= 1e-6 * float(np.linalg.norm(theirs)) + 1e-5
    assert all(isinstance(each, Statistics) and each.waves is None for each in found[len(tensors) :])


def test_what_has_no_dimension_or_is_complex_has_no_waves() -> None:
    queue = deferred.Queue()
    tensors = [torch.tensor(2.0), torch.ones(3, dtype=torch.complex64)]
    found = deferred.fetch([queue.take(tensor, waves=True) for tensor in tensors])
    assert all(isinstance(each, Statistics) and each.waves is None for each in found)
    assert [measure(tensor, waves=True).waves for tensor in tensors] == [None, None]


def test_waves_of_one_that_is_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "CAPACITY", 1 << 14)
    tensor = torch.randn(50, 1001)
    found = deferred.fetch([deferred.Queue().take(tensor, waves=True)])[0]
    assert isinstance(found, Statistics)
    wanted = np.frombuffer(measure(tensor, waves=True).waves or b"", "<f4")
    assert found.waves is not None
    assert np.abs(np.frombuffer(found.waves, "<f4") - wanted).max() <= 1e-6 * float(tensor.norm())
