"""Each rule of results.md, from both sides of its threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from acc_compare.judge.classic import CallCells, Classic, judge_rows
from acc_compare.messages import say
from acc_compare.model import PairedArgument
from acc_compare.report.i18n import text
from dump.format.schema import Leaf, ScalarRecord, TensorRecord

Cells = Mapping[str, Any]


def tensor(**fields: Any) -> TensorRecord:
    values = {"max": 1.0, "min": -1.0, "requires_grad": True, "shape": (4,), "dtype": "torch.float32"}
    return TensorRecord(**{**values, **fields})


def judge(
    mode: str,
    inputs: Cells,
    output: Cells,
    *,
    npu: Leaf = None,
    bench: Leaf = None,
    operator: str = "gelu",
    name: str = "output.0",
) -> Classic:
    """The judgement of the one output of a call with one input."""
    ours, theirs = npu or tensor(), bench or tensor()
    arguments = [
        PairedArgument("input.0", tensor(), tensor(), "input.0"),
        PairedArgument(name, ours, theirs, name),
    ]
    return judge_rows(CallCells(operator, mode, arguments, [inputs, output]))[1]


def real(cosine: float = 1.0, absolute: float = 0.0, ratio: float = 1.0) -> Cells:
    return {"Cosine": cosine, "MaxAbsErr": absolute, "One Thousandth Err Ratio": ratio}


@pytest.mark.parametrize(
    ("cells", "reached"),
    [
        (real(), "Yes"),
        (real(cosine=0.98, absolute=0.002), "No"),
        (real(cosine=0.98, absolute=0.001), "Yes"),
        (real(cosine=0.99, absolute=0.5), "Yes"),
        (real(cosine=0.89, absolute=0.0), "No"),
        (real(cosine=0.9, absolute=0.0), "Yes"),
        (real(absolute=1.01), "No"),
        (real(absolute=1.0), "Yes"),
        ({}, "N/A"),
        ({"Cosine": None, "MaxAbsErr": None}, "N/A"),
    ],
)
def test_accuracy_reached(cells: Cells, reached: str) -> None:
    assert judge("tensor", real(), cells).reached == reached


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_accuracy_is_not_reached_with_nan_or_inf_where_the_bench_has_none(bad: float) -> None:
    for cells in (real(), {}):
        assert judge("tensor", real(), cells, npu=tensor(max=bad)).reached == "No"
    assert judge("tensor", real(), real(), npu=tensor(max=bad), bench=tensor(max=bad)).reached == "Yes"
    assert judge("tensor", real(), real(), bench=tensor(max=bad)).reached == "Yes"


def test_accuracy_of_other_shapes_is_unmatched_and_of_scalars_nothing() -> None:
    assert judge("tensor", real(), {}, npu=tensor(shape=(5,))).reached == "Unmatched"
    one = ScalarRecord("int", 1)
    assert judge("tensor", real(), {}, npu=one, bench=one).reached == "N/A"


@pytest.mark.parametrize("mode", ["statistics", "md5"])
def test_only_real_data_has_an_accuracy(mode: str) -> None:
    assert judge(mode, {}, {}).reached is None


@pytest.mark.parametrize("field", ["max", "min"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["statistics", "tensor", "md5"])
def test_an_extreme_that_is_not_finite_on_the_npu_side_only(mode: str, field: str, bad: float) -> None:
    found = judge(mode, {}, {}, npu=tensor(**{field: bad}))
    assert found.result == "error"
    assert found.messages[0].key == "row.nonfinite"
    assert judge(mode, {}, {}, npu=tensor(**{field: bad}), bench=tensor(**{field: bad})).result == "pass"
    assert judge(mode, {}, {}, bench=tensor(**{field: bad})).result == "pass"


@pytest.mark.parametrize(
    ("npu", "bench", "message"),
    [
        (tensor(dtype="torch.float16"), tensor(), "dtype differs: torch.float16 against torch.float32"),
        (tensor(shape=(2, 2)), tensor(), "shape differs: [2, 2] against [4]"),
        (tensor(requires_grad=False), tensor(), "requires_grad differs"),
        (ScalarRecord("int", 1), ScalarRecord("int", 2), "argument differs: 1 against 2"),
        (ScalarRecord("int", 1), ScalarRecord("float", 1.0), "argument differs: 1 against 1.0"),
        (tensor(), ScalarRecord("int", 2), "one side has a tensor here, the other has none"),
    ],
)
def test_attributes_that_differ(npu: Leaf, bench: Leaf, message: str) -> None:
    found = judge("statistics", {}, {}, npu=npu, bench=bench)
    assert (found.result, tuple(map(text, found.messages))) == ("error", (message,))


@pytest.mark.parametrize(
    ("npu", "bench"),
    [
        (tensor(), tensor()),
        (tensor(requires_grad=None), tensor()),  # not recorded on one side
        (ScalarRecord("int", 1), ScalarRecord("int", 1)),
        (ScalarRecord("str", "=1+1"), ScalarRecord("str", "=1+1")),
        (ScalarRecord("device", "npu:0"), ScalarRecord("device", "cuda:0")),  # meant to differ
    ],
)
def test_attributes_that_agree(npu: Leaf, bench: Leaf) -> None:
    assert judge("statistics", {}, {}, npu=npu, bench=bench) == Classic("pass", None, ())


@pytest.mark.parametrize(("theirs", "result"), [("a", "pass"), ("b", "error")])
def test_digests(theirs: str, result: str) -> None:
    found = judge("md5", {}, {}, npu=tensor(md5="a"), bench=tensor(md5=theirs))
    assert found.result == result
    assert found.messages == ((say("row.md5"),) if result == "error" else ())


@pytest.mark.parametrize(
    ("before", "after", "result"),
    [(0.91, 0.59, "error"), (0.9, 0.59, "pass"), (0.91, 0.6, "pass"), (1.0, 1.0, "pass")],
)
def test_one_thousandth_ratio(before: float, after: float, result: str) -> None:
    assert judge("tensor", real(ratio=before), real(ratio=after)).result == result


@pytest.mark.parametrize(
    ("before", "after", "result"),
    [(0.95, 0.84, "warning"), (0.95, 0.86, "pass"), (0.9, 0.5, "pass"), (1.0, 0.95, "pass")],
)
def test_cosine_that_falls(before: float, after: float, result: str) -> None:
    assert judge("tensor", real(cosine=before), real(cosine=after)).result == result


@pytest.mark.parametrize(
    ("before", "after", "result"),
    [
        (9.9, 51.0, "error"),
        (10.0, 51.0, "pass"),
        (9.9, 50.0, "pass"),
        (0.0, 51.0, "error"),
        (0.0, math.inf, "error"),
        (1.0, 10.1, "warning"),
        (1.0, 10.0, "pass"),
        (0.0, 10.0, "pass"),  # nothing to compare it with
        (0.0, math.nan, "pass"),
    ],
)
def test_norm_error_in_percent(before: float, after: float, result: str) -> None:
    assert judge("statistics", {"NormRelativeErr": before}, {"NormRelativeErr": after}).result == result


def test_without_inputs_no_rule_compares() -> None:
    assert judge("statistics", {}, {"NormRelativeErr": 90.0}).result == "pass"
    assert judge("tensor", {}, real(ratio=0.1, cosine=0.5)).result == "pass"


def test_the_worst_of_several_inputs_counts() -> None:
    def row(*percents: float) -> str:
        names = [f"input.{place}" for place in range(len(percents))]
        arguments = [PairedArgument(name, tensor(), tensor(), name) for name in (*names, "output.0")]
        cells = [{"NormRelativeErr": percent} for percent in (*percents, 60.0)]
        return judge_rows(CallCells("gelu", "statistics", arguments, cells))[-1].result

    assert row(0.0, 0.0) == "error"
    assert row(0.0, 20.0) == "pass"


def test_inputs_are_not_held_against_inputs() -> None:
    assert judge("statistics", {"NormRelativeErr": 0.0}, {"NormRelativeErr": 90.0}, name="input.1").result == "pass"


def test_an_error_outranks_a_warning_and_both_are_told() -> None:
    found = judge("statistics", {"NormRelativeErr": 1.0}, {"NormRelativeErr": 20.0}, npu=tensor(dtype="torch.float16"))
    assert found.result == "error"
    assert [message.key for message in found.messages] == ["row.dtype", "row.norm_times"]


@pytest.mark.parametrize("operator", ["empty", "empty_like", "new_empty", "to", "numpy", "__setitem__", "setitem"])
@pytest.mark.parametrize("mode", ["statistics", "tensor"])
def test_calls_that_only_move_memory_are_not_judged(operator: str, mode: str) -> None:
    cells = {"NormRelativeErr": 90.0} if mode == "statistics" else real(ratio=0.0, cosine=0.0, absolute=9.0)
    clean = {"NormRelativeErr": 0.0} if mode == "statistics" else real()
    found = judge(mode, clean, cells, operator=operator, npu=tensor(max=math.nan))
    assert found == Classic("pass", "N/A" if mode == "tensor" else None, ())
    assert judge(mode, clean, cells, operator="clone").result == "error"


@pytest.mark.parametrize(
    ("mode", "name", "bench_name", "expected"),
    [
        ("statistics", "output.0", "", Classic("unmatched", None, (say("row.no_argument", side=say("name.bench")),))),
        ("statistics", "", "output.0", Classic("unmatched", None, (say("row.no_argument", side=say("name.npu")),))),
        (
            "tensor",
            "output.0",
            "",
            Classic("unmatched", "Unmatched", (say("row.no_argument", side=say("name.bench")),)),
        ),
        ("md5", "output.0", "", Classic("unmatched", None, (say("row.no_argument", side=say("name.bench")),))),
        (
            "md5",
            "parameters.weight",
            "",
            Classic("warning", None, (say("row.no_match"),)),
        ),
        (
            "statistics",
            "parameters.weight",
            "",
            Classic("unmatched", None, (say("row.no_argument", side=say("name.bench")),)),
        ),
    ],
)
def test_arguments_without_a_partner(mode: str, name: str, bench_name: str, expected: Classic) -> None:
    pair = PairedArgument(name, tensor() if name else None, tensor() if bench_name else None, bench_name)
    assert judge_rows(CallCells("gelu", mode, [pair], [{}])) == [expected]
