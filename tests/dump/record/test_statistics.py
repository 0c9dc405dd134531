"""Statistics against float64 references: `measure` on the host, `launch` and `fetch` as on a device."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dump import native
from dump.format import sketch
from dump.record import contents, deferred, reading, statistics
from dump.record.contents import is_repeated
from dump.record.statistics import EMPTY, Statistics, _pieces, measure

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")


def _of_this_torch(names: str) -> list[torch.dtype]:
    return [getattr(torch, name) for name in names.split() if hasattr(torch, name)]


FLOATS = _of_this_torch("float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz")
INTEGERS = _of_this_torch("uint8 int8 uint16 int16 uint32 int32 uint64 int64 bool")
COMPLEX = [torch.complex128, torch.complex64, torch.complex32]
INF, NAN = math.inf, math.nan
BLOCK = 1 << 16  # an eighth of the real one, so that small tensors have several

Way = Callable[[torch.Tensor], Statistics]


@pytest.fixture(autouse=True, scope="module")
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(statistics._BLOCK, torch.float32, BLOCK)
        patch.setitem(statistics._BLOCK, torch.float64, BLOCK // 8)
        yield


@pytest.fixture(autouse=True, scope="module", params=["native", "python"])
def _core(request: pytest.FixtureRequest) -> Iterator[None]:
    """The whole file holds for the native core, where there is one, and for the path without it."""
    if request.param == "native" and native.core is None:
        pytest.skip(f"the native core is {native.state}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_core", native.core if request.param == "native" else None)
        yield


def _on_device(tensor: torch.Tensor) -> Statistics:
    found = deferred.fetch([deferred.Queue().take(tensor)])[0]
    assert isinstance(found, Statistics)
    return found


WAYS = pytest.mark.parametrize("way", [measure, _on_device], ids=["host", "device"])


def _wide(tensor: torch.Tensor) -> np.ndarray:
    """All elements as float64, in order, by torch and without a word of ours."""
    if tensor.dtype.is_complex:
        pairs = [[value.real, value.imag] for value in tensor.to(torch.complex128).flatten().tolist()]
        return np.array(pairs, dtype=np.float64).reshape(-1)
    return tensor.to(torch.float64).flatten().numpy()


def _sketch(live: np.ndarray) -> np.ndarray:
    count = len(live)
    place, span = np.arange(count), sketch.width(count)
    row = place // span
    signs = sketch.column_signs()[place % (16 * span)].astype(np.float64) * sketch.row_signs()[row % 65536]
    buckets = np.zeros(16)
    row %= 65536
    np.add.at(buckets, (row + (row >> 4) + (row >> 8) + (row >> 12)) % 16, live * signs)
    return buckets


def _assert_right(found: Statistics, tensor: torch.Tensor) -> None:
    wide = _wide(tensor)
    integral = not (tensor.dtype.is_floating_point or tensor.dtype.is_complex)
    nan, inf = int(np.isnan(wide).sum()), int(np.isinf(wide).sum())
    assert (found.nan, found.inf) == (nan, inf)
    finite = np.where(np.isfinite(wide), wide, 0.0)
    live = finite
    if not integral and sketch.has_sentinel(finite.min(), finite.max()):
        live = np.where(finite <= finite.min() / 2, 0.0, finite)
    largest = np.abs(live).max() or 1.0
    assert found.sketch is not None
    assert found.sketch.dtype == np.float32
    length = largest * np.linalg.norm(live / largest)
    if length < 1e38:
        assert np.abs(found.sketch - _sketch(live)).max() <= 1e-5 * length + 1e-44  # the least float32
    if nan:
        assert all(map(math.isnan, (found.max, found.min, found.mean, found.norm)))
        return
    if integral:
        elements = [int(value) for value in tensor.flatten().tolist()]
        assert (found.max, found.min) == (max(elements), min(elements))
        assert isinstance(found.max, int)
    else:
        assert (found.max, found.min) == (wide.max(), wide.min())
        assert isinstance(found.max, float)
    assert found.mean is not None
    assert found.norm is not None
    if inf:
        assert found.norm == INF
        assert found.mean == pytest.approx(sum(wide[np.isinf(wide)].tolist()), nan_ok=True)
        return
    largest = np.abs(wide).max() or 1.0
    scaled = wide / largest
    assert found.norm == pytest.approx(largest * float(np.linalg.norm(scaled)), rel=1e-5)
    assert abs(found.mean - float(scaled.mean()) * largest) <= 1e-5 * float(np.abs(scaled).mean()) * largest


def _random(dtype: torch.dtype, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype.is_complex:
        return torch.randn(shape, generator=generator, dtype=torch.complex128).to(dtype)
    if dtype is torch.bool:
        return torch.rand(shape, generator=generator) > 0.3
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    limits = torch.iinfo(dtype)
    low, high = max(limits.min, -(2**62)), min(limits.max, 2**62)
    return torch.randint(low, high, shape, generator=generator).to(dtype)


@WAYS
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5, 7), (700,), (BLOCK + 4500,)], ids=str)
@pytest.mark.parametrize("dtype", FLOATS + INTEGERS + COMPLEX, ids=str)
def test_every_dtype(way: Way, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = _random(dtype, shape)
    _assert_right(way(tensor), tensor)


@WAYS
@pytest.mark.parametrize("dtype", [torch.float32, torch.int8, torch.bool, torch.complex64], ids=str)
@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)], ids=str)
def test_an_empty_tensor_has_no_statistics(way: Way, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    assert way(torch.empty(shape, dtype=dtype)) == EMPTY


@WAYS
@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (torch.int64, [2**63 - 1, -(2**63)]),
        (torch.int64, [2**53 + 1, 2**53 + 3]),
        *((dtype, [2**64 - 1, 2**63, 5]) for dtype in _of_this_torch("uint64")),
        *((dtype, [0, 3]) for dtype in _of_this_torch("uint64")),
        *((dtype, [2**32 - 1, 0]) for dtype in _of_this_torch("uint32")),
        (torch.bool, [True, True]),
        (torch.bool, [False]),
    ],
)
def test_extremes_of_integers_are_exact(way: Way, dtype: torch.dtype, values: list[int]) -> None:
    found = way(torch.tensor(values, dtype=dtype))
    assert (found.max, found.min) == (max(values), min(values))
    assert type(found.max) is int
    assert found.mean == pytest.approx(sum(values) / len(values), rel=1e-5, abs=2**42)


SPECIAL = {
    "nan": [1.0, NAN, 2.0],
    "inf": [1.0, INF, -3.0],
    "minus inf": [1.0, -INF, 2.0],
    "both": [INF, -INF, 1.0, 1.0],
    "all kinds": [NAN, INF, -INF, 5.0],
    "nan alone": [NAN],
    "inf alone": [INF, INF],
    "minus inf, no positive": [-INF, -2.0, -1.0],
    "zeros": [0.0, -0.0, 0.0],
    "a mask": [-1e9, 0.5, -0.25, -1e9],
    "a mask of the least float": [-3.4028234663852886e38, 0.5, 0.0, 2.0],
    "a mask, and infinities": [-1e9, 0.5, -INF, 1.0],
    "a mask, and nothing else": [-1e9, -1e9],
    "a mask, and nan": [-1e9, NAN, 0.5],
    "two depths of a mask": [-1e9, -6e8, -4e8, 1.0],
    "huge": [3e38, -2e38, 3e38],
    "squares overflow": [1e30, 2e30, -1e29],
    "tiny": [1e-30, -3e-30, 2e-31],
    "squares lose digits": [3e-22, -2e-22, 1e-22],
    "subnormal": [1e-44, 3e-42, 0.0],
    "tiny beside large": [1e-30, 1.0, 1e5],
    "huge beside nan": [3e38, NAN],
}


@WAYS
@pytest.mark.parametrize("many", [1, 30_000], ids=["small", "blocks"])
@pytest.mark.parametrize("values", SPECIAL.values(), ids=SPECIAL)
def test_special_values(way: Way, values: list[float], many: int) -> None:
    tensor = torch.tensor(values).repeat(many)
    _assert_right(way(tensor), tensor)


@WAYS
@pytest.mark.parametrize("values", [[1e300, -2e300], [1e-300, 2e-310], [5e-324, 0.0], [1e300, NAN], [1e100]])
def test_float64_beyond_float32(way: Way, values: list[float]) -> None:
    tensor = torch.tensor(values, dtype=torch.float64)
    _assert_right(way(tensor), tensor)


@WAYS
@pytest.mark.parametrize("many", [5, 50_000])
def test_what_overflows_on_the_way_does_not_in_the_end(way: Way, many: int) -> None:
    found = way(torch.full((many,), 3e38))
    assert found.mean == pytest.approx(3e38)
    assert found.norm == pytest.approx(3e38 * math.sqrt(many))


@WAYS
@pytest.mark.parametrize("values", [[NAN, 1.0, INF], [-1e4, 0.5], [-INF, 2.0]])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e5m2, torch.complex64])
def test_special_values_of_narrow_dtypes(way: Way, dtype: torch.dtype, values: list[float]) -> None:
    tensor = torch.tensor(values * 40).to(dtype)
    _assert_right(way(tensor), tensor)


def test_counts_are_exact_beyond_what_float32_can_count() -> None:
    tensor = torch.full((2**24 + 1,), NAN).to(torch.float8_e5m2)  # torch 2.4 fills no such tensor
    assert _on_device(tensor).nan == 2**24 + 1


def _negated_view() -> torch.Tensor:
    return _random(torch.complex64, (6, 5)).conj().imag


VIEWS: dict[str, Callable[[], torch.Tensor]] = {
    "transposed": lambda: _random(torch.float32, (40, 30)).t(),
    "every other": lambda: _random(torch.float32, (500,))[::2],
    "expanded": lambda: _random(torch.float32, (1, 60)).expand(20, 60),
    "one element, expanded": lambda: _random(torch.float32, ()).expand(50),
    "offset by one": lambda: _random(torch.float32, (601,))[1:],
    "transposed bf16": lambda: _random(torch.bfloat16, (40, 30)).t(),
    "channels last": lambda: _random(torch.float32, (2, 3, 4, 5)).to(memory_format=torch.channels_last),
    "conjugated": lambda: _random(torch.complex64, (6, 5)).conj(),
    "conjugated, transposed": lambda: _random(torch.complex64, (6, 5)).mH,
    "conjugated complex32": lambda: _random(torch.complex32, (6, 5)).conj(),
    "negated": _negated_view,
    "real part": lambda: _random(torch.complex64, (6, 5)).real,
    "needs a gradient": lambda: _random(torch.float32, (30,)).requires_grad_(),
    "in a graph": lambda: _random(torch.float32, (30,)).requires_grad_() * 2,
}


@WAYS
@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
def test_layout_does_not_matter(way: Way, make: Callable[[], torch.Tensor]) -> None:
    view = make()
    plain = view.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    found, expected = way(view), way(plain)
    _assert_right(found, plain)
    assert found.sketch is not None
    assert found.sketch.tobytes() == expected.sketch.tobytes()
    assert (found.max, found.min, found.mean, found.norm) == (
        expected.max,
        expected.min,
        expected.mean,
        expected.norm,
    )


@WAYS
@pytest.mark.parametrize("count", [30, 5000, BLOCK, BLOCK + 1, 200_000])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_a_widened_copy_has_the_same_statistics(way: Way, dtype: torch.dtype, count: int) -> None:
    narrow = _random(dtype, (count,))
    found, widened = way(narrow), way(narrow.to(torch.float32))
    assert found.sketch.tobytes() == widened.sketch.tobytes()
    assert (found.mean, found.norm) == (widened.mean, widened.norm)


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(st.integers(1, 1100), st.integers(BLOCK - 300, BLOCK + 300), st.integers(2 * BLOCK, 2 * BLOCK + 9)),
    st.integers(0, 2**32),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.int32]),
)
def test_statistics_at_any_length(count: int, seed: int, dtype: torch.dtype) -> None:
    tensor = (_random(torch.float32, (count,), seed) * 100).to(dtype)
    _assert_right(measure(tensor), tensor)


@pytest.mark.parametrize("count", [2**21 - 5, 2**21 + 4097])
def test_host_and_device_agree_where_rows_are_many(count: int) -> None:
    tensor = _random(torch.float32, (count,))
    host, device = measure(tensor), _on_device(tensor)
    assert np.abs(host.sketch - device.sketch).max() <= 1e-5 * host.norm
    assert device.norm == pytest.approx(host.norm, rel=1e-5)
    assert host.sketch == pytest.approx(_sketch(_wide(tensor)), abs=1e-5 * host.norm)


def _swapped(values: torch.Tensor) -> torch.Tensor:
    changed = values.clone()
    changed[[1, len(values) // 2]] = changed[[len(values) // 2, 1]]
    return changed


def _one_larger(values: torch.Tensor) -> torch.Tensor:
    changed = values.clone()
    changed[len(values) // 3] *= 10
    return changed


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "each off by 1e-3": lambda x: x * (1 + 1e-3 * _random(torch.float32, tuple(x.shape), seed=9)),
    "each off by 1e-5": lambda x: x * (1 + 1e-5 * _random(torch.float32, tuple(x.shape), seed=9)),
    "rounded to bf16": lambda x: x.to(torch.bfloat16).to(torch.float32),
    "two swapped": _swapped,
    "one times ten": _one_larger,
    "scaled": lambda x: x * 1.001,
}


@pytest.mark.parametrize("count", [100, 10_000, 300_000])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_sketch_sees_the_change(change: Callable[[torch.Tensor], torch.Tensor], count: int) -> None:
    before = _random(torch.float32, (count,), seed=count)
    after = change(before)
    true = float((after.double() - before.double()).norm())
    estimate = float(np.linalg.norm(measure(after).sketch.astype(float) - measure(before).sketch))
    assert true / 2.2 < estimate < true * 2.2


def test_equal_tensors_have_equal_sketches_wherever_they_lie() -> None:
    values = _random(torch.float32, (70_000,))
    shifted = torch.empty(70_003)[3:].copy_(values)
    assert measure(values).sketch.tobytes() == measure(shifted).sketch.tobytes()


@pytest.mark.parametrize("dtype", _of_this_torch("bits8 float4_e2m1fn_x2"))
def test_a_dtype_that_torch_cannot_convert_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises((NotImplementedError, RuntimeError)):  # the latter before torch 2.9
        measure(torch.zeros(4, dtype=torch.uint8).view(dtype))


def test_numpys_error_state_neither_matters_nor_changes() -> None:
    with np.errstate(all="raise"):
        for values in SPECIAL.values():
            for many in (1, 30_000):
                measure(torch.tensor(values).repeat(many))
        assert set(np.geterr().values()) == {"raise"}


def test_measuring_does_not_write() -> None:
    for tensor in (torch.tensor(SPECIAL["all kinds"]), torch.tensor(SPECIAL["a mask"])):
        before = tensor.view(torch.int32).clone()
        measure(tensor)
        _on_device(tensor)
        assert torch.equal(tensor.view(torch.int32), before)
        assert tensor._version == 0


@pytest.mark.parametrize("value", [0.1, -3.7e5, 1e-9])
@pytest.mark.parametrize("count", [300, BLOCK - 5, BLOCK, 3 * BLOCK + 1, 1 << 20])
def test_a_mean_of_equal_elements_gathers_no_error(count: int, value: float) -> None:
    # Where rounding goes one way, one sum over rows of 4096 would be 2e-6 off.
    tensor = torch.full((count,), value)
    found = measure(tensor)
    assert found.mean == pytest.approx(tensor[0].item(), rel=1e-6)
    assert found.norm == pytest.approx(abs(tensor[0].item()) * math.sqrt(count), rel=2e-6)


def test_the_reference_itself_is_exact() -> None:
    values = _random(torch.float64, (50,)).tolist()
    exact = sum(Fraction(value) for value in values) / len(values)
    assert measure(torch.tensor(values, dtype=torch.float64)).mean == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.complex64]
)
@pytest.mark.parametrize("values", [[0.0], [1.0, -2.0, 3.0], [1.0, float("nan"), float("inf")], [-3e38, 1.0]])
@pytest.mark.parametrize("shape", [(70, 3, 300), (3, 90_001), (2, 60_000, 3)])
def test_an_expanded_tensor_has_the_statistics_of_the_dense_one(
    dtype: torch.dtype, values: list[float], shape: tuple[int, ...]
) -> None:
    if not (dtype.is_floating_point or dtype.is_complex):
        values = [value for value in values if abs(value) < 10]
    base = torch.tensor(values).to(dtype)
    view = [1] * len(shape)
    if len(values) == 3 in shape:
        view[shape.index(3)] = 3
    else:
        base = base[:1]
    expanded = base.view(view).expand(shape)
    assert is_repeated(expanded)
    found, dense = measure(expanded), measure(expanded.contiguous())
    assert repr(found) == repr(dense)


def test_an_expanded_tensor_is_never_made_dense() -> None:
    """1 TB, were it made."""
    pieces = _pieces(torch.zeros(1, 1).expand(1 << 20, 1 << 18), 1 << 15)
    assert next(pieces).numel() <= 1 << 15
    tracemalloc.start()
    measure(torch.ones(1, 1, 1).expand(64, 1024, 512))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("values", [[1.0, -2.0, 3.0], [float("nan"), 1.0, float("inf")], [0.0, 0.0, 0.0]])
def test_an_expanded_tensor_of_too_many_elements_is_measured_by_what_it_repeats(
    values: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    expanded = torch.tensor(values).view(3, 1).expand(3, 30_000)
    whole = measure(expanded)
    monkeypatch.setattr(contents, "_MOST_READ", 1 << 15)
    found = measure(expanded)
    assert found.buckets is None
    assert (found.nan, found.inf) == (whole.nan, whole.inf)
    for name in ("max", "min", "mean", "norm"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=1e-6, nan_ok=True)


def test_an_expanded_tensor_of_a_million_million_elements_takes_no_time() -> None:
    found = measure(torch.tensor([[2.0]], dtype=torch.complex64).expand(1 << 20, 1 << 20))
    assert found == Statistics(2.0, 0.0, 1.0, 2.0 * (1 << 20), 0, 0, None)


RUNS = {
    "heads": lambda: _random(torch.float32, (2, 40, 4, 8)).transpose(1, 2),
    "columns": lambda: _random(torch.bfloat16, (30, 64))[:, 3:50],
    "every other row": lambda: _random(torch.float32, (30, 7))[::2],
    "rows again": lambda: _random(torch.float32, (1, 9)).expand(30, 9),
    "one element": lambda: _random(torch.float32, (3, 1)).t()[:, 1:2],
}


@pytest.mark.parametrize("kind", RUNS)
def test_what_lies_in_runs_is_measured_where_it_lies(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = RUNS[kind]()
    expected = statistics.measure(tensor.contiguous())
    if statistics._core is not None:
        monkeypatch.setattr(statistics, "real_contiguous", lambda _: pytest.fail("copied"))
    assert statistics.measure(tensor, reading.facts_of(tensor)) == expected
