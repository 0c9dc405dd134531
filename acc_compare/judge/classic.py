"""The constant rules that users know from msprobe, kept so that their thresholds still apply (results.md).

They compare a row with constants, miss small faults and blame innocent calls; verdict and exit code come from the
localisation.  Each rule gives a result and a sentence for `Err_Message`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dump.format.schema import Leaf, ScalarRecord, TensorRecord

from ..model import PairedArgument, Reached, Result
from .arithmetic import moves_memory_only

Cells = Mapping[str, "float | int | str | None"]

_RANK: Mapping[Result, int] = {"unmatched": 0, "pass": 0, "warning": 1, "error": 2}


@dataclass(frozen=True, slots=True)
class Classic:
    """One row's classic judgement; messages are sentences, most serious first."""

    result: Result
    reached: Reached | None
    messages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallCells:
    """The rows of one pair of calls: arguments with their metrics, inputs first."""

    operator: str
    mode: str
    arguments: Sequence[PairedArgument]
    cells: Sequence[Cells]

    def inputs(self) -> list[Cells]:
        return [
            cells
            for argument, cells in zip(self.arguments, self.cells, strict=True)
            if not is_output(argument.name or argument.bench_name)
        ]


def is_output(name: str) -> bool:
    return name.startswith(("output", "written", "parameters_grad"))


def judge_rows(call: CallCells) -> list[Classic]:
    """The classic judgement of every row of one pair of calls."""
    exempt = moves_memory_only(call.operator)
    return [
        Classic("pass", _reached(call.mode, argument, cells), ())
        if exempt and _matched(argument)
        else _judge(call, argument, cells)
        for argument, cells in zip(call.arguments, call.cells, strict=True)
    ]


def _matched(argument: PairedArgument) -> bool:
    return bool(argument.name) and bool(argument.bench_name)


def _judge(call: CallCells, argument: PairedArgument, cells: Cells) -> Classic:
    if not _matched(argument):
        side = "bench" if argument.name else "NPU"
        if call.mode == "md5" and argument.name.startswith("parameters"):
            return Classic("warning", None, ("this parameter has no match on the bench side",))
        reached: Reached | None = "Unmatched" if call.mode == "tensor" else None
        return Classic("unmatched", reached, (f"the {side} side has no such argument",))
    found: list[tuple[Result, str]] = [*_attributes(argument.npu, argument.bench)]
    found += _nonfinite(argument.npu, argument.bench)
    if call.mode == "md5":
        found += _digests(argument.npu, argument.bench)
    elif is_output(argument.name):
        found += _real_data(call, cells) if call.mode == "tensor" else _statistics(call, cells)
    found.sort(key=lambda pair: -_RANK[pair[0]])
    result: Result = found[0][0] if found else "pass"
    return Classic(result, _reached(call.mode, argument, cells), tuple(message for _, message in found))


def _attributes(npu: Leaf, bench: Leaf) -> list[tuple[Result, str]]:
    found: list[tuple[Result, str]] = []
    if isinstance(npu, TensorRecord) and isinstance(bench, TensorRecord):
        if npu.dtype != bench.dtype:
            found.append(("error", f"dtype differs: {npu.dtype} against {bench.dtype}"))
        if npu.shape != bench.shape:
            found.append(("error", f"shape differs: {list(npu.shape)} against {list(bench.shape)}"))
        if npu.requires_grad != bench.requires_grad and None not in (npu.requires_grad, bench.requires_grad):
            found.append(("error", "requires_grad differs"))
    elif isinstance(npu, ScalarRecord) and isinstance(bench, ScalarRecord):
        if npu.value != bench.value or npu.type != bench.type:
            found.append(("error", f"argument differs: {npu.value!r} against {bench.value!r}"[:300]))
    elif type(npu) is not type(bench):
        found.append(("error", "one side has a tensor here, the other has none"))
    return found


def _nonfinite(npu: Leaf, bench: Leaf) -> list[tuple[Result, str]]:
    if not (isinstance(npu, TensorRecord) and isinstance(bench, TensorRecord)):
        return []
    for label, ours, theirs in (("maximum", npu.max, bench.max), ("minimum", npu.min, bench.min)):
        if ours is not None and not math.isfinite(ours) and theirs is not None and math.isfinite(theirs):
            return [("error", f"the {label} is {ours} on the NPU side only")]
    return []


def _digests(npu: Leaf, bench: Leaf) -> list[tuple[Result, str]]:
    if isinstance(npu, TensorRecord) and isinstance(bench, TensorRecord) and npu.md5 and npu.md5 != bench.md5:
        return [("error", "MD5 differs")]
    return []


def _worst(rows: Sequence[Cells], column: str, *, largest: bool) -> float | None:
    values = [value for cells in rows if isinstance(value := cells.get(column), (int, float)) and value == value]
    if not values:
        return None
    return float(max(values) if largest else min(values))


def _real_data(call: CallCells, cells: Cells) -> list[tuple[Result, str]]:
    found: list[tuple[Result, str]] = []
    inputs = call.inputs()
    before, after = (
        _worst(inputs, "One Thousandth Err Ratio", largest=False),
        cells.get("One Thousandth Err Ratio"),
    )
    if before is not None and isinstance(after, (int, float)) and before > 0.9 and after < 0.6:
        found.append(("error", f"inputs have a one thousandth ratio of {before:.3f}, this output of {after:.3f}"))
    cosine_before, cosine = _worst(inputs, "Cosine", largest=False), cells.get("Cosine")
    if (
        cosine_before is not None
        and isinstance(cosine, (int, float))
        and cosine_before > 0.9
        and cosine_before - cosine > 0.1
    ):
        found.append(("warning", f"cosine falls from {cosine_before:.3f} to {cosine:.3f}"))
    return found


def _statistics(call: CallCells, cells: Cells) -> list[tuple[Result, str]]:
    percent = cells.get("NormRelativeErr")
    before = _worst(call.inputs(), "NormRelativeErr", largest=True)
    if not isinstance(percent, (int, float)) or before is None or percent != percent:
        return []
    ours, theirs = before / 100.0, percent / 100.0
    if ours < 0.1 and theirs > 0.5:
        return [("error", f"the norm's relative error rises from {ours:.2e} to {theirs:.2e}")]
    if theirs > 10.0 * ours and ours > 0:
        return [("warning", f"the norm's relative error is {theirs / ours:.0f} times that of the inputs")]
    return []


def _reached(mode: str, argument: PairedArgument, cells: Cells) -> Reached | None:
    """Accuracy Reached or Not: real data alone has it."""
    if mode != "tensor":
        return None
    npu, bench = argument.npu, argument.bench
    if not (isinstance(npu, TensorRecord) and isinstance(bench, TensorRecord)):
        return "N/A" if _matched(argument) else "Unmatched"
    if npu.shape != bench.shape:
        return "Unmatched"
    cosine, absolute = cells.get("Cosine"), cells.get("MaxAbsErr")
    if not isinstance(cosine, (int, float)) or not isinstance(absolute, (int, float)):
        return "No" if _nonfinite(npu, bench) else "N/A"
    failed = (cosine < 0.99 and absolute > 0.001) or cosine < 0.9 or absolute > 1 or bool(_nonfinite(npu, bench))
    return "No" if failed else "Yes"
