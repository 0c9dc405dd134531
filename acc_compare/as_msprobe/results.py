"""What msprobe's versions put into the columns that judge: `Result`, `Err_message`, `Accuracy Reached or Not`.

Either version judges by the cells of its own table, with thresholds and words of its own.  Scripts search the words, so
that they belong to the layout as the names of the columns do.  26.2.0 judges call by call, 8.3.3 row by row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from acc_compare.model import Row
from acc_compare.report.columns import ABSENT, Cell
from dump.format.schema import TensorRecord

Level: TypeAlias = Literal["pass", "warning", "error"]
NAN = "Nan"
"""A statistic, or a difference, that is none."""

UNSUPPORTED, SHAPES_DIFFER = "unsupported", "shape unmatched"
"""In place of a distance that is not computed."""

_SEVERITY: dict[Level, int] = {"pass": 0, "warning": 1, "error": 2}
_UNJUDGED = frozenset(
    "empty empty_like empty_strided empty_with_format new_empty new_empty_strided numpy to __setitem__".split()
)
"""Operators whose values mean nothing: 26.2.0 judges none of their rows."""

_OUTPUTS_ALONE = frozenset(("_reduce_scatter_base", "_all_gather_base", "all_to_all_single", "batch_isend_irecv"))
_FUSED = ("qkv", "gate_up")


@dataclass(slots=True)
class TableRow:
    """One row: the cells by the names of their columns, and what has been found of it."""

    row: Row
    cells: dict[str, Cell]
    found: list[tuple[Level, str]] = field(default_factory=list)

    @property
    def has_both(self) -> bool:
        return bool(self.row.npu_name and self.row.bench_name)

    @property
    def is_output(self) -> bool:
        return ".output." in str(self.cells["NPU Name"])

    def pair(self, ending: str) -> tuple[Cell, Cell]:
        """The cells of both sides."""
        return self.cells[f"NPU {ending}"], self.cells[f"Bench {ending}"]


# ---- 26.2.0

_RowRule: TypeAlias = Callable[[TableRow], "tuple[Level, str] | None"]
_CallRule: TypeAlias = Callable[
    [Sequence[TableRow], Sequence[TableRow]], "Iterator[tuple[TableRow, tuple[Level, str]]]"
]


def judge_call(call: Sequence[TableRow], mode: str) -> None:
    """Fill the columns that judge in the rows of one call, as 26.2.0 does."""
    name = str(call[0].cells["NPU Name"]).split(".")
    operator = name[1] if len(name) > 1 else ""
    inputs = [each for each in call if not each.is_output]
    outputs = [each for each in call if each.is_output]
    exempt = bool(inputs) and operator in _UNJUDGED
    lone = bool(inputs) and operator in _OUTPUTS_ALONE
    for rule in _RULES[mode]:
        if isinstance(rule, _OfRows):
            for each in () if exempt else outputs if lone else (*inputs, *outputs):
                if (said := rule.judge(each)) is not None:
                    each.found.append(said)
        elif not exempt and not lone:
            for each, said in rule.judge(inputs, outputs):
                each.found.append(said)
    for each in call:
        each.cells["Result"] = max((level for level, _ in each.found), key=_SEVERITY.__getitem__, default="pass")
        each.cells["Err_message"] = json.dumps([f"{level}: {words}" for level, words in each.found])


@dataclass(frozen=True, slots=True)
class _OfRows:
    """A rule that looks at each row alone."""

    judge: _RowRule


@dataclass(frozen=True, slots=True)
class _OfCalls:
    """A rule that holds the outputs of a call against its inputs."""

    judge: _CallRule


def _nonfinite(each: TableRow) -> tuple[Level, str] | None:
    sides = [[_is_nonfinite(each.cells[f"{side} {end}"]) for end in ("max", "min")] for side in ("Bench", "NPU")]
    if any(sides[0]) or not any(sides[1]):
        return None
    return "error", "There is nan/inf/-inf in the maximum or minimum value of NPU."


def _differs(column: str, words: str, *, unless: tuple[str, ...] = ()) -> _OfRows:
    """The cells of both sides are not the same."""

    def judge(each: TableRow) -> tuple[Level, str] | None:
        npu, bench = each.pair(column)
        is_exempt = any(part in str(each.cells["Bench Name"]) for part in unless)
        return ("error", words) if each.has_both and not is_exempt and npu != bench else None

    return _OfRows(judge)


def _digest(each: TableRow) -> tuple[Level, str] | None:
    npu, bench = each.cells["NPU MD5"], each.cells["BENCH MD5"]
    if npu == bench:
        return None
    if {npu, bench} & {ABSENT, "", "Nan"}:
        return "warning", "The parameter of NPU does not match the bench."
    return "error", "The CRC-32 value of NPU differs from that of the bench."


def _scalars(inputs: Sequence[TableRow], outputs: Sequence[TableRow]) -> Iterator[tuple[TableRow, tuple[Level, str]]]:
    for each in inputs:
        is_scalar = all("class" in str(kind) for kind in each.pair("Dtype")) and each.pair("Tensor Shape")[0] == "[]"
        npu, bench = each.pair("max")
        if each.has_both and is_scalar and npu != bench:
            yield each, ("error", "The scalar parameters of NPU and Bench are inconsistent.")


def _norm_rises(
    inputs: Sequence[TableRow], outputs: Sequence[TableRow]
) -> Iterator[tuple[TableRow, tuple[Level, str]]]:
    if _largest(inputs, "NormRelativeErr") < 0.1:
        for each in outputs:
            if _share(each.cells["NormRelativeErr"]) > 0.5:
                yield each, ("error", "The NormRelativeErr of output is greater than 0.5.")


def _norm_times(
    inputs: Sequence[TableRow], outputs: Sequence[TableRow]
) -> Iterator[tuple[TableRow, tuple[Level, str]]]:
    before, after = _largest(inputs, "NormRelativeErr"), _largest(outputs, "NormRelativeErr")
    if outputs and (after > 0.1 if before == 0 else after / before > 10):
        yield outputs[0], ("warning", "The norm relative error of output is 10 times that of input.")


def _thousandth(
    inputs: Sequence[TableRow], outputs: Sequence[TableRow]
) -> Iterator[tuple[TableRow, tuple[Level, str]]]:
    column = "One Thousandth Err Ratio"
    if outputs and _smallest(inputs, column) > 0.9 and _smallest(outputs, column) < 0.1:
        words = "The input/parameters of One Thousandth Err Ratio > 0.9 while the output < 0.6."
        yield outputs[0], ("error", words)


def _cosine(inputs: Sequence[TableRow], outputs: Sequence[TableRow]) -> Iterator[tuple[TableRow, tuple[Level, str]]]:
    before, after = _smallest(inputs, "Cosine"), _smallest(outputs, "Cosine")
    if outputs and before > 0.9 and before - after > 0.1:
        yield (
            outputs[0],
            ("warning", "The input/parameters of Cosine > 0.9, and input/parameters - output > 0.1"),
        )


_NONFINITE = _OfRows(_nonfinite)
_ATTRIBUTES = (
    _differs("Requires_grad", "The Required_Grad of NPU and Bench are inconsistent"),
    _OfCalls(_scalars),
    _differs("Dtype", "The dtype of NPU and Bench are inconsistent.", unless=_FUSED),
    _differs("Tensor Shape", "The shape of NPU and Bench are inconsistent."),
)
_RULES: dict[str, tuple[_OfRows | _OfCalls, ...]] = {
    "statistics": (_NONFINITE, _OfCalls(_norm_rises), *_ATTRIBUTES, _OfCalls(_norm_times)),
    "tensor": (_NONFINITE, _OfCalls(_thousandth), *_ATTRIBUTES, _OfCalls(_cosine)),
    "md5": (_OfRows(_digest),),
}
"""In the order in which their words stand in a cell."""


def _is_nonfinite(cell: Cell) -> bool:
    return str(cell).strip().lower() in ("nan", "inf", "-inf")


def _share(cell: Cell) -> float:
    """A percentage; what is none is nothing."""
    try:
        return abs(float(cell.rstrip("%")) / 100) if isinstance(cell, str) else 0.0
    except ValueError:
        return 0.0


def _numbers(rows: Sequence[TableRow], column: str) -> Iterator[float]:
    for each in rows:
        cell = each.cells[column]
        if isinstance(cell, str) and cell.endswith("%"):
            yield _share(cell)
        elif isinstance(cell, (int, float)):
            yield float(cell)


def _largest(rows: Sequence[TableRow], column: str) -> float:
    return max(0.0, *_numbers(rows, column), 0.0)


def _smallest(rows: Sequence[TableRow], column: str) -> float:
    return min(1.0, *_numbers(rows, column), 1.0)


# ---- 8.3.3

_NO_BENCH = "No bench data matched."
_GRADIENTS = "Requires_grad inconsistent. "
_OF_NO_EXTENT = (
    "This is type of 0-d tensor, can not calculate 'Cosine', 'EucDist', 'One Thousandth Err Ratio' and"
    " 'Five Thousandths Err Ratio'. "
)
_SAID_OF_NAN = {
    name: f"Cannot compare by {word}, the data contains nan/inf/-inf in dump data."
    for name, word in (("MaxAbsErr", "MaxAbsError"), ("MaxRelativeErr", "MaxRelativeError"))
}
_AGAIN = 4
"""How often it says so: two distances each repeat all that was said before, and so do the two after those of NaN."""


def judge_row(each: TableRow, mode: str) -> None:
    """Fill the columns that judge in one row, as 8.3.3 does."""
    npu, bench = each.pair("Requires_grad") if mode != "md5" else ("", "")
    gradients = _GRADIENTS if npu != bench else ""
    if mode == "md5":
        same = each.cells["NPU MD5"] == each.cells["BENCH MD5"]
        each.cells["Result"] = "pass" if same else "Different" if each.row.bench_name else ABSENT
    elif mode == "statistics":
        check = bool(each.row.bench_name) and _needs_check(each)
        if each.row.bench_name:
            each.cells["Result"] = "Warning" if check else ""
        else:
            each.cells["Result"] = ABSENT
        said = ("Need double check api accuracy. " if check else "") if each.row.bench_name else _NO_BENCH
        each.cells["Err_message"] = said + gradients
    else:
        before = gradients or ("" if each.row.bench_name else _NO_BENCH)
        each.cells["Err_message"] = before + _said_of_data(each)
        each.cells["Accuracy Reached or Not"] = _reached(each)


def _needs_check(each: TableRow) -> bool:
    """Do the sides differ by more than half of the larger one, by its sign, in any statistic?"""
    for ending in ("max", "min", "mean", "l2norm"):
        numbers = [_number(cell) for cell in each.pair(ending)]
        if None not in numbers:
            npu, bench = (float(number) for number in numbers if number is not None)
            if abs(npu - bench) / (abs(max(npu, bench)) + 1e-10) > 0.5:
                return True
    return False


def _number(cell: Cell) -> float | None:
    if cell in ("inf", "-inf"):
        return float(str(cell))
    return float(cell) if isinstance(cell, (int, float)) and not isinstance(cell, bool) else None


def _said_of_data(each: TableRow) -> str:
    npu, bench = each.row.npu, each.row.bench
    for side, name in ((npu, "NPU"), (bench, "Bench")):
        if name == "Bench" and not each.row.bench_name:
            return "Bench api/module unmatched."
        if not isinstance(side, TensorRecord) or not side.data_name:
            return f"{name} does not have data file."
    assert isinstance(npu, TensorRecord)
    assert isinstance(bench, TensorRecord)
    if 0 in npu.shape:
        return "This is empty data, can not compare."
    if not npu.shape:
        of_nan = (words for name, words in _SAID_OF_NAN.items() if each.cells[name] == NAN)
        return "".join((_OF_NO_EXTENT * _AGAIN, *of_nan)) * _AGAIN
    if npu.shape != bench.shape:
        return "Shape of NPU and bench tensor do not match. Skipped."
    if nonfinite_apart(npu, bench):
        return "The position of inf or nan in NPU and bench Tensor do not match."
    words = "Dtype of NPU and bench tensor do not match." if npu.dtype != bench.dtype else ""
    return words + ("This is a 1-d tensor of length 1." if npu.shape[0] == math.prod(npu.shape) == 1 else "")


def nonfinite_apart(npu: TensorRecord, bench: TensorRecord) -> bool:
    """Have the sides NaN or infinities in other numbers, and so at other positions?"""
    return (npu.nan or 0, npu.inf or 0) != (bench.nan or 0, bench.inf or 0)


def _reached(each: TableRow) -> str:
    cosine, apart = each.cells["Cosine"], each.cells["MaxAbsErr"]
    if cosine == SHAPES_DIFFER:
        return "Unmatched"
    if ABSENT in (cosine, apart):
        return "No"
    similar, largest = _number(cosine), _number(apart)
    if similar is None or largest is None:
        return "None"
    return "No" if (similar < 0.99 and largest > 0.001) or similar < 0.9 or largest > 1 else "Yes"
