from __future__ import annotations

import math
from collections.abc import Container
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from acc_compare.judge.noise import Expectation, Noise
from acc_compare.judge.noise_prior import CHANNELS, UNKNOWN, NoiseKey, measured_prior, prior_of
from acc_compare.judge.systematic import Shift
from acc_compare.operators import operator_class

PRIOR = {NoiseKey("gelu", False, False): UNKNOWN._replace(exact=0.2, sketch=0.3, between=0.2, runs=50)}


def calls(make: Any, sizes: list[float], *, api: str = "Functional.gelu") -> Any:
    """Calls that read equal tensors and write one that is off by each of `sizes`."""
    runs = []
    for is_npu in (True, False):
        run = make.Run()
        for n, size in enumerate(sizes):
            x = make.normal(32, 64, seed=n)
            run.call(f"{api}.{n}.forward", [x], [make.off(x, size if is_npu else 0.0, seed=90 + n)])
        runs.append(run)
    return [part.call for part in make.measured(*runs)]


def expected(noise: Noise, n: int) -> Any:
    found = noise.expectation(f"Functional.gelu.{n}.forward", "output.0")
    assert found is not None
    return found


def test_peers_within_noise_are_silent_and_one_that_stands_out_is_not(make: Any) -> None:
    noise = Noise(calls(make, [6e-8] * 9 + [3e-6]), PRIOR)
    assert not any(expected(noise, n).is_exceeded for n in range(9))
    odd = expected(noise, 9)
    assert odd.is_too_large
    assert odd.calls == 9
    assert odd.limit > odd.typical


def test_peers_move_what_is_typical_little_by_little(make: Any) -> None:
    """Three calls that are off alike say little, thirty a lot; the prior holds against both."""
    alone = expected(Noise(calls(make, [3e-7]), PRIOR), 0).typical
    few = expected(Noise(calls(make, [3e-7] * 4), PRIOR), 0).typical
    many = expected(Noise(calls(make, [3e-7] * 30), PRIOR), 0).typical
    assert alone < few < many < 3e-7


def test_a_call_is_left_out_of_what_it_is_judged_by(make: Any) -> None:
    sizes = [6e-8] * 6
    assert expected(Noise(calls(make, [*sizes, 6e-8]), PRIOR), 6).limit == pytest.approx(
        expected(Noise(calls(make, [*sizes, 1e-3]), PRIOR), 6).limit, rel=0.1
    )


def test_calls_that_round_alike_do_not_forbid_rounding(make: Any) -> None:
    noise = Noise(calls(make, [0.0] * 20 + [6e-8]), PRIOR)
    assert not expected(noise, 20).is_exceeded


def test_an_operator_that_is_off_everywhere_stands_out_against_the_prior(make: Any) -> None:
    silent, loud = (Noise(calls(make, [size] * 12), PRIOR) for size in (6e-8, 6e-6))
    assert not any(expected(silent, n).is_exceeded for n in range(12))
    assert all(expected(loud, n).is_exceeded for n in range(12))


@pytest.mark.parametrize(
    ("calls_made", "runs", "key"),
    [
        (12, 50, NoiseKey("elementwise", False, False)),  # what is known of a class is too little
        (12, 12, NoiseKey("gelu", False, False)),
        (3, 50, NoiseKey("gelu", False, False)),
    ],
)
def test_an_operator_that_is_off_everywhere_is_silent_where_little_is_known(
    make: Any, calls_made: int, runs: int, key: NoiseKey
) -> None:
    row = PRIOR[NoiseKey("gelu", False, False)]
    sizes = [4e-6 * factor for factor in np.linspace(0.9, 1.1, calls_made)]
    noise, known = (Noise(calls(make, sizes), prior) for prior in ({key: row._replace(runs=runs)}, PRIOR))
    assert not any(expected(noise, n).is_exceeded for n in range(calls_made))
    assert any(expected(known, n).is_exceeded for n in range(calls_made)) is (calls_made > 3)


@pytest.mark.parametrize(("size", "is_exceeded"), [(5e-8, False), (5e-6, True)])
def test_an_error_finer_than_sketches_resolve_is_none(make: Any, size: float, is_exceeded: bool) -> None:
    prior = {NoiseKey("gelu", False, False): UNKNOWN._replace(location=-4.0, exact=0.1, sketch=0.1, between=0.1)}
    assert expected(Noise(calls(make, [size]), prior), 0).is_too_large is is_exceeded


