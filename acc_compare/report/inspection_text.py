"""What a dump holds, as text in columns that never breaks a name, or as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from acc_compare.report.i18n import quantity
from acc_compare.report.inspection import ArgumentContents, CallContents, DumpContents, TensorContents
from acc_compare.report.safe_text import one_line
from acc_compare.report.wrapping import columns, padded

OPERATORS = 20
"""Operators that the text lists; the JSON has all."""

_BAR = 40
_PER_LINE = 8


def dumps_text(dumps: Sequence[DumpContents]) -> str:
    """A line for each step and rank; of a single dump its operators too."""
    heads = ("step", "rank", "task", "level", "calls", "tensors", "NaN/Inf", "bytes", "complete", "device", "folder")
    lines = [heads] + [
        (
            _known(dump.step),
            _known(dump.rank),
            dump.mode,
            dump.level,
            f"{dump.calls:,}",
            f"{dump.tensors:,}",
            f"{dump.nonfinite:,}",
            size_text(dump.bytes),
            "yes" if dump.complete else "NO",
            dump.device or "-",
            dump.path,
        )
        for dump in dumps
    ]
    parts = [table_text(lines, right=(0, 1, 4, 5, 6, 7))]
    operators: dict[str, int] = {}
    missed: dict[str, int] = {}
    for dump in dumps:
        for name, number in dump.operators.items():
            operators[name] = operators.get(name, 0) + number
        for reason, number in dump.missed.items():
            missed[reason] = missed.get(reason, 0) + number
    ranked = sorted(operators.items(), key=lambda item: (-item[1], item[0]))
    shown = [("calls", "operator"), *((f"{number:,}", name) for name, number in ranked[:OPERATORS])]
    parts.append(table_text(shown, right=(0,)))
    if len(ranked) > OPERATORS:
        parts.append(f"and {len(ranked) - OPERATORS:,} more operators (--json has all)\n")
    if missed:
        parts.append(
            "Not recorded:\n" + "".join(f"  {one_line(reason)} ({number:,})\n" for reason, number in missed.items())
        )
    return "\n".join(parts)


def call_text(call: CallContents) -> str:
    """One call: where it ran, its arguments, its stack."""
    place = [f"{name} {number}" for name, number in (("step", call.step), ("rank", call.rank)) if number is not None]
    head = [one_line(call.name), f"  {', '.join([*place, one_line(call.path)])}"]
    if call.module:
        head.append(f"  module {one_line(call.module)}")
    heads = ("argument", "type", "shape", "max", "min", "mean", "norm", "NaN", "Inf", "value")
    lines = [heads, *map(_argument_line, call.arguments)]
    kept = [at for at in range(len(heads)) if at < 2 or any(line[at] not in ("", "0") for line in lines[1:])]
    table = table_text(
        [tuple(line[at] for at in kept) for line in lines], right=[kept.index(at) for at in kept if 2 < at < 9]
    )
    stack = "".join(f"  {one_line(line)}\n" for line in call.stack)
    return "\n".join(head) + "\n\n" + table + (f"\nstack:\n{stack}" if stack else "")


def tensor_text(tensor: TensorContents) -> str:
    """One tensor: extremes with their places, a histogram, its first elements."""
    lines = [
        one_line(tensor.name),
        f"  {one_line(tensor.path)}",
        f"  {tensor.dtype} {list(tensor.shape)}, {tensor.nan:,} NaN, {tensor.inf:,} Inf, {tensor.zeros:,} zero",
    ]
    if tensor.min is not None and tensor.max is not None and tensor.mean is not None:
        lines.append(f"  min {tensor.min!r} at {_place(tensor.min_index)}")
        lines.append(f"  max {tensor.max!r} at {_place(tensor.max_index)}")
        lines.append(f"  mean {tensor.mean!r}")
    most = max(tensor.counts, default=0)
    rows = [
        (f"{quantity(low)} to {quantity(high)}", f"{count:,}", "#" * math.ceil(_BAR * count / most))
        for low, high, count in zip(tensor.edges, tensor.edges[1:], tensor.counts, strict=False)
    ]
    if rows:
        lines += ["", table_text(rows, right=(0, 1)).rstrip("\n")]
    if tensor.values:
        lines += ["", f"first {len(tensor.values):,} elements:"]
        for start in range(0, len(tensor.values), _PER_LINE):
            part = tensor.values[start : start + _PER_LINE]
            lines.append("  " + " ".join(f"{_element(value):>11}" for value in part))
    return "\n".join(lines) + "\n"


def as_json(found: Iterable[DumpContents | CallContents | TensorContents]) -> str:
    """A list of what was found; numbers that are not finite are text."""
    return json.dumps([_strict(asdict(each)) for each in found], indent=2, allow_nan=False) + "\n"


def size_text(size: int) -> str:
    """`1.2 MB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"


def _strict(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _strict(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(part) for part in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _argument_line(argument: ArgumentContents) -> tuple[str, ...]:
    numbers = (argument.max, argument.min, argument.mean, argument.norm)
    value = "" if argument.shape is not None else repr(argument.value)
    return (
        argument.name,
        argument.type.removeprefix("torch."),
        "" if argument.shape is None else str(list(argument.shape)),
        *(_statistic(number) for number in numbers),
        str(argument.nan or ""),
        str(argument.inf or ""),
        value if argument.md5 is None else argument.md5,
    )


def _statistic(number: object) -> str:
    return "" if number is None else quantity(number) if isinstance(number, float) else str(number)


def _element(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _place(index: tuple[int, ...] | None) -> str:
    return "()" if index is None else str(tuple(index))


def _known(number: int | None) -> str:
    return "-" if number is None else str(number)


def table_text(lines: Sequence[Sequence[str]], *, right: Sequence[int]) -> str:
    """Cells in columns; the numbers `right` name those whose cells end alike."""
    shown = [[one_line(cell) for cell in line] for line in lines]
    widths = [max(columns(line[at]) for line in shown) for at in range(len(shown[0]))]
    text = ""
    for line in shown:
        cells = [
            " " * (width - columns(cell)) + cell if at in right else padded(cell, width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text += ("  " + "  ".join(cells)).rstrip() + "\n"
    return text
