"""Comparisons as assertions, for test suites."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import get_args

from acc_compare.comparison import Comparison, compare
from acc_compare.model import Finding, Kind, Row, Suspect
from acc_compare.report.formatting import place, plural
from acc_compare.report.i18n import quantity, text
from acc_compare.stacks import own_line

_LISTED = 5


def assert_same(
    npu: Path | str,
    bench: Path | str,
    *,
    floor: Path | str | None = None,
    reference: Path | str | None = None,
    mapping: Path | str | None = None,
    fuzzy: bool = False,
    allow: Collection[Kind] = (),
    msg: str | None = None,
) -> Comparison:
    """Assert that two dumps are the same but for rounding, and give the comparison back.

    Arguments are those of `compare`; suspects of the kinds in `allow` (such as "random") are let pass.  `msg` stands
    before the message, which names the first suspect, how far off it is, where, and how far would be normal.  Two dumps
    that can be compared only in part are not the same.

    Raises AssertionError, what `compare` raises, and ValueError for a kind that there is none of.

    >>> assert_same("sample_dumps/healthy", "sample_dumps/bench_statistics").verdict
    'same'
    >>> assert_same("sample_dumps/gelu_in_bfloat16", "sample_dumps/bench_statistics")
    Traceback (most recent call last):
    AssertionError: ...
    """
    __tracebackhide__ = True
    unknown = set(allow) - set(get_args(Kind))
    if unknown:
        raise ValueError(f"unknown kind {sorted(unknown)[0]!r} in allow; known kinds: {', '.join(get_args(Kind))}")
    comparison = compare(npu, bench, floor=floor, reference=reference, mapping=mapping, fuzzy=fuzzy)
    suspects = [suspect for suspect in comparison.suspects if suspect.kind not in allow]
    if suspects:
        lines = list(_different(comparison, suspects))
    elif comparison.verdict == "incomplete":
        lines = ["The two runs cannot be said to be the same!", "", comparison.summary()]
    else:
        return comparison
    raise AssertionError("\n".join([*([msg, ""] if msg else []), *lines]))


def _different(comparison: Comparison, suspects: list[Suspect]) -> Iterator[str]:
    """The message, in the words of `torch.testing.assert_close`."""
    first, compared = suspects[0], comparison.overall.coverage.calls
    calls = sum(suspect.calls for suspect in suspects)
    yield "The two runs are not the same!"
    yield ""
    yield f"Suspect calls: {calls} / {compared} ({100 * calls / max(compared, 1):.1f}%)"
    yield from _measured(first, comparison)
    yield f"First suspect: {first.name} ({first.kind})"
    where = [text(place(first)), f"module {first.module}" if first.module else "", own_line(first.stack)]
    yield from (
        f"  {text}" for text in (", ".join(part for part in where[:2] if part), where[2], text(first.message)) if text
    )
    if len(suspects) > 1:
        more = ", ".join(suspect.name for suspect in suspects[1:_LISTED])
        left = f" and {plural(len(suspects) - _LISTED, 'other')}" if len(suspects) > _LISTED else ""
        yield f"After it: {more}{left}"
    yield f"NPU: {comparison.overall.npu_path}"
    yield f"Bench: {comparison.overall.bench_path}"


def _measured(suspect: Suspect, comparison: Comparison) -> Iterator[str]:
    tensor = f"{suspect.row or suspect.name}.{suspect.tensor}"
    row = _row(suspect, comparison.findings)
    if suspect.rel_l2 is not None:
        normal = f" (up to {quantity(suspect.expected)} expected)" if suspect.expected is not None else ""
        yield f"Relative L2 difference: {quantity(suspect.rel_l2)} of {tensor}{normal}"
    if row is None:
        return
    for label, column in (("absolute", "MaxAbsErr"), ("relative", "MaxRelativeErr")):
        value, index = row.metrics.get(column), row.metrics.get(f"{column} Index")
        if isinstance(value, float) and index is not None:
            yield f"Greatest {label} difference: {quantity(value)} at index {index}"


def _row(suspect: Suspect, findings: Collection[Finding]) -> Row | None:
    wanted = f"{suspect.row or suspect.name}.{suspect.tensor}"
    for finding in findings:
        if (finding.step, finding.rank) == (suspect.step, suspect.rank):
            return next((row for row in finding.rows if wanted in (row.npu_name, row.bench_name)), None)
    return None
