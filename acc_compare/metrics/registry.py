"""Columns of the results and the functions that fill them.

To add a column: write one function of what the row is measured from, and register it under the column's name
in the table of its module (`distance.REAL_DATA`, `statistics.STATISTICS`, `sketches.SKETCHED`).  The reports show it
after the columns they know, with the function's docstring as its explanation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from dump.format.schema import TensorRecord

Cell: TypeAlias = "int | float | str | None"
"""A number, a text such as an index, or None where the column has no value for this row."""

Subject = TypeVar("Subject")
"""What a row is measured from: a TensorDistance or a RecordPair."""

Measure: TypeAlias = "Callable[[Subject], Cell]"


class RecordPair(NamedTuple):
    """The records of one tensor on both sides."""

    npu: TensorRecord
    bench: TensorRecord


class MetricTable(Generic[Subject]):
    """Columns that are measured from the same thing, in the order of their registration.

    >>> table = MetricTable[float]()
    >>> @table.register("Twice")
    ... def twice(x: float) -> float:
    ...     "Two times the number."
    ...     return 2 * x
    >>> table.cells(1.5), table.explanation("Twice")
    ({'Twice': 3.0}, 'Two times the number.')
    """

    def __init__(self) -> None:
        self._measures: dict[str, Callable[[Subject], Cell]] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._measures)

    def register(self, column: str) -> Callable[[Measure[Subject]], Measure[Subject]]:
        """Decorator: fill `column` by this function.  ValueError where the column is filled already."""

        def add(measure: Measure[Subject]) -> Measure[Subject]:
            if column in self._measures:
                raise ValueError(f"column {column!r} is registered already")
            self._measures[column] = measure
            return measure

        return add

    def explanation(self, column: str) -> str:
        """What the function that fills `column` says of itself, in one line; "" where it says nothing."""
        return " ".join((self._measures[column].__doc__ or "").split())

    def cells(self, subject: Subject) -> dict[str, Cell]:
        """Every column of the table for one row."""
        return {column: measure(subject) for column, measure in self._measures.items()}
