from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from acc_compare.judge.residuals import Residuals, student


@pytest.mark.parametrize("probability", [0.9, 0.999, 1 - 1e-6, 1 - 1e-8])
@pytest.mark.parametrize("dof", [20.0, 30.0, 100.0])
def test_the_quantile_of_students_t(probability: float, dof: float) -> None:
    assert student(probability, dof) == pytest.approx(stats.t.ppf(probability, dof), rel=0.03)


@pytest.mark.parametrize("count", [1, 2, 3, 40, 41, 42, 301])
def test_a_group_without_one_of_its_values(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count).tolist()
    group = Residuals(values)
    for one in values[:50]:
        others = sorted(values)
        others.remove(one)
        number, middle, deviation = group.without(one, is_in=True)
        assert number == count - 1
        if others:
            assert middle == pytest.approx(float(np.median(others)))
            below = [middle - value for value in others if value <= middle]
            assert deviation == pytest.approx(float(np.median(below)), abs=0.05)
    assert group.without(0.0, is_in=False)[:2] == (count, pytest.approx(float(np.median(values))))


@pytest.mark.parametrize("count", [8, 80])
def test_those_that_are_wrong_do_not_widen_what_the_others_show(count: int) -> None:
    fine = np.random.default_rng(count).normal(0.0, 0.2, size=count)
    wrong = fine[: count // 3] + 3.0
    alone = Residuals(fine.tolist()).without(9.0, is_in=False)[2]
    beside = Residuals([*fine.tolist(), *wrong.tolist()]).without(9.0, is_in=False)[2]
    assert beside < 3 * alone
