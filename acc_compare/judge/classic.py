"""The constant rules that users know from msprobe, kept so that their thresholds still apply (results.md).

They compare a row with constants, miss small faults and blame innocent calls; verdict and exit code come from the
localisation.  Each rule gives a result and a message for `Err_Message`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from acc_compare.measured.calls import is_output
from acc_compare.messages import Message, say
from acc_compare.model import PairedArgument, Reached, Result
from acc_compare.operators import moves_memory_only
from dump.format.schema import Leaf, ScalarRecord, TensorRecord

Cells = Mapping[str, "float | int | str | None"]

_LONGEST = 140
_RANK: Mapping[Result, int] = {"unmatched": 0, "pass": 0, "warning": 1, "error": 2}


@dataclass(frozen=True, slots=True)
class Classic:
    """One row's classic judgement; the most serious message first."""

    result: Result
    reached: Reached | None
    messages: tuple[Message, ...]


_PASSED = Classic("pass", None, ())


class CallCells(msgspec.Struct, frozen=True):
    """The rows of one pair of calls: arguments with their metrics, inputs first."""

    operator: str
    mode: str
    arguments: Sequence[PairedArgument]
    cells: Sequence[Cells]


class _Inputs(msgspec.Struct, frozen=True):
    """What the rules ask of a call's inputs: the worst of each column, None where no input has it."""

    thousandth: float | None
    cosine: float | None
    norm_percent: float | None


def judge_rows(call: CallCells) -> list[Classic]:
    """The classic judgement of every row of one pair of calls."""
    exempt = moves_memory_only(call.operator)
    inputs = _inputs(call)
    return [
        _exempt(call.mode) if exempt and _matched(argument) else _judge(call.mode, inputs, argument, cells)
        for argument, cells in zip(call.arguments, call.cells, strict=True)
    ]


def _exempt(mode: str) -> Classic:
    return Classic("pass", "N/A" if mode == "tensor" else None, ())


def _matched(argument: PairedArgument) -> bool:
    return bool(argument.name) and bool(argument.bench_name)


def _inputs(call: CallCells) -> _Inputs:
    read = [
        cells
        for argument, cells in zip(call.arguments, call.cells, strict=True)
        if cells and not is_output(argument.name or argument.bench_name)
    ]
    if call.mode == "tensor":
        thousandth = _worst(read, "One Thousandth Err Ratio", largest=False)
        return _Inputs(thousandth, _worst(read, "Cosine", largest=False), None)
    return _Inputs(None, None, _worst(read, "NormRelativeErr", largest=True))


def _judge(mode: str, inputs: _Inputs, argument: PairedArgument, cells: Cells) -> Classic:
    if not _matched(argument):
        if mode == "md5" and argument.name.startswith("parameters"):
            return Classic("warning", None, (say("row.no_match"),))
        side = say("name.bench" if argument.name else "name.npu")
        reached: Reached | None = "Unmatched" if mode == "tensor" else None
        return Classic("unmatched", reached, (say("row.no_argument", side=side),))
    found = _attributes(argument.npu, argument.bench)
    found += _nonfinite(argument.npu, argument.bench)
    if mode == "md5":
        found += _digests(argument.npu, argument.bench)
    elif cells and is_output(argument.name):
        found += _real_data(inputs, cells) if mode == "tensor" else _statistics(inputs, cells)
    reached = _reached(argument, cells) if mode == "tensor" else None
    if not found:
        return _PASSED if reached is None else Classic("pass", reached, ())
    found.sort(key=lambda pair: -_RANK[pair[0]])
    return Classic(found[0][0], reached, tuple(message for _, message in found))


