"""A run in short."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from acc_compare import compare
from acc_compare.measured.profile import profile_of
from acc_compare.model import Row
from dump.format.schema import TensorRecord

SAMPLES = Path(__file__).resolve().parents[3] / "sample_dumps"


def row(name: str, error: float | None = None, **fields: object) -> Row:
    record = TensorRecord("torch.float32", (4,))
    metrics = {} if error is None else {"RelL2": error}
    return Row(npu_name=name, bench_name=name, npu=record, bench=record, metrics=metrics, result="pass", **fields)  # type: ignore[arg-type]


def test_a_call_is_told_by_the_worst_of_what_it_wrote() -> None:
    rows = [
        row("Functional.mul.0.forward.input.0", 0.9, excess=9.0),
        row("Functional.mul.0.forward.output.0", 0.1, excess=1.0, module="a"),
        row("Functional.mul.0.forward.output.1", 0.2, excess=2.0, expected=0.1, module="a"),
        row("Functional.add.0.forward.output.0", 0.3),
    ]
    found = profile_of(rows, 10)
    assert found.calls == ("Functional.mul.0.forward", "Functional.add.0.forward")
    assert (found.errors, found.excess, found.expected) == ((0.2, 0.3), (2.0, None), (0.1, None))
    assert found.modules == ("a", "")


def test_what_has_no_output_is_told_by_its_input() -> None:
    assert profile_of([row("Functional.mul.0.forward.input.0", 0.9)], 10).errors == (0.9,)


def test_a_long_run_keeps_the_worst_of_each_stretch() -> None:
    rows = [row(f"Functional.mul.{n}.forward.output.0", 0.01, excess=50.0 if n == 777 else 1.0) for n in range(1000)]
    found = profile_of(rows, 100)
    assert len(found.calls) == 100
    assert "Functional.mul.777.forward" in found.calls


def test_calls_that_are_always_there_take_half_at_most() -> None:
    rows = [row(f"Functional.mul.{n}.forward.output.0", 0.01, excess=float(n)) for n in range(100)]
    names = [f"Functional.mul.{n}.forward" for n in range(100)]
    found = profile_of(rows, 10, [names[3], names[40]])
    assert {names[3], names[40], names[99]} <= set(found.calls)
    assert len(found.calls) <= 10
    assert list(found.calls) == sorted(found.calls, key=names.index)
    crowded = profile_of(rows, 10, names[:50])
    assert len(crowded.calls) == 10
    assert set(names[45:50]) < set(crowded.calls)
    assert names[99] in crowded.calls


@pytest.mark.parametrize(("theirs", "error"), [("abc", 0.0), ("abd", math.inf)])
def test_digests_are_equal_or_not(theirs: str, error: float) -> None:
    name = "Functional.mul.0.forward.output.0"
    sides = [TensorRecord("torch.float32", (4,), md5=digest) for digest in ("abc", theirs)]
    digests = Row(npu_name=name, bench_name=name, npu=sides[0], bench=sides[1], metrics={}, result="pass")
    assert profile_of([digests], 10).errors == (error,)


def test_the_profile_of_a_real_comparison_has_all_its_calls() -> None:
    finding = compare(SAMPLES / "gelu_in_bfloat16", SAMPLES / "bench_statistics").overall
    found = profile_of(finding.rows, 10_000)
    assert len(found.calls) == 114
    worst = max(range(114), key=lambda at: found.excess[at] or 0)
    assert found.calls[worst] == finding.suspects[0].name
    assert found.excess[worst] == finding.worst_excess
