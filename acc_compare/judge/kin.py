"""What the other calls of an operator show: the bounds of arithmetic are lenient, and kin say by how much.

A call that is off by more than arithmetic explains, but by less than the factor of ten that bounds so lenient need, is
held against calls of the same operator with the same shapes whose inputs differ about as much.  Where all of those stay
far below the bound, so must this one.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from acc_compare import operators
from dump.format.names import forward_name

from .calls import MeasuredArgument, MeasuredCall
from .expected import Expected, expected_error
from .roles import INPUT_NOISE, SUSPICIOUS, largest_error, ratio

FEWEST = 3
"""Kin that must agree before they are believed."""

SOURCE = "kin"

_LIKE = 10.0


class Kin:
    """The calls of one comparison by operator, direction, shapes and types; sorted when first asked for."""

    def __init__(self, calls: Sequence[MeasuredCall]) -> None:
        self._calls = calls
        self._groups: dict[Hashable, list[tuple[MeasuredCall, MeasuredArgument]]] | None = None
        self._forwards: dict[str, MeasuredCall] = {}

    def sharpened(self, call: MeasuredCall, out: MeasuredArgument, expected: Expected) -> Expected:
        """`expected` times the largest excess among the kin of `out`, at least a tenth of it; `expected` itself where
        kin are too few or show as much.

        It changes nothing unless `out` is off by more than `expected` and by less than ten times that.
        """
        if not 1.0 < ratio(out.relative, expected.relative) <= SUSPICIOUS:
            return expected
        excesses = [self._excess(other, theirs) for other, theirs in self._kin(call, out)]
        known = [excess for excess in excesses if excess is not None]
        if len(known) < FEWEST or max(known) >= 1.0:
            return expected
        return Expected(expected.relative * max(max(known), 1.0 / SUSPICIOUS), SOURCE)

    def _kin(self, call: MeasuredCall, out: MeasuredArgument) -> list[tuple[MeasuredCall, MeasuredArgument]]:
        """Other calls of the operator whose inputs differ about as much as those of `call`."""
        if self._groups is None:
            self._groups = self._sorted()
        inherited = max(largest_error(call.read), INPUT_NOISE)
        return [
            (other, theirs)
            for other, theirs in self._groups.get(_key(call, out), ())
            if other.full_name != call.full_name
            and inherited / _LIKE <= max(largest_error(other.read), INPUT_NOISE) <= inherited * _LIKE
        ]

    def _sorted(self) -> dict[Hashable, list[tuple[MeasuredCall, MeasuredArgument]]]:
        groups: dict[Hashable, list[tuple[MeasuredCall, MeasuredArgument]]] = {}
        for call in self._calls:
            if not call.is_backward:
                self._forwards[call.full_name] = call
            for out in call.wrote:
                groups.setdefault(_key(call, out), []).append((call, out))
        return groups

    def _excess(self, call: MeasuredCall, out: MeasuredArgument) -> float | None:
        """How many times what arithmetic explains; None where it says nothing."""
        forward = None
        if call.is_backward:
            forward = self._forwards.get(forward_name(call.full_name))
        if out.error is None or out.relative == float("inf"):
            return None
        bound = expected_error(call, out, forward).relative
        return None if bound == float("inf") else ratio(out.relative, bound)


def _key(call: MeasuredCall, out: MeasuredArgument) -> Hashable:
    inputs = tuple((argument.name, argument.npu.shape, argument.npu.dtype) for argument in call.read)
    api = operators.plain_api(call.operator)
    return api, call.name.direction, call.name.is_module, out.name, out.npu.shape, out.npu.dtype, inputs
