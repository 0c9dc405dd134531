from __future__ import annotations

import base64
import math
from typing import Any

import msgspec
import numpy as np
import pytest

from acc_compare.measured.errors import RESOLUTION, tensor_error
from acc_compare.metrics.distance import measure
from dump.format import waves
from dump.format.schema import TensorRecord

FOREIGN: dict[str, Any] = {"sketch": None}
MASK = -1e9


def true_error(npu: Any, bench: Any) -> float:
    return float(np.linalg.norm(npu.astype(float) - bench.astype(float)) / np.linalg.norm(bench.astype(float)))


@pytest.mark.parametrize("size", [1e-5, 1e-3, 0.1])
def test_tensor_files_give_the_error_itself(make: Any, size: float) -> None:
    bench = make.normal(40, 30)
    npu = make.off(bench, size)
    error = tensor_error(make.tensor(npu), make.tensor(bench), measure(npu, bench))
    assert error is not None
    assert error.source == "exact"
    assert error.relative == pytest.approx(true_error(npu, bench), rel=1e-6)
    assert error.scale == pytest.approx(max(np.linalg.norm(bench), np.linalg.norm(npu)), rel=1e-6)
    assert error.distance == pytest.approx(error.relative * np.linalg.norm(bench))


@pytest.mark.parametrize("size", [1e-5, 1e-3, 0.1])
def test_sketches_give_it_within_a_factor_of_two(make: Any, size: float) -> None:
    bench = make.normal(40, 30)
    npu = make.off(bench, size)
    error = tensor_error(make.tensor(npu), make.tensor(bench))
    assert error is not None
    assert error.source == "sketch"
    assert 0.5 * true_error(npu, bench) < error.relative < 2 * true_error(npu, bench)


def test_a_largest_element_sharpens_the_sketch(make: Any) -> None:
    bench = make.normal(100)
    npu = bench.copy()
    npu[bench.argmax()] += 1.0
    blind = make.tensor(bench).sketch  # a sketch in which the difference has cancelled
    record = make.tensor(npu)
    same_sketch = TensorRecord(
        record.dtype, record.shape, record.max, record.min, record.mean, record.norm, sketch=blind
    )
    error = tensor_error(same_sketch, make.tensor(bench))
    assert error is not None
    assert error.distance == pytest.approx(1.0, rel=1e-6)


def test_tensors_are_no_nearer_than_their_norms(make: Any) -> None:
    bench = make.normal(100)
    blind = make.tensor(make.off(bench, 1e-5, seed=1)).sketch  # a sketch in which most of the difference has cancelled
    npu = msgspec.structs.replace(make.tensor(bench), norm=float(np.linalg.norm(bench)) * 1.001, sketch=blind)
    error = tensor_error(npu, make.tensor(bench))
    assert error is not None
    assert error.source == "sketch"
    assert error.relative == pytest.approx(1e-3, rel=1e-2)


def test_statistics_alone_give_a_lower_bound(make: Any) -> None:
    bench = make.normal(400)
    npu = make.off(bench, 0.1)
    error = tensor_error(make.tensor(npu, **FOREIGN), make.tensor(bench, **FOREIGN))
    assert error is not None
    assert error.source == "bound"
    assert 0 < error.relative <= true_error(npu, bench)
    same = tensor_error(make.tensor(bench, **FOREIGN), make.tensor(bench, **FOREIGN))
    assert same is not None
    assert same.relative == 0


@pytest.mark.parametrize(("theirs", "relative"), [("a" * 32, 0.0), ("b" * 32, math.inf)])
def test_digests_say_equal_or_not(theirs: str, relative: float) -> None:
    ours = TensorRecord("torch.float32", (3,), md5="a" * 32)
    error = tensor_error(ours, TensorRecord("torch.float32", (3,), md5=theirs))
    assert error is not None
    assert (error.source, error.relative) == ("digest", relative)


def test_digests_of_two_algorithms_say_nothing() -> None:
    ours, theirs = (TensorRecord("torch.float32", (3,), md5="a" * digits) for digits in (32, 8))
    assert tensor_error(ours, theirs) is None


def test_other_shapes_and_unmeasured_tensors_have_no_error(make: Any) -> None:
    assert tensor_error(make.tensor(make.normal(6)), make.tensor(make.normal(2, 3))) is None
    unmeasured = TensorRecord("torch.float32", (6,), unrecorded="sparse")
    assert tensor_error(unmeasured, make.tensor(make.normal(6))) is None