def test_a_factor_in_many_elements_is_seen_below_their_noise(make: Any) -> None:
    runs = []
    for is_npu in (True, False):
        run = make.Run()
        for n in range(8):
            x = make.normal(64, 64, seed=n)
            factor = np.float32(1.002 if is_npu and n == 5 else 1.0)
            y = make.off(x, 4e-4 if is_npu else 0.0, seed=50 + n) * factor
            run.call(f"Functional.gelu.{n}.forward", [x.astype("f2")], [y.astype("f2")])
        runs.append(run)
    noise = Noise([part.call for part in make.measured(*runs)], PRIOR)
    assert [n for n in range(8) if expected(noise, n).is_shifted] == [5]
    shift = expected(noise, 5).shift
    assert (shift.channel, shift.value) == ("norm", pytest.approx(math.log(1.002), rel=0.05))


def test_the_limit_follows_from_the_number_of_tests(make: Any) -> None:
    few, many = (Noise(calls(make, [6e-8] * n), PRIOR).quantile for n in (2, 40))
    assert NormalDist().inv_cdf(1 - 1e-3) < few < many < 7


def test_the_prior_that_is_shipped() -> None:
    table = measured_prior()
    assert len(table) > 50
    for key, row in table.items():
        assert min(row.exact, row.sketch, row.between, *(row.channel(name) for name in CHANNELS)) > 0, key
        assert abs(row.location) < 3
    unheard_of = NoiseKey("no_such_operator", False, False)
    assert prior_of(unheard_of, table) == table.get(
        unheard_of._replace(operator=operator_class("no_such_operator")), UNKNOWN
    )


def test_more_buckets_estimate_better() -> None:
    row = UNKNOWN._replace(exact=0.1, sketch=0.3)
    assert (row.spread(None), row.spread(16)) == (0.1, pytest.approx(0.3))
    assert 0.1 < row.spread(64) < 0.3


def test_copies_do_not_borrow_their_peers_luck(make: Any) -> None:
    """Slices that took the exact part of a tensor say nothing of one that took the rest."""

    def verdict(last: float) -> bool:
        runs = []
        for is_npu in (True, False):
            run = make.Run()
            for n in range(12):
                x = make.off(make.normal(32, 64, seed=n), 1e-3 if is_npu else 0.0, seed=50 + n)
                right = make.normal(16, 64, seed=n)
                off = last if n == 11 else 1e-4
                run.call(f"Tensor.__getitem__.{n}.forward", [x], [make.off(right, off if is_npu else 0.0, seed=n)])
            runs.append(run)
        noise = Noise([part.call for part in make.measured(*runs)])
        found = noise.expectation("Tensor.__getitem__.11.forward", "output.0")
        assert found is not None
        return found.is_too_large

    assert not verdict(1.4e-3)
    assert verdict(0.5)


@pytest.mark.parametrize(("share", "is_shift"), [(1.0, False), (8.0, True)])
def test_what_truncation_moves_is_no_shift(make: Any, share: float, is_shift: bool) -> None:
    """All elements smaller by a unit of roundoff is what rounding towards zero does; by eight, it is not."""
    unit, runs = 2.0**-8, []
    for is_npu in (True, False):
        run = make.Run()
        for n in range(9):
            x = make.normal(256, 256, seed=n)
            y = make.off(x, unit / 4 if is_npu else 0.0, seed=n)
            y = y * np.float32(1 - share * unit) if is_npu and n == 8 else y
            run.mark(y, dtype="torch.bfloat16")
            run.call(f"Functional.gelu.{n}.forward", [x], [y])
        runs.append(run)
    found = expected(Noise([part.call for part in make.measured(*runs)]), 8)
    assert found.is_shifted is is_shift


@pytest.mark.parametrize("is_rerouted", [True, False])
def test_gradients_that_are_gathered_are_not_predicted_where_a_row_went_elsewhere(make: Any, is_rerouted: bool) -> None:
    runs = []
    for is_npu in (True, False):
        run = make.Run()
        scores, rows = make.normal(8, 4, seed=1), np.arange(8)
        chosen = np.where(rows == 3, 5, rows) if is_npu and is_rerouted else rows
        run.call("Torch.topk.0.forward", [scores], [scores[:, 0].copy(), chosen])
        run.call("Torch.gather.0.forward", [scores, chosen], [scores[chosen]])
        read = run.mark(make.normal(8, 4, seed=2), requires_grad=True)
        run.call("Tensor.__getitem__.0.forward", [read, np.arange(4)], [read[:4].copy()])
        gradient = make.off(make.normal(4, 4, seed=3), 1e-6 if is_npu else 0.0, seed=9)
        spread = np.zeros((8, 4), "f4")
        spread[:4] = gradient
        run.call("Tensor.__getitem__.0.backward", [gradient], [spread])
        runs.append(run)
    measured = [part.call for part in make.measured(*runs)]
    predicted = {name for name, _ in Noise(measured).observed()}
    assert ("Tensor.__getitem__.0.backward" in predicted) is not is_rerouted


