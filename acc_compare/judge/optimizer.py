"""Optimizer steps: gradients and old parameters in, new parameters out.

What counts is the update, new minus old.  Sketches are linear, so the update's error is seen in statistics mode too:
sketch(new N) - sketch(old N) - sketch(new B) + sketch(old B).  An update may be as uncertain as its gradient; an
optimizer that divides by the gradient's own size (Adam) turns the noise of small gradients into whole steps, which
goes with the square root of the gradient's relative error: an element whose sign is uncertain moves by twice its step,
and the share of such elements is about that error.  Digests say only whether all went in alike and came out alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from acc_compare.judge.origins import SUSPICIOUS, ratio
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.messages import Message, say
from acc_compare.metrics.sketches import SketchVector, scale_between, sketch_vector
from acc_compare.operators import UNIT_ROUNDOFF
from dump.format.schema import ScalarRecord, TensorRecord

_LINEAR = ("SGD",)
_IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable")
_UNCERTAIN = 0.1
_AGREE = 0.05


@dataclass(frozen=True, slots=True)
class Update:
    """One parameter's update on both sides.  `relative` is |dN - dB| / |dB| (inf where digests differ), `expected` what
    the gradient's error and the rounding of the parameter explain, `factor` r where dN = r dB."""

    parameter: str
    argument: MeasuredArgument
    relative: float
    expected: float
    gradient_error: float
    factor: float | None


@dataclass(frozen=True, slots=True)
class OptimizerFault:
    """An optimizer whose updates part although its gradients agree; `settings` names those that differ."""

    call: MeasuredCall
    worst: Update
    suspicious: int
    judged: int
    settings: tuple[Message, ...]


def judge_optimizer(call: MeasuredCall) -> OptimizerFault | None:
    """The fault of one optimizer step, None where its updates are explained.

    A wrong constant moves every parameter's update; one parameter alone may be chance.  So most of the updates that
    can be judged must be off, or the settings themselves must differ.  Where they do, noise in the gradient is no
    longer given the benefit of the doubt: another beta moves a second step by no more than uncertain signs may.
    """
    settings = _differing_settings(call)
    linear = bool(settings) or any(name in call.name.api for name in _LINEAR)
    updates = [update for update in _updates(call, linear=linear) if update.gradient_error < _UNCERTAIN]
    if not updates:
        return None
    suspicious = [update for update in updates if update.relative > SUSPICIOUS * update.expected]
    needed = 1 if settings else max(1, math.ceil(len(updates) / 2))
    if len(suspicious) < needed:
        return None
    worst = max(suspicious, key=lambda update: ratio(update.relative, update.expected))
    return OptimizerFault(call, worst, len(suspicious), len(updates), settings)


def _updates(call: MeasuredCall, *, linear: bool) -> list[Update]:
    read = {argument.name: argument for argument in call.read}
    found = []
    for argument in call.wrote:
        parameter = argument.name.removeprefix("output.0.")
        old, gradient = read.get(f"input.param.{parameter}"), read.get(f"input.grad.{parameter}")
        if old is None or gradient is None or not argument.is_floating:
            continue
        update = _update(parameter, old, gradient, argument, linear=linear)
        if update is not None:
            found.append(update)
    return found


def _update(
    parameter: str, old: MeasuredArgument, gradient: MeasuredArgument, new: MeasuredArgument, *, linear: bool
) -> Update | None:
    if new.error is None:
        return None
    if new.error.source == "digest":
        alike = old.relative == 0 and gradient.relative == 0
        return Update(parameter, new, new.relative, 0.0, 0.0, None) if alike else None
    ours, theirs = _change(old.npu, new.npu), _change(old.bench, new.bench)
    if ours is None or theirs is None:
        return None
    moved = float(np.linalg.norm(theirs))
    apart = float(np.linalg.norm(ours - theirs))
    unit = max(UNIT_ROUNDOFF.get(new.npu.dtype, 0.0), UNIT_ROUNDOFF.get(new.bench.dtype, 0.0))
    # Of the stored parameter, and of the sums that sketches are.
    rounding = (4.0 * unit + 2e-7) * new.norm
    error = gradient.relative
    if moved == 0:
        # The bench skipped this step; the NPU must have done so too.
        skipped = apart <= SUSPICIOUS * rounding
        return None if skipped else Update(parameter, new, math.inf, 0.0, error, None)
    inherited = 4.0 * error if linear else 4.0 * math.sqrt(error)
    relative = apart / moved
    expected = inherited + rounding / moved + 1e-7
    return Update(parameter, new, relative, expected, error, _factor(ours, theirs, apart))


def _change(old: TensorRecord, new: TensorRecord) -> SketchVector | None:
    if old.sketch is None or new.sketch is None:
        return None
    return sketch_vector(new.sketch) - sketch_vector(old.sketch)


def _factor(ours: SketchVector, theirs: SketchVector, apart: float) -> float | None:
    factor, left = scale_between(ours, theirs)
    return factor if left < _AGREE * apart else None


def _differing_settings(call: MeasuredCall) -> tuple[Message, ...]:
    """`lr 0.1 against 0.2`, for every setting of a parameter group that the two sides do not share, but for those that
    only say how a step is computed."""
    found = []
    for pair in call.pair.arguments:
        if not pair.name.startswith("input.group."):
            continue
        npu, bench = pair.npu, pair.bench
        if isinstance(npu, ScalarRecord) and isinstance(bench, ScalarRecord) and npu.value != bench.value:
            label = pair.name.split(".", 3)[-1]
            if label not in _IMPLEMENTATION:
                found.append(say("evidence.group_setting", name=label, npu=str(npu.value), bench=str(bench.value)))
    return tuple(dict.fromkeys(found))
