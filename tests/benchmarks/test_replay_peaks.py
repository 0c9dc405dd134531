from __future__ import annotations

import math
from pathlib import Path

import pytest

from acc_compare.replay import expected
from acc_compare.replay.results import Accuracy, ReplayedCall, ReplayedTensor
from benchmarks.replay.peaks import Nearness, nearness, quantiles, sampled, table

ULP = 2.0**-23


def judged(relative: float, ulp: float, *, limit: float, peak: float, wrong: bool = False) -> ReplayedCall:
    found = Accuracy(relative, ulp, wrong=wrong)
    tensor = ReplayedTensor("output.0", "torch.float32", (2,), found, expected=ULP, limit=limit, peak=peak)
    return ReplayedCall("Torch.exp.0.forward", "Torch.exp", 0, tensors=(tensor,))


def test_an_error_is_a_share_of_its_limit_and_a_multiple_of_what_moved() -> None:
    fresh = expected.limit(ULP)
    moved = judged(fresh + 4 * ULP, 20.0, limit=fresh + expected.MOVED * ULP, peak=40 * ULP)
    unmoved = judged(fresh / 2, 10.0, limit=fresh, peak=expected.PEAK * fresh)
    unlimited = judged(math.inf, 1.0, limit=math.inf, peak=math.inf)
    first, second = nearness([moved, unmoved, unlimited])
    assert (first.share, first.peak_share, first.moved) == pytest.approx(
        ((fresh + 4 * ULP) / (fresh + expected.MOVED * ULP), 0.5, 4.0)
    )
    assert (second.share, second.moved, second.peak_moved) == (0.5, None, None)


def test_quantiles_and_what_is_wrong_stand_in_the_table() -> None:
    assert quantiles([3.0, 1.0, 2.0]) == ["2", "3", "3", "3", "3"]
    assert quantiles([]) == []
    found = [Nearness(f"op{at} forward", "output.0", "float32", (2,), at / 2, 0.1, wrong=at > 2) for at in range(4)]
    listed = [line for line in table(found, 2).splitlines() if line.startswith("  op")]
    assert [line.split()[0] for line in listed] == ["op3", "op2"]
    assert ["WRONG" in line for line in listed] == [True, False]


@pytest.mark.slow
def test_healthy_results_are_within_their_limits(tmp_path: Path) -> None:
    plans = dict(sampled("nn.functional.silu", tmp_path))
    assert len(plans) == 9
    assert all(plans.values())
    assert not [each for found in plans.values() for each in found if each.wrong or each.share > 1]