@pytest.mark.parametrize(
    ("size", "shift", "is_shifted"),
    [(0.0, 6.0, False), (0.0, 8.0, True), (4.5, 6.0, True), (4.5, 4.0, False), (3.0, 6.0, False)],
)
def test_a_channel_counts_beside_the_size_or_where_it_is_far_off(size: float, shift: float, is_shifted: bool) -> None:
    seen = Shift("mean", 1e-6, 1e-7, shift)
    found = Expectation(1e-6, 1e-5, size, 8, quantile=5.0, far=7.4, together=5.4, shift=seen)
    assert found.is_shifted is is_shifted
    assert found.is_exceeded is is_shifted


@pytest.mark.parametrize(
    ("size", "aligned", "is_exceeded"), [(4.0, 3.7, True), (4.0, 3.5, False), (3.0, 9.0, False), (-9.0, 9.0, False)]
)
def test_a_size_and_a_direction_count_together(size: float, aligned: float, is_exceeded: bool) -> None:
    seen = Shift("mean", 1e-6, 1e-7, 1.0)
    found = Expectation(1e-6, 1e-5, size, 8, quantile=5.0, far=7.4, together=5.4, aligned=aligned, shift=seen)
    assert found.is_exceeded is is_exceeded


@pytest.mark.parametrize(("rows", "is_accused"), [(8, False), (1, True)])
def test_sums_scatter_more_than_copies_do(make: Any, rows: int, is_accused: bool) -> None:
    """Gradients of sums of equal shapes are copies, to the digit; those of what was repeated are added up, and their
    error is estimated anew."""
    runs = []
    for is_npu in (True, False):
        run = make.Run()
        for n in range(30):
            back = make.normal(8, 16, 32, seed=n)
            x, other = (
                make.normal(8, 16, 32, seed=60 + n),
                make.normal(*((16, 32) if n == 29 and rows > 1 else (8, 16, 32))),
            )
            run.call(f"Tensor.__add__.{n}.forward", [x, other], [x + other])
            read = make.off(back, 1e-3 if is_npu else 0.0, seed=n)
            right = back.sum(0) if n == 29 and rows > 1 else back
            size = 1e-3 * np.linalg.norm(back) / np.linalg.norm(right)
            wrote = make.off(right, 3.6 * size if is_npu else 0.0, seed=77) if n == 29 else read
            run.call(f"Tensor.__add__.{n}.backward", [read], [read, wrote])
        runs.append(run)
    found = Noise([part.call for part in make.measured(*runs)]).expectation("Tensor.__add__.29.backward", "output.1")
    assert found is not None
    assert found.is_too_large is is_accused


def to_one_side(
    make: Any, count: int, ones: Container[int], factor: float, *, others: int = 256, same: int = 0, drift: float = 0.0
) -> Noise:
    """Calls in bfloat16 of which those in `ones`, of gelu, are off by a factor on the NPU side beside what all round;
    the others, of silu, are of `others` times `others` elements.  Where `same` is not 0 the ones are so many calls,
    made again with an error that drifts."""
    unit, runs = 2.0**-8, []
    for is_npu in (True, False):
        run = make.Run()
        for n in range(count):
            is_one = n in ones
            seed, size = n % same if is_one and same else n, 256 if is_one else others
            x = make.normal(size, size, seed=seed)
            y = make.off(x, unit * (1.0 + drift * n) if is_npu else 0.0, seed=seed)
            y = y * np.float32(factor) if is_npu and is_one else y
            run.mark(y, dtype="torch.bfloat16")
            run.call(f"Functional.{'gelu' if is_one else 'silu'}.{n}.forward", [x], [y])
        runs.append(run)
    return Noise([part.call for part in make.measured(*runs)])


@pytest.mark.parametrize(("factor", "is_shift"), [(1.02, True), (1.004, False)])
def test_most_calls_of_an_operator_that_lie_to_one_side_are_shifted(make: Any, factor: float, is_shift: bool) -> None:
    """By a factor that one of them alone could have been rounded by."""
    found = expected(to_one_side(make, 40, range(0, 40, 5), factor), 10)
    assert found.shift is not None
    assert found.shift.deviations < found.far
    assert found.alike is is_shift
    assert found.is_shifted is is_shift


