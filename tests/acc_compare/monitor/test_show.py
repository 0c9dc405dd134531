"""The last step as a table, and following a run that writes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from acc_compare.monitor.show import follow_run, latest, render
from acc_compare.monitor.tables import label
from dump.format.errors import ConfigError


def test_worst_first(write_run: Callable[..., Path], drawn: Callable[..., np.ndarray]) -> None:
    norms = drawn(noise=0.0)
    norms[6, -1] = np.nan
    norms[3, -1] *= 1000
    last = latest(write_run("run", norms), top=3)
    assert [row.name for row in last.rows[:2]] == ["layers.6.weight", "layers.3.weight"]
    assert (last.step, last.series, last.bad, len(last.rows)) == (59, 8, 1, 3)
    lines = render(last).splitlines()
    assert lines[0] == "step 59, grad_reduced: 3 of 8 series, 1 with NaN or Inf"
    assert "NaN or Inf" in lines[2]
    assert lines[3].rstrip().endswith("times")


def test_the_step_that_all_ranks_have(write_run: Callable[..., Path], drawn: Callable[..., np.ndarray]) -> None:
    norms = drawn(noise=0.0)
    write_run("run", norms, rank=0)
    last = latest(write_run("run", norms[:, :41], rank=1))
    assert (last.step, last.ranks, last.series) == (40, 2, 16)


def test_a_series_is_named_with_its_model_where_that_is_not_the_first() -> None:
    assert label((0, "bias", 0)) == "bias"
    assert label((1, "bias", 0)) == "bias (model 2)"
    assert label((2, "bias", 3)) == "bias (model 3, micro step 3)"


def test_what_is_not_there(write_run: Callable[..., Path], drawn: Callable[..., np.ndarray]) -> None:
    run = write_run("run", drawn(noise=0.0))
    with pytest.raises(ConfigError, match=r"--rank: .* has no rank 3; it has 0"):
        latest(run, rank=3)
    with pytest.raises(ConfigError, match=r"--kind: .* has no 'actv'; it has grad_reduced"):
        latest(run, kind="actv")


def test_following_waits_prints_each_step_once_and_ends_at_an_interrupt(
    write_run: Callable[..., Path],
    drawn: Callable[..., np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    norms = drawn(noise=0.0)
    root = tmp_path / "run"
    root.mkdir()
    ends = iter([0, 10, 10, 15])

    def sleep(_: float) -> None:
        end = next(ends, None)
        if end is None:
            raise KeyboardInterrupt
        if end:
            write_run("run", norms[:, :end])

    follow_run(root, kind="", rank=None, top=5, interval=0.0, sleep=sleep)
    printed = [line.partition(",")[0] for line in capsys.readouterr().out.splitlines() if line[:4] in ("step", "wait")]
    assert printed == [
        f"waiting: {root}: expected csv files such as Nov22_13-26-22-rank0/grad_reduced_0-0.csv",
        *("step 9", "step 14"),
    ]
