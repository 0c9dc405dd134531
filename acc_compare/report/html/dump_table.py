"""The rows of one dump as packed columns: every argument of every call, with what was measured of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from acc_compare.first_nan import LARGEST
from acc_compare.messages import say
from acc_compare.report.columns import NumberStyle
from acc_compare.report.html.packing import pack
from acc_compare.report.html.table import VALUE, PackedColumn
from acc_compare.report.i18n import text
from acc_compare.report.messages import Lang
from dump.format.names import BACKWARD, forward_name, parse
from dump.format.schema import Argument, CallRecord, Dump, Leaf, ScalarRecord, TensorRecord

NAME = "Name"

_COLUMNS: tuple[tuple[str, NumberStyle | Literal["hidden"]], ...] = (
    ("Module", "text"),
    ("Dtype", "text"),
    ("Tensor Shape", "text"),
    ("max", "value"),
    ("min", "value"),
    ("mean", "value"),
    ("l2norm", "value"),
    ("NaN", "value"),
    ("Inf", "value"),
    ("Range Used", "error"),
    ("Requires_grad", "flag"),
    ("Value", "text"),
    ("Stack", "text"),
    (VALUE, "hidden"),
)
"""Each column's heading and how its numbers are shown, after that of the names."""


@dataclass(frozen=True, slots=True)
class DumpTable:
    """All rows of one dump, and the place of the first row of each call of `wanted`."""

    rows: int
    columns: tuple[PackedColumn, ...]
    places: dict[str, int]


def pack_dump(dump: Dump, lang: Lang, wanted: Sequence[str] = ()) -> DumpTable:
    """The rows of `dump`, in the order of execution."""
    names: list[str] = []
    arguments: list[str | None] = []
    cells: list[list[object]] = [[] for _ in _COLUMNS]
    places: dict[str, int] = {}
    for call in dump.calls:
        if call.name in wanted:
            places.setdefault(call.name, len(names))
        module, stack = _module(dump, call), _stack(dump, call)
        for argument in _arguments(call):
            names.append(call.name)
            arguments.append(argument.name or None)
            measured = (module or None, *_measured(argument.leaf), stack or None, _value(argument.leaf))
            for column, cell in zip(cells, measured, strict=True):
                column.append(cell)
    columns = [PackedColumn(NAME, "text", _explained(NAME, lang), False, (pack(names), pack(arguments)))]
    for (name, style), values in zip(_COLUMNS, cells, strict=True):
        if any(value is not None for value in values):
            explained = "" if name == VALUE else _explained(name, lang)
            columns.append(PackedColumn(name, style, explained, name == "Range Used", (pack(values),)))
    return DumpTable(len(names), tuple(columns), places)


def range_used(leaf: Leaf) -> float | None:
    """The largest modulus as a share of the largest number of its type, infinite with NaN or Inf; None where that is
    not known."""
    if not isinstance(leaf, TensorRecord) or leaf.dtype not in LARGEST:
        return None
    ends = [float(end) for end in (leaf.max, leaf.min) if end is not None]
    if leaf.nan or leaf.inf or not all(map(math.isfinite, ends)):
        return math.inf
    return max(map(abs, ends)) / LARGEST[leaf.dtype] if ends else None


def _explained(name: str, lang: Lang) -> str:
    return text(say(f"page.dump.column.{name}"), lang)


def _arguments(call: CallRecord) -> Iterator[Argument]:
    groups = (call.inputs, call.parameters, call.outputs, call.written)
    found = [argument for group in groups for argument in group]
    yield from found or [Argument("", None)]


def _measured(leaf: Leaf) -> tuple[object, ...]:
    """The cells from Dtype to Value."""
    if isinstance(leaf, ScalarRecord):
        return (leaf.type, *[None] * 9, str(leaf.value))
    if not isinstance(leaf, TensorRecord):
        return (None,) * 11
    statistics = (leaf.max, leaf.min, leaf.mean, leaf.norm, leaf.nan, leaf.inf)
    return (leaf.dtype, str(list(leaf.shape)), *statistics, range_used(leaf), leaf.requires_grad, leaf.md5)


def _value(leaf: Leaf) -> int | None:
    return leaf.value if isinstance(leaf, TensorRecord) else None


def _module(dump: Dump, call: CallRecord) -> str:
    name = parse(call.name)
    owner = call.name if name.is_module else dump.owners.get(call.name)
    return parse(owner).path if owner else ""


def _stack(dump: Dump, call: CallRecord) -> str:
    name = forward_name(call.name) if parse(call.name).direction == BACKWARD else call.name
    return "\n".join(dump.stacks.get(name, ()))