@pytest.mark.parametrize(("calls", "factor", "is_shift"), [(8, 1.02, True), (3, 1.011, False)])
def test_eight_calls_that_lie_to_one_side_tell_what_three_do_not(
    make: Any, calls: int, factor: float, is_shift: bool
) -> None:
    """Among so many others that three would have to lie further off."""
    found = expected(to_one_side(make, calls + 600, range(calls), factor, others=8), 0)
    assert found.shift is not None
    assert 2.5 < found.shift.deviations < 0.4 * found.far
    assert found.alike is is_shift


@pytest.mark.parametrize(("places", "is_accused"), [((0,), False), (range(0, 4000, 8), True)])
def test_one_large_element_of_a_cast_may_round_to_its_other_neighbour(make: Any, places: Any, is_accused: bool) -> None:
    # The larger an element, the further apart its neighbours: few are expected to flip, and the first may be that one.
    x = make.normal(4000, seed=1) * np.float32(1e-3)
    x[0] = 0.05
    runs = []
    for is_npu in (True, False):
        run = make.Run()
        wrote = x.astype("f2").copy()
        if is_npu:
            wrote[list(places)] = np.nextafter(wrote[list(places)], np.float16(1.0))
        run.call("Tensor.to.0.forward", [make.off(x, 2.5e-7 if is_npu else 0.0, seed=2)], [wrote])
        runs.append(run)
    (part,) = make.measured(*runs)
    found = Noise([part.call]).expectation("Tensor.to.0.forward", "output.0")
    assert found is not None
    assert found.is_exceeded is is_accused


@pytest.mark.parametrize(("calls", "is_shift"), [(1, False), (4, True)])
def test_a_call_that_is_made_again_says_nothing_new(make: Any, calls: int, is_shift: bool) -> None:
    """As on the next micro-batch, which the same wrong weight moves by the same, to a few digits."""
    noise = to_one_side(make, 44, range(4), 1.02, same=calls, drift=1e-5)
    assert expected(noise, 0).alike is is_shift


@pytest.mark.parametrize(("times", "is_exceeded"), [(1.4, False), (6.0, True)])
def test_what_the_inputs_explain_by_arithmetic_is_no_finding_beside_calls_that_do_better(
    make: Any, times: float, is_exceeded: bool
) -> None:
    runs = []
    for is_npu in (True, False):
        run = make.Run()
        for n in range(31):
            x, size = make.normal(32, 64, seed=n), 1e-3 * (times if n == 30 else 0.3)
            given, made = (make.off(x, 1e-3, seed=50 + n), make.off(x, size, seed=90 + n)) if is_npu else (x, x)
            run.call(f"Functional.gelu.{n}.forward", [given], [made])
        runs.append(run)
    noise = Noise([part.call for part in make.measured(*runs)], PRIOR)
    found = expected(noise, 30)
    assert found.typical < 0.6e-3
    assert found.is_too_large is is_exceeded


@pytest.mark.parametrize("others", [0, 30], ids=["all of them", "one of many"])
def test_calls_with_another_number_do_not_say_what_is_normal(make: Any, others: int) -> None:
    """Of an operator that is not in the prior, where nothing but its calls tells how it amplifies."""

    def side(number: float) -> Any:
        run = make.Run()
        for place in range(40):
            x = np.abs(make.normal(8, 8, seed=place)) + 1
            given = number if place >= others else 0.05
            run.call(f"Tensor.__rdiv__.{place}.forward", [x, given], [(given / x).astype("f4")])
        return run

    finding = make.judged(side(0.1), side(0.05))
    assert [suspect.name for suspect in finding.suspects] == [f"Tensor.__rdiv__.{others}.forward"]


def test_one_call_made_again_and_again_is_no_measure_of_itself(make: Any) -> None:
    """Of an operator that is not in the prior, and wrong."""

    def side(factor: float) -> Any:
        run = make.Run()
        for place in range(40):
            x = np.abs(make.normal(8, 8)) + 1
            run.call(f"Tensor.__rdiv__.{place}.forward", [x, 0.05], [(factor / x).astype("f4")])
        return run

    finding = make.judged(side(0.1), side(0.05))
    assert [suspect.name for suspect in finding.suspects] == ["Tensor.__rdiv__.0.forward"]