def test_empty_tensors_agree() -> None:
    empty = TensorRecord("torch.float32", (0, 4))
    error = tensor_error(empty, empty)
    assert error is not None
    assert error.relative == 0


def test_two_zeros_agree_and_a_lone_zero_does_not(make: Any) -> None:
    zero, one = np.zeros(8, "f4"), np.ones(8, "f4")
    found = [
        tensor_error(make.tensor(npu), make.tensor(bench)) for npu, bench in ((zero, zero), (one, zero), (zero, one))
    ]
    assert [error.relative for error in found if error is not None] == [0.0, 1.0, 1.0]


def masked(make: Any) -> Any:
    scores = make.normal(64, 64)
    scores[np.triu_indices(64, 1)] = MASK
    return scores


@pytest.mark.parametrize("exact", [True, False])
def test_a_mask_hides_no_error_of_the_live_scores(make: Any, exact: bool) -> None:
    bench = masked(make)
    npu = np.where(bench > MASK, make.off(bench, 0.02), bench).astype("f4")
    live = bench > MASK
    error = tensor_error(make.tensor(npu), make.tensor(bench), measure(npu, bench) if exact else None)
    assert error is not None
    assert error.scale < 100  # not the mask's 4e10
    assert 0.5 < error.relative / true_error(npu[live], bench[live]) < 2


def test_masks_of_two_sizes_agree_where_what_is_live_agrees(make: Any) -> None:
    bench = masked(make)
    error = tensor_error(make.tensor(np.where(bench > MASK, bench, -1e4).astype("f4")), make.tensor(bench))
    assert error is not None
    assert error.relative < 1e-6


@pytest.mark.parametrize(("bad", "nan"), [(math.nan, True), (math.inf, False), (-math.inf, False)])
@pytest.mark.parametrize("way", ["exact", "sketch", "foreign"])
def test_nan_or_inf_on_one_side_only(make: Any, bad: float, nan: bool, way: str) -> None:
    bench = make.normal(50)
    npu = bench.copy()
    npu[7] = bad
    fields = FOREIGN | {"nan": None, "inf": None} if way == "foreign" else {}
    error = tensor_error(
        make.tensor(npu, **fields), make.tensor(bench, **fields), measure(npu, bench) if way == "exact" else None
    )
    assert error is not None
    assert (error.relative, error.is_nonfinite, error.nan) == (math.inf, True, nan)
    back = tensor_error(
        make.tensor(bench, **fields), make.tensor(npu, **fields), measure(bench, npu) if way == "exact" else None
    )
    assert back is not None
    assert (back.is_nonfinite, back.nan) == (True, nan)


@pytest.mark.parametrize("exact", [True, False])
def test_the_same_nan_on_both_sides_is_left_out(make: Any, exact: bool) -> None:
    bench = make.normal(500)
    bench[7] = math.nan
    npu = make.off(bench, 1e-3)
    error = tensor_error(make.tensor(npu), make.tensor(bench), measure(npu, bench) if exact else None)
    assert error is not None
    assert 4e-4 < error.relative < 2.5e-3
    assert (error.bad_npu, error.bad_bench, error.is_nonfinite) == (1, 1, False)


def test_a_foreign_side_that_counts_no_nan_is_believed_to_have_some(make: Any) -> None:
    values = make.normal(50)
    values[[3, 7]] = math.nan
    ours, theirs = make.tensor(values), make.tensor(values, sketch=None, nan=None)
    assert tensor_error(ours, theirs) is None  # nothing to compare, and nothing to accuse
    clean = make.tensor(make.normal(50), sketch=None)
    error = tensor_error(ours, clean)
    assert error is not None
    assert error.is_nonfinite


def test_a_sketch_that_overflowed_leaves_the_statistics(make: Any) -> None:
    bench = make.normal(64)
    overflowed = base64.b64encode(np.full(16, np.inf, "<f4").tobytes()).decode()
    error = tensor_error(make.tensor(2 * bench, sketch=overflowed), make.tensor(bench))
    assert error is not None
    assert error.source == "bound"
    assert error.relative == pytest.approx(1, rel=1e-4)
    both = tensor_error(make.tensor(bench, sketch=overflowed), make.tensor(bench, sketch=overflowed))
    assert both is not None
    assert both.relative == 0