def _attributes(npu: Leaf, bench: Leaf) -> list[tuple[Result, Message]]:
    found: list[tuple[Result, Message]] = []
    if isinstance(npu, TensorRecord) and isinstance(bench, TensorRecord):
        if npu.dtype != bench.dtype:
            found.append(("error", say("row.dtype", npu=npu.dtype, bench=bench.dtype)))
        if npu.shape != bench.shape:
            found.append(("error", say("row.shape", npu=str(list(npu.shape)), bench=str(list(bench.shape)))))
        if npu.requires_grad != bench.requires_grad and None not in (npu.requires_grad, bench.requires_grad):
            found.append(("error", say("row.requires_grad")))
    elif isinstance(npu, ScalarRecord) and isinstance(bench, ScalarRecord):
        # Which device a call is told to work on is meant to differ.
        if "device" not in (npu.type, bench.type) and (npu.value != bench.value or npu.type != bench.type):
            found.append(("error", say("row.argument", npu=_brief(npu.value), bench=_brief(bench.value))))
    elif type(npu) is not type(bench):
        found.append(("error", say("row.no_tensor")))
    return found


def _brief(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


def _nonfinite(npu: Leaf, bench: Leaf) -> list[tuple[Result, Message]]:
    if not (isinstance(npu, TensorRecord) and isinstance(bench, TensorRecord)):
        return []
    for label, ours, theirs in (("row.maximum", npu.max, bench.max), ("row.minimum", npu.min, bench.min)):
        if ours is not None and not math.isfinite(ours) and theirs is not None and math.isfinite(theirs):
            return [("error", say("row.nonfinite", extreme=say(label), value=str(ours)))]
    return []


def _digests(npu: Leaf, bench: Leaf) -> list[tuple[Result, Message]]:
    if isinstance(npu, TensorRecord) and isinstance(bench, TensorRecord) and npu.md5 and npu.md5 != bench.md5:
        return [("error", say("row.md5"))]
    return []


def _worst(rows: Sequence[Cells], column: str, *, largest: bool) -> float | None:
    values = [value for cells in rows if isinstance(value := cells.get(column), (int, float)) and value == value]
    if not values:
        return None
    return float(max(values) if largest else min(values))


def _real_data(inputs: _Inputs, cells: Cells) -> list[tuple[Result, Message]]:
    found: list[tuple[Result, Message]] = []
    before, after = inputs.thousandth, cells.get("One Thousandth Err Ratio")
    if before is not None and isinstance(after, (int, float)) and before > 0.9 and after < 0.6:
        found.append(("error", say("row.thousandth", inputs=before, output=float(after))))
    before, after = inputs.cosine, cells.get("Cosine")
    if before is not None and isinstance(after, (int, float)) and before > 0.9 and before - after > 0.1:
        found.append(("warning", say("row.cosine", inputs=before, output=float(after))))
    return found


def _statistics(inputs: _Inputs, cells: Cells) -> list[tuple[Result, Message]]:
    percent, before = cells.get("NormRelativeErr"), inputs.norm_percent
    if not isinstance(percent, (int, float)) or before is None or percent != percent:
        return []
    ours, theirs = before / 100.0, percent / 100.0
    if ours < 0.1 and theirs > 0.5:
        return [("error", say("row.norm_rises", inputs=ours, output=theirs))]
    if theirs > 10.0 * ours and ours > 0:
        return [("warning", say("row.norm_times", times=theirs / ours))]
    return []


def _reached(argument: PairedArgument, cells: Cells) -> Reached:
    """Accuracy Reached or Not, of a matched pair of real data."""
    npu, bench = argument.npu, argument.bench
    if not (isinstance(npu, TensorRecord) and isinstance(bench, TensorRecord)):
        return "N/A"
    if npu.shape != bench.shape:
        return "Unmatched"
    nonfinite = bool(_nonfinite(npu, bench))
    cosine, absolute = cells.get("Cosine"), cells.get("MaxAbsErr")
    if not isinstance(cosine, (int, float)) or not isinstance(absolute, (int, float)):
        return "No" if nonfinite else "N/A"
    failed = (cosine < 0.99 and absolute > 0.001) or cosine < 0.9 or absolute > 1 or nonfinite
    return "No" if failed else "Yes"
