"""One setting that makes all products of one side coarser: told apart from one kernel that is wrong.

Devices may round the operands of float32 products to a narrower type, TF32 or HF32; what that makes of each product is
predicted as its noise is, with that rounding beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from acc_compare.judge.noise import RUN_EFFECT, Noise
from acc_compare.measured.calls import MeasuredCall
from acc_compare.operators import operator_class

LOWERED = {"tf32": 2.0**-11, "bfloat16": 2.0**-8}
"""What devices round the operands of products of float32 to, by unit roundoff: NVIDIA TF32, Ascend HF32 and float16
keep 10 bits of significand, bfloat16 keeps 7."""

_NEARER = 0.6
_TOLD_APART = 1.5
FEWEST_PRODUCTS = 2
_EXPLAINED = 1.5
_CLOSE = 0.7
_TELLING = 0.5
_SHORT = 0.5
"""Operands that have few digits already, as the gradients of a mean do, round to nothing: so much less than predicted
is no misfit."""
_MOST_EVIDENCE = 4.0
_SCATTER = 0.3
"""Of the residuals of one direction beside what they share."""


def lowered_products(calls: Sequence[MeasuredCall], noise: Noise, *, fewest: int = FEWEST_PRODUCTS) -> str:
    """The type of `LOWERED` that one side computes its products in throughout, "" where it does not.

    A product that shows the size of a narrow type may be one wrong kernel. But where that is a setting, the errors of
    all products fit it: over those outputs whose prediction with it and without it part by half, the squares of the
    residuals are smaller with it, and for most calls, in forward and in backward; and without it something must be
    improbable. Where fewer than `fewest` tell, since the others inherit so much that the two hardly part, these must
    fit closely, and the others no worse.
    """
    products = {call.full_name for call in calls if operator_class(call.operator) == "contraction"}
    plain = {key: output for key, output in noise.observed().items() if key[0] in products and not output.key.is_vector}
    if not any(map(noise.is_beyond_prior, plain)):
        return ""
    best, most = "", 0.0
    for name, unit in LOWERED.items():
        outputs: dict[tuple[bool, str], list[float]] = {}
        farthest = 0.0
        hidden: dict[bool, list[tuple[float, float]]] = {}
        for key, other in Noise(calls, noise.prior, lowered=unit).observed().items():
            output = plain.get(key)
            if output is None:
                continue
            beyond, without = (each.residual - each.row.location for each in (other, output))
            if min(beyond, without) >= _EXPLAINED:
                continue  # neither explains it: whatever that is, it says nothing of the others
            if other.predicted < _TOLD_APART * output.predicted:  # by what it inherits
                hidden.setdefault(output.key.is_backward, []).append((without, beyond))
                continue
            off = max(beyond, min(0.0, beyond + _SHORT))
            farthest = max(farthest, abs(off))
            found = without**2 - off**2 if output.error > 0 else -_MOST_EVIDENCE
            outputs.setdefault((output.key.is_backward, key[0]), []).append(
                max(-_MOST_EVIDENCE, min(_MOST_EVIDENCE, found))
            )
        evidence = {each: fmean(values) for each, values in outputs.items()}
        telling = {each: value for each, value in evidence.items() if abs(value) > _TELLING}
        nearer = sum(value > 0 for value in telling.values())
        fits = bool(telling) and farthest < _CLOSE and _fit_no_worse(hidden.values(), fewest)
        enough = len(telling) >= fewest or fits
        total = sum(evidence.values())
        if enough and nearer >= _NEARER * len(telling) and total > most and _in_both_directions(telling, fewest):
            best, most = name, total
    return best


def _in_both_directions(telling: Mapping[tuple[bool, str], float], fewest: int) -> bool:
    """Does no direction speak against it?  A setting holds for gradients as it does for results; kernels of one
    direction that round are no setting."""
    for is_backward in (False, True):
        values = [value for each, value in telling.items() if each[0] == is_backward]
        if len(values) >= fewest and sum(values) <= 0:
            return False
    return True


def _fit_no_worse(hidden: Iterable[Sequence[tuple[float, float]]], fewest: int) -> bool:
    """Do the residuals of outputs that both explain, without the narrow type and with it, fit as well with it, as they
    are or beside what those of one direction share?"""
    groups = list(hidden)
    better = (
        sum(
            _misfit([pair[0] for pair in group], shared) - _misfit([pair[1] for pair in group], shared)
            for group in groups
        )
        for shared in (0.0, RUN_EFFECT)
    )
    return sum(map(len, groups)) >= fewest and max(better) > 0


def _misfit(residuals: Sequence[float], shared: float) -> float:
    """The weighted sum of squares about an effect that all share, itself normal with a deviation of `shared`, taken
    where it is least."""
    precision = 1.0 / _SCATTER**2
    total = sum(residuals) * precision
    about = total * total / (len(residuals) * precision + shared**-2) if shared else 0.0
    return sum(x * x for x in residuals) * precision - about