def test_every_way_of_measuring_has_its_resolution() -> None:
    assert RESOLUTION == {"exact": 0.0, "sketch": 2e-7, "bound": 2e-6, "digest": 0.0}


def test_changes_that_cancel_in_one_bucket_are_seen_in_the_statistics(make: Any) -> None:
    bench = make.normal(40, 30)
    npu = bench * np.float32(1.01)
    same_sums = make.tensor(bench, Norm=float(np.linalg.norm(npu)), Max=float(npu.max()))
    error = tensor_error(same_sums, make.tensor(bench))
    assert error is not None
    assert error.source == "sketch"
    assert error.relative == pytest.approx(0.01, rel=0.01)
    equal = tensor_error(make.tensor(bench), make.tensor(bench))
    assert equal is not None
    assert equal.distance == 0.0


@pytest.mark.parametrize("spoilt", [{"max": math.nan}, {"norm": math.nan}, {"min": -math.inf}])
def test_an_extreme_or_a_norm_that_is_not_finite_counts_though_nothing_was_counted(make: Any, spoilt: Any) -> None:
    record = make.tensor(make.normal(40))
    bad = msgspec.structs.replace(record, **spoilt)
    for npu, bench in ((bad, record), (record, bad)):
        error = tensor_error(npu, bench)
        assert error is not None
        assert error.is_nonfinite
        assert error.nan == ("min" not in spoilt)
    alike = tensor_error(bad, bad)
    assert alike is None or not alike.is_nonfinite


@pytest.mark.parametrize("copies", [2, 8])
def test_an_element_that_is_off_in_every_copy_of_its_row_does_not_cancel(make: Any, copies: int) -> None:
    # Positions are the same for all of a batch; one sign of their update that flips is off in each.
    table = make.normal(10, 48, seed=1) * np.float32(0.02)
    errors = []
    for place in range(64):
        wrong = table.copy()
        wrong.flat[place] += np.float32(2e-4)
        npu, bench = (np.stack([rows] * copies) for rows in (wrong, table))
        error = tensor_error(make.tensor(npu), make.tensor(bench))
        assert error is not None
        errors.append(error.relative / true_error(npu, bench))
    assert min(errors) > 0.1
    assert max(errors) < 10


def _waves(array: np.ndarray) -> bytes:
    return waves.to_bytes(waves.of(array.reshape(-1), array.shape))


def test_without_sketches_waves_tell_that_rows_changed_places(make: Any) -> None:
    bench = make.normal(40, 30)
    moved = bench[[1, 0, *range(2, 40)]]
    near = make.off(bench, 1e-4)
    known = msgspec.structs.replace(make.tensor(bench), sketch=None, waves=_waves(bench))
    for array, least, most in ((moved, 0.02, true_error(moved, bench)), (near, 0.0, 1e-4)):
        error = tensor_error(msgspec.structs.replace(make.tensor(array), sketch=None, waves=_waves(array)), known)
        assert error is not None
        assert error.source == "bound"
        assert least <= error.relative <= most


@pytest.mark.parametrize(("dtype", "rounding"), [("torch.bfloat16", 2.0**-8), ("torch.float16", 2.0**-11)])
def test_foreign_sums_of_a_narrow_dtype_are_as_true_as_it_is(dtype: str, rounding: float) -> None:
    """msprobe lets torch sum, and torch rounds a norm to the dtype of the tensor: 4.4375 for 4.4246 in bfloat16."""

    def foreign(norm: float, mean: float, high: float = 1.625) -> TensorRecord:
        return TensorRecord(dtype, (4, 5), high, -1.5, mean, norm)

    ours = msgspec.structs.replace(foreign(4.4246, 0.2625), sketch=bytes(64))
    near = tensor_error(foreign(4.4246 * (1 + rounding), 0.2625 * (1 + rounding)), ours)
    far = tensor_error(foreign(4.4246 * (1 + 6 * rounding), 0.2625), ours)
    extreme = tensor_error(foreign(4.4246, 0.2625, high=1.75), ours)
    assert near is not None
    assert near.relative == 0
    assert far is not None
    assert far.relative > 2 * rounding
    assert extreme is not None
    assert extreme.distance == 0.125
