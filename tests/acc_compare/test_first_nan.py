"""The first call that wrote NaN or Inf from finite numbers: what fires, and what stays silent."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from acc_compare.first_nan import NanReport, first_nan
from acc_compare.report.first_nan import nan_json, nan_text
from dump.format import encode
from dump.format.errors import IncomparableError

Value = tuple[int, float]
"""The identity of a value, and its largest element."""


def tensor(value: Value, dtype: str = "torch.float32") -> dict[str, Any]:
    identity, largest = value
    bad = {"nan": 1} if math.isnan(largest) else {"inf": 2} if math.isinf(largest) else {}
    shown = encode.NULL if math.isnan(largest) else encode.plain(largest)
    return {
        "type": "torch.Tensor", "dtype": dtype, "shape": [4], "Max": shown, "Min": shown if bad else -1.0,
        "Mean": 0.5, "Norm": 1.0, "value": identity, **bad,
    }  # fmt: skip


def call(name: str, reads: Iterable[Any], writes: Iterable[Value], dtype: str = "torch.float32") -> tuple[str, Any]:
    args = [
        tensor(value, dtype) if isinstance(value, tuple) else {"type": "float", "value": encode.plain(value)}
        for value in reads
    ]
    wrote = [tensor(value, dtype) for value in writes]
    if name.endswith("backward"):
        return name, {"input": args, "output": wrote}
    return name, {"input_args": args, "input_kwargs": {}, "output": wrote}


def looked_through(
    folder: Path, ranks: Mapping[tuple[int, int], Iterable[tuple[str, Any]]], **header: Any
) -> NanReport:
    for (step, rank), calls in ranks.items():
        place = folder / f"step{step}" / f"rank{rank}"
        place.mkdir(parents=True)
        lines = [encode.opening({"task": "statistics", "level": "L1", "format_version": 1, **header})]
        lines += [encode.record(name, body, first=not number) for number, (name, body) in enumerate(calls)]
        (place / "dump.json").write_bytes(b"".join([*lines, encode.closing({"complete": True})]))
    return first_nan(folder)


def names(report: NanReport) -> list[str]:
    return [origin.call for origin in report.origins]


LOG, EXP, ADD = "Torch.log.0.forward", "Torch.exp.0.forward", "Torch.add.0.forward"
SOFTMAX, MASK = "Torch.softmax.0.forward", "Tensor.masked_fill.0.forward"
CASES: list[tuple[list[tuple[str, Any]], list[str]]] = [
    ([call(LOG, [(1, 2.0)], [(2, 0.7)])], []),
    ([call(LOG, [(1, 2.0)], [(2, math.nan)]), call(ADD, [(2, math.nan)], [(3, math.nan)])], [LOG]),
    ([call(EXP, [(1, 90.0)], [(2, math.inf)]), call(ADD, [(2, math.inf)], [(3, math.nan)])], [EXP]),
    # a mask of -inf was asked for, and so was what is made from it alone; the NaN of a row that is all mask was not
    ([call(MASK, [(1, 2.0), -math.inf], [(2, math.inf)]), call(SOFTMAX, [(2, math.inf)], [(3, 1.0)])], []),
    ([call(MASK, [(1, 2.0), -math.inf], [(2, math.inf)]), call(ADD, [(2, math.inf)], [(3, math.inf)])], []),
    ([call(MASK, [(1, 2.0), -math.inf], [(2, math.inf)]), call(SOFTMAX, [(2, math.inf)], [(3, math.nan)])], [SOFTMAX]),
    ([call("Torch.empty.0.forward", [], [(1, math.nan)])], []),
    ([call("Torch.log.0.backward", [(1, 2.0)], [(2, math.inf)])], ["Torch.log.0.backward"]),
    # what comes in from outside was not written by a call
    ([call(ADD, [(1, math.nan)], [(2, math.nan)])], []),
]


@pytest.mark.parametrize(("calls", "found"), CASES)
def test_the_first_call(tmp_path: Path, calls: list[tuple[str, Any]], found: list[str]) -> None:
    assert names(looked_through(tmp_path, {(0, 0): calls})) == found


def test_a_collective_is_no_origin_where_another_rank_read_nan(tmp_path: Path) -> None:
    reduce = "Distributed.all_reduce.0.forward"
    healthy = [call(ADD, [(1, 2.0)], [(2, 3.0)]), call(reduce, [(2, 3.0)], [(3, math.nan)])]
    origin = [call(ADD, [(1, 2.0)], [(2, math.nan)]), call(reduce, [(2, math.nan)], [(3, math.nan)])]
    report = looked_through(tmp_path / "a", {(0, 0): healthy, (0, 1): origin})
    assert [(each.call, each.rank) for each in report.origins] == [(ADD, 1)]
    report = looked_through(tmp_path / "b", {(0, 0): healthy, (0, 1): healthy})
    assert names(report) == [reduce, reduce]


def test_a_message_is_no_origin_where_its_sender_gave_nan(tmp_path: Path) -> None:
    def exchange(kind: str, order: int, reads: list[Any], writes: list[Value]) -> tuple[str, Any]:
        name, body = call(f"Distributed.{kind}.0.forward", reads, writes)
        collective = {"kind": kind, "group": "0 tag 0", "ranks": [0, 1], "order": order}
        return name, {**body, "collectives": [collective]}

    sends = [call(LOG, [(1, 2.0)], [(2, math.nan)]), exchange("send", 3, [(2, math.nan)], [])]
    receives = [exchange("recv", 3, [], [(1, math.nan)]), call(ADD, [(1, math.nan)], [(2, math.nan)])]
    report = looked_through(tmp_path / "a", {(0, 0): sends, (0, 1): receives})
    assert [(each.call, each.rank, each.kind) for each in report.origins] == [(LOG, 0, "nan")]
    other = [exchange("recv", 2, [], [(1, math.nan)])]
    report = looked_through(tmp_path / "b", {(0, 0): sends, (0, 1): other})
    assert names(report) == [LOG, "Distributed.recv.0.forward"]


def test_the_way_there_and_the_steps_before(tmp_path: Path) -> None:
    def step(scale: float) -> list[tuple[str, Any]]:
        last = scale * 100 if scale < 500 else math.inf
        return [
            call("Torch.mul.0.forward", [(1, 2.0), (9, 1.0)], [(2, 7.0)], "torch.float16"),
            call("Torch.mul.1.forward", [(2, 7.0)], [(3, scale)], "torch.float16"),
            call("Torch.mul.2.forward", [(3, scale), (9, 1.0)], [(4, last)], "torch.float16"),
            call("Torch.isfinite.0.forward", [(4, last)], [(5, 1.0)]),
        ]

    report = looked_through(
        tmp_path, {(0, 0): step(10.0), (1, 0): step(300.0), (2, 0): step(1000.0), (3, 0): step(1.0)}
    )
    (found,) = report.origins
    assert (found.call, found.step, found.nan, found.inf) == ("Torch.mul.2.forward", 2, 0, 2)
    assert [(each.call, each.largest) for each in found.way] == [
        ("Torch.mul.0.forward", 7.0),
        ("Torch.mul.1.forward", 1000.0),
    ]
    assert [each.largest for each in found.steps] == [1000.0, 30_000.0]
    assert found.steps[1].bits == pytest.approx(math.log2(65504 / 30_000))
    assert [each.largest for each in found.reads] == [1000.0, 1.0]
    assert report.vanished == ("Torch.isfinite.0.forward",)
    for lang in ("en", "zh"):
        page = nan_text(report, lang=lang)  # type: ignore[arg-type]
        assert page.count("Torch.mul.2.forward") == 1
        assert "3e4" in page
    document = json.loads(nan_json(report), parse_constant=pytest.fail)
    assert document["origins"][0]["call"] == "Torch.mul.2.forward"


def test_digests_hold_no_numbers(tmp_path: Path) -> None:
    with pytest.raises(IncomparableError, match="digests"):
        looked_through(tmp_path, {(0, 0): [call(LOG, [(1, 2.0)], [(2, 0.7)])]}, summary_mode="md5")


def test_a_real_sample() -> None:
    samples = Path(__file__).parents[2] / "sample_dumps"
    (found,) = first_nan(samples / "nan_in_layer_norm").origins
    assert found.call.startswith("Functional.layer_norm.")
    assert found.nan
    assert found.way
    report = first_nan(samples / "bench_statistics")
    assert report.origins == ()
    assert nan_text(report).startswith("FINITE")
