"""A finding as plain data for the advisor's JSON, and back: keys of sentences with their values, no words.

From it and a table that was written `acc report` makes a page in any language, without the dumps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import get_type_hints

import msgspec

from acc_compare.model import Finding
from dump.format.errors import ResultError

_NUMBER = "number"
"""JSON has no numbers that are not finite: {"number": "inf"}."""


def to_record(finding: Finding, parts: Sequence[Finding] = ()) -> dict[str, object]:
    """`finding` without its rows, and the findings of each step and rank that it is over."""
    record = {"finding": _finding(finding)}
    return {**record, "parts": [_finding(part) for part in parts]} if parts else record


def from_record(record: object) -> tuple[Finding, tuple[Finding, ...]]:
    """What `to_record` was given.  Raises ResultError where `record` is something else."""
    if not isinstance(record, dict) or "finding" not in record:
        raise ResultError("it holds no record of a finding; results of an earlier version have none")
    parts = record.get("parts", [])
    if not isinstance(parts, list):
        raise ResultError("its parts are no list")
    return _read(record["finding"]), tuple(map(_read, parts))


def _finding(finding: Finding) -> object:
    plain = msgspec.to_builtins(replace(finding, rows=()))
    del plain["rows"]
    return _strict(plain)


def _strict(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return {_NUMBER: str(value)}
    if isinstance(value, dict):
        return {key: _strict(part) for key, part in value.items()}
    return [_strict(part) for part in value] if isinstance(value, (list, tuple)) else value


def _loose(value: object) -> object:
    if isinstance(value, dict):
        if list(value) == [_NUMBER] and isinstance(value[_NUMBER], str):
            return float(value[_NUMBER])
        return {key: _loose(part) for key, part in value.items()}
    return [_loose(part) for part in value] if isinstance(value, list) else value


def _read(record: object) -> Finding:
    if not isinstance(record, dict):
        raise ResultError("a finding in it is no object")
    kinds = get_type_hints(Finding)
    try:
        fields = {name: msgspec.convert(_loose(value), kinds[name]) for name, value in record.items() if name in kinds}
        return Finding(**{**fields, "rows": ()})
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as error:
        raise ResultError(f"a finding in it cannot be read: {error}") from error
