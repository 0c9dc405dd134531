"""One pair of calls in full: every argument of it with all that is known of both sides."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from acc_compare.model import Finding, Row
from acc_compare.report.columns import ABSENT, MODULE_COLUMN, STACK_COLUMN, Cell, as_cell, columns_of
from acc_compare.report.inspection_text import table_text
from acc_compare.report.safe_text import one_line
from acc_compare.row_names import split_names
from dump.format.errors import ConfigError

_NAMES = ("NPU Name", "Bench Name")
_NEAR = 5


def pairs_of(findings: Sequence[Finding], call: str) -> list[tuple[Finding, tuple[Row, ...]]]:
    """The rows of `call`, by either side's name, in each finding that has it.  Raises ConfigError where none has."""
    found: list[tuple[Finding, tuple[Row, ...]]] = []
    near: set[str] = set()
    for finding in findings:
        rows = []
        sides = [split_names([getattr(row, side) for row in finding.rows]) for side in ("npu_name", "bench_name")]
        for row, (ours, _), (theirs, _) in zip(finding.rows, *sides, strict=True):
            if call in (ours, theirs):
                rows.append(row)
            elif len(near) < _NEAR and call.lower() in ours.lower():
                near.add(ours)
        if rows:
            found.append((finding, tuple(rows)))
    if not found:
        hint = f"; there are {', '.join(sorted(near))}" if near else ""
        raise ConfigError(f"--call: neither side has a call {call!r}{hint}")
    return found


def pair_text(finding: Finding, rows: Sequence[Row]) -> str:
    """Each argument with what both sides have side by side, then what was measured; last the stack."""
    first = rows[0]
    names = [next(split_names([name]))[0] if name else "-" for name in (first.npu_name, first.bench_name)]
    place = [
        f"{kind} {number}" for kind, number in (("step", finding.step), ("rank", finding.rank)) if number is not None
    ]
    head = [one_line(names[0] if names[0] == names[1] else f"{names[0]} against {names[1]}")]
    head += [f"  {one_line(', '.join([*place, *([f'module {first.module}'] if first.module else [])]))}"]
    parts = ["\n".join(head) + "\n"]
    for row in rows:
        argument = next(split_names([row.npu_name or row.bench_name]))[1] or "(no argument)"
        sides = table_text([("", "NPU", "Bench"), *_both(finding, row)], right=())
        measured = table_text([(name, _shown(value)) for name, value in _single(finding, row)], right=())
        parts.append(f"{one_line(argument)}\n{sides}{measured}")
    if first.stack:
        parts.append("stack\n" + "".join(f"  {one_line(line)}\n" for line in first.stack.splitlines()))
    return "\n".join(parts)


def pairs_json(pairs: Sequence[tuple[Finding, tuple[Row, ...]]]) -> str:
    """A list of pairs: step, rank, and the rows with the columns of the workbook."""
    document = [
        {
            "step": finding.step,
            "rank": finding.rank,
            "rows": [{column.name: as_cell(column.read(row)) for column in columns_of(finding)} for row in rows],
        }
        for finding, rows in pairs
    ]
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _both(finding: Finding, row: Row) -> Iterator[tuple[str, str, str]]:
    """What both sides have a column of: the NPU's cell beside the bench's."""
    cells = {column.name.lower(): (column.name, as_cell(column.read(row))) for column in columns_of(finding)}
    for key, (name, value) in cells.items():
        other = cells.get(f"bench {key.removeprefix('npu ')}") if key.startswith("npu ") else None
        if other is not None and name not in _NAMES and (value, other[1]) != (ABSENT, ABSENT):
            yield name.partition(" ")[2], _shown(value), _shown(other[1])


def _single(finding: Finding, row: Row) -> Iterator[tuple[str, Cell]]:
    """What is known of the pair; nothing that does not apply."""
    for column in columns_of(finding):
        if column.name.lower().startswith(("npu ", "bench ")) or column.name in (STACK_COLUMN, MODULE_COLUMN):
            continue
        value = as_cell(column.read(row))
        if value not in (ABSENT, ""):
            yield column.name, value


def _shown(value: Cell) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)
