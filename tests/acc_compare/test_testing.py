"""`assert_same`: what passes, what fails, and what the message says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import acc_compare
from acc_compare import Comparison, assert_same
from dump.format.errors import ConfigError, DumpNotFound


def recorded(
    make: Any, folder: Path, *, off: float = 0.0, seed: int = 3, mode: str = "tensor", whole: bool = True
) -> Path:
    """linear, dropout, gelu; gelu is off by `off`, dropout drawn with `seed`."""
    run = make.Run(mode=mode)
    x, w = make.normal(4, 8), run.parameter(make.normal(8, 8, seed=1))
    h = x @ w
    d = h * (np.random.default_rng(seed).random(h.shape) < 0.5).astype(np.float32)
    a = np.tanh(d)
    a[2, 5] += off
    run.call("Functional.linear.0.forward", [x, w], [h])
    run.call("Functional.dropout.0.forward", [h], [d])
    run.call("Functional.gelu.0.forward", [d], [a], owner="Module.act.GELU.forward.0")
    place = folder / "step0" / "rank0"
    run.write(place, closed=whole)
    return folder


def test_equal_runs_pass_and_the_comparison_comes_back(make: Any, tmp_path: Path) -> None:
    found = assert_same(recorded(make, tmp_path / "a"), recorded(make, tmp_path / "b"))
    assert isinstance(found, Comparison)
    assert found.verdict == "same"


def test_the_message_reads_like_that_of_assert_close(make: Any, tmp_path: Path) -> None:
    npu, bench = recorded(make, tmp_path / "npu", off=0.5), recorded(make, tmp_path / "bench")
    with pytest.raises(AssertionError) as caught:
        assert_same(npu, bench, msg="the port drifted")
    first, empty, *lines = str(caught.value).splitlines()
    assert (first, empty) == ("the port drifted", "")
    assert lines[:3] == ["The two runs are not the same!", "", "Suspect calls: 1 / 3 (33.3%)"]
    assert lines[3].startswith("Relative L2 difference: ")
    assert lines[3].endswith(" expected)")
    assert "of Functional.gelu.0.forward.output.0 (up to " in lines[3]
    assert lines[4] == "Greatest absolute difference: 0.5 at index (2, 5)"
    assert lines[5].startswith("Greatest relative difference: ")
    assert lines[6:8] == ["First suspect: Functional.gelu.0.forward (operator)", "  step 0, rank 0, module act"]
    assert lines[-2:] == [f"NPU: {npu / 'step0' / 'rank0'}", f"Bench: {bench / 'step0' / 'rank0'}"]


def test_what_one_side_alone_made_is_measured_where_it_is_read(make: Any, tmp_path: Path) -> None:
    for side, factor in (("npu", 1.01), ("bench", 1.0)):
        run = make.Run()
        x, w = make.normal(4, 8), run.parameter(make.normal(8, 8, seed=1))
        scaled = x * np.float32(factor) if side == "npu" else x
        if side == "npu":
            run.call("Tensor.__mul__.0.forward", [x, factor], [scaled])
        run.call("Functional.linear.0.forward", [scaled, w], [scaled @ w])
        run.write(tmp_path / side / "step0" / "rank0")
    with pytest.raises(AssertionError, match=r"First suspect: Tensor\.__mul__\.0\.forward") as caught:
        assert_same(tmp_path / "npu", tmp_path / "bench")
    assert "of Functional.linear.0.forward.input.0 (up to " in str(caught.value)


@pytest.mark.parametrize("mode", ["statistics", "md5"])
def test_without_elements_it_says_what_is_known(make: Any, tmp_path: Path, mode: str) -> None:
    sides = recorded(make, tmp_path / "npu", off=0.5, mode=mode), recorded(make, tmp_path / "bench", mode=mode)
    with pytest.raises(AssertionError, match=r"First suspect: Functional\.gelu\.0\.forward") as caught:
        assert_same(*sides)
    assert "Greatest" not in str(caught.value)
    assert ("Relative L2 difference" in str(caught.value)) is (mode == "statistics")


def test_kinds_can_be_allowed(make: Any, tmp_path: Path) -> None:
    sides = recorded(make, tmp_path / "npu", seed=4), recorded(make, tmp_path / "bench")
    with pytest.raises(AssertionError, match=r"dropout\.0\.forward \(random\)"):
        assert_same(*sides)
    with pytest.raises(AssertionError, match=r"\(random\)"):
        assert_same(*sides, allow=["operator"])
    assert assert_same(*sides, allow=["random"]).verdict == "different"
    with pytest.raises(ValueError, match="unknown kind 'chance' in allow; known kinds: operator, "):
        assert_same(*sides, allow=["chance"])  # type: ignore[list-item]


def test_a_dump_that_was_cut_short_is_not_the_same(make: Any, tmp_path: Path) -> None:
    sides = recorded(make, tmp_path / "npu", whole=False), recorded(make, tmp_path / "bench")
    with pytest.raises(AssertionError, match="cannot be said to be the same"):
        assert_same(*sides)


def test_bad_input_is_no_assertion(make: Any, tmp_path: Path) -> None:
    there = recorded(make, tmp_path / "npu")
    with pytest.raises(DumpNotFound):
        assert_same(there, tmp_path / "none")
    with pytest.raises(ConfigError):
        assert_same(there, there, mapping=tmp_path / "none.yaml")


def test_it_is_handed_out_lazily() -> None:
    assert set(acc_compare.__all__) == {"Comparison", "assert_same", "compare"}
    with pytest.raises(AttributeError, match="assert_the_same"):
        _ = acc_compare.assert_the_same  # type: ignore[attr-defined]
