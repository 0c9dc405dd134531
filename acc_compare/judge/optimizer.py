"""Optimizer steps: gradients and old parameters in, new parameters out.

What counts is the update, new minus old.  Sketches are linear, so the update's error is seen in statistics mode too:
sketch(new N) - sketch(old N) - sketch(new B) + sketch(old B).  An update may be as uncertain as its gradient; an
optimizer that divides by the gradient's own size (Adam) turns the noise of small gradients into whole steps, which
goes with the square root of the gradient's relative error: an element whose sign is uncertain moves by twice its step,
and the share of such elements is about that error.  Digests say only whether all went in alike and came out alike.

Noise turns an update, it does not scale it.  With r = <dN, dB> / |dB|^2, an update that was disturbed by noise of its
own on both sides has |dN| = |dB| and so r = 1 - |dN - dB|^2 / (2 |dB|^2); where the noise is on one side only, r = 1.
A wrong constant, a lost update or a part that was not updated leave this range, by more than the disturbance left of
dN - r dB makes r uncertain: over the square root of the sketch's degrees of freedom.  That holds for one parameter by
itself, however uncertain its gradient, and for all parameters taken together.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from acc_compare.judge.dataflow import Flow
from acc_compare.judge.evidence import some
from acc_compare.judge.noise import FALSE_ACCUSATIONS
from acc_compare.judge.origins import SUSPICIOUS, largest_error, ratio
from acc_compare.judge.residuals import student
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.messages import Message, say
from acc_compare.metrics.sketches import SketchVector, scale_between, sketch_vector
from acc_compare.operators import UNIT_ROUNDOFF
from dump.format.schema import SKETCH_BUCKETS, ScalarRecord, TensorRecord

_GRADIENT = "input.grad."
_LINEAR = ("SGD",)
_IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable")
_UNCERTAIN = 0.1
_AGREE = 0.05
_FEWEST = 7
"""Degrees of freedom below which the quantile of Student's t is too large to say anything, and not known well."""

_LEAST_SCALED = 0.002
"""A step that is longer or shorter by less than this is not told from the rounding of eps, of bias corrections and of
sums that devices order otherwise."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """By how much an update is longer (above 0) or shorter than noise leaves it, with that number's own uncertainty
    (one standard deviation) and its degrees of freedom; `times` is r itself, 0 of a lost update."""

    times: float
    beyond: float
    uncertain: float
    freedom: int


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
    scaling: Scaling | None = None


@dataclass(frozen=True, slots=True)
class OptimizerFault:
    """An optimizer whose updates part although its gradients agree; `settings` names those that differ, `scaled` is
    set where their length tells and not their distance."""

    call: MeasuredCall
    worst: Update
    suspicious: int
    judged: int
    settings: tuple[Message, ...]
    scaled: Scaling | None = None


def judge_optimizer(call: MeasuredCall, odd: Collection[tuple[str, str]] = ()) -> OptimizerFault | None:
    """The fault of one optimizer step, None where its updates are explained; `odd` are steps and parameters of which
    one rank alone has another update, from the same gradient.

    A wrong constant moves every parameter's update; the size of one parameter's error alone may be chance, its length
    is not.  So most of the updates that can be judged must be off, or one must be scaled, or all together must be, or
    the settings themselves must differ, or one must be odd.  Where settings do, noise in the gradient is no longer
    given the benefit of the doubt: another beta moves a second step by no more than uncertain signs may.
    """
    settings = differing_settings_of(call)
    linear = bool(settings) or any(name in call.name.api for name in _LINEAR)
    updates = [update for update in _updates(call, linear=linear) if update.gradient_error < _UNCERTAIN]
    if not updates:
        return None
    suspicious = [update for update in updates if update.relative > SUSPICIOUS * update.expected]
    alone = [update for update in suspicious if (call.full_name, update.parameter) in odd]
    needed = 1 if settings or alone else max(1, math.ceil(len(updates) / 2))
    if len(suspicious) < needed:
        return _scaled(call, updates, settings)
    worst = max(alone or suspicious, key=lambda update: ratio(update.relative, update.expected))
    return OptimizerFault(call, worst, len(suspicious), len(updates), settings)


def without_closures(
    faults: Sequence[OptimizerFault], calls: Sequence[MeasuredCall], flow: Flow
) -> list[OptimizerFault]:
    """Those of optimizers that did not run their closure again: where anything differed before, the gradients of later
    closures do, and an optimizer's record has those of the first alone."""
    if not faults:
        return []
    again = {
        flow.stepping(argument.npu, call.pair.npu.index)
        for call in calls
        for argument in call.read
        if call.pair.npu is not None
    }
    return [fault for fault in faults if fault.call.full_name not in again]


def updated_alone(calls: Sequence[MeasuredCall]) -> tuple[Message, ...]:
    """Parameters with a gradient on one side alone, which the other side's step leaves as they are; where both sides
    have such, they go by other names and nothing is said."""
    alone: dict[str, dict[str, str]] = {"npu": {}, "bench": {}}
    for call in calls:
        for pair in call.pair.arguments:
            name = pair.name or pair.bench_name
            side, leaf = ("npu", pair.npu) if pair.bench is None else ("bench", pair.bench)
            is_alone = (pair.npu is None) != (pair.bench is None) and name.startswith(_GRADIENT)
            if is_alone and isinstance(leaf, TensorRecord) and leaf.norm != 0:
                alone[side].setdefault(name.removeprefix(_GRADIENT), call.full_name)
    found = [(side, names) for side, names in alone.items() if names]
    if len(found) != 1:
        return ()
    side, names = found[0]
    first = next(iter(names.values()))
    return (say("note.updated_alone", call=first, side=say(f"name.{side}"), names=some(list(names))),)


def _scaled(call: MeasuredCall, updates: Sequence[Update], settings: tuple[Message, ...]) -> OptimizerFault | None:
    """The fault of updates of another length, one by itself or all taken together."""
    known = {update: update.scaling for update in updates if update.scaling is not None}
    if not known:
        return None
    rate = 1.0 - FALSE_ACCUSATIONS / (2 * len(known) + 2)
    alone = [update for update, found in known.items() if _is_scaled(found, rate)]
    if alone:
        worst = max(alone, key=lambda update: abs(known[update].beyond))
        return OptimizerFault(call, worst, len(alone), len(updates), settings, known[worst])
    pooled = _pooled(list(known.values())) if len(known) > _FEWEST else None
    if pooled is not None and _is_scaled(pooled, rate):
        worst = max(known, key=lambda update: ratio(abs(known[update].beyond), known[update].uncertain))
        return OptimizerFault(call, worst, len(known), len(updates), settings, pooled)
    return None


def _is_scaled(found: Scaling, rate: float) -> bool:
    limit = student(rate, found.freedom) * found.uncertain
    return abs(found.beyond) > max(limit, _LEAST_SCALED)


def _pooled(found: Sequence[Scaling]) -> Scaling:
    """The mean, each weighed by its certainty; as uncertain as the parameters' own spread where that is the larger."""
    weights = [1.0 / scaling.uncertain**2 for scaling in found]
    whole = sum(weights)
    mean = sum(weight * scaling.beyond for weight, scaling in zip(weights, found, strict=True)) / whole
    spread = sum(weight * (scaling.beyond - mean) ** 2 for weight, scaling in zip(weights, found, strict=True))
    uncertain = math.sqrt(max(1.0, spread / (len(found) - 1)) / whole)
    return Scaling(1.0 + mean, mean, uncertain, len(found) - 1)


def _updates(call: MeasuredCall, *, linear: bool) -> list[Update]:
    read = {argument.name: argument for argument in call.read}
    own, remembers = _own(call), _remembers(call)
    found = []
    for argument in call.wrote:
        parameter = argument.name.removeprefix("output.0.")
        if own and parameter not in own:
            continue  # another rank made it, and is judged for it
        old, gradient = read.get(f"input.param.{parameter}"), read.get(f"input.grad.{parameter}")
        if old is None or gradient is None or not argument.is_floating:
            continue
        update = _update(parameter, old, gradient, argument, linear=linear, remembers=remembers)
        if update is not None:
            found.append(update)
    return found


def _remembers(call: MeasuredCall) -> bool:
    """Does the step go along earlier gradients too, as long as those were?"""
    return any(
        pair.name.rpartition(".")[2] == "momentum" and isinstance(pair.npu, ScalarRecord) and bool(pair.npu.value)
        for pair in call.pair.arguments
    )


def _own(call: MeasuredCall) -> frozenset[object]:
    """The parameters that this rank updates itself, where ranks share them out; none where it is not told."""
    return frozenset(
        pair.npu.value
        for pair in call.pair.arguments
        if pair.name.startswith("input.own.") and isinstance(pair.npu, ScalarRecord)
    )


def _update(
    parameter: str,
    old: MeasuredArgument,
    gradient: MeasuredArgument,
    new: MeasuredArgument,
    *,
    linear: bool,
    remembers: bool,
) -> Update | None:
    if new.error is None or old.error is None or gradient.error is None:
        return None  # of what was not measured nothing follows
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
    scaled = gradient.relative if remembers else _gradient_scaled(gradient)
    scaling = _scaling(ours, theirs, scaled, rounding / moved + 1e-6, new.count)
    return Update(parameter, new, relative, expected, error, _factor(ours, theirs, apart), scaling)


def _scaling(ours: SketchVector, theirs: SketchVector, scaled: float, floor: float, count: int) -> Scaling | None:
    """How far the update's length is from what noise leaves it, gradients being longer or shorter by `scaled`; None
    where too few numbers tell."""
    freedom = min(SKETCH_BUCKETS, count) - 1
    if freedom < _FEWEST:
        return None
    factor, left = scale_between(ours, theirs)
    moved = float(np.linalg.norm(theirs))
    relative = float(np.linalg.norm(ours - theirs)) / moved
    lowest = max(0.0, 1.0 - relative**2 / 2)
    beyond = factor - 1.0 if factor > 1.0 else min(0.0, factor - lowest)
    beyond = math.copysign(max(0.0, abs(beyond) - scaled), beyond)
    return Scaling(factor, beyond, math.hypot(left / moved / math.sqrt(freedom), floor), freedom)


def _gradient_scaled(gradient: MeasuredArgument) -> float:
    """By how much the gradient itself is longer or shorter, which the update inherits at most."""
    if gradient.npu.sketch is None or gradient.bench.sketch is None:
        return gradient.relative
    ours, theirs = sketch_vector(gradient.npu.sketch), sketch_vector(gradient.bench.sketch)
    return abs(scale_between(ours, theirs)[0] - 1.0) if np.any(theirs) else gradient.relative


def _change(old: TensorRecord, new: TensorRecord) -> SketchVector | None:
    if old.sketch is None or new.sketch is None:
        return None
    return sketch_vector(new.sketch) - sketch_vector(old.sketch)


def _factor(ours: SketchVector, theirs: SketchVector, apart: float) -> float | None:
    factor, left = scale_between(ours, theirs)
    return factor if left < _AGREE * apart else None


def differing_settings_of(call: MeasuredCall) -> tuple[Message, ...]:
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


def unheld(calls: Sequence[MeasuredCall]) -> float:
    """How far the parameters are off that an optimizer updates and that no call read."""
    held = {a.npu.value for call in calls if not call.is_optimizer for a in call.read}
    updated = (a for call in calls if call.is_optimizer for a in call.read if a.name.startswith("input.param."))
    return largest_error([a for a in updated if a.npu.value is not None and a.npu.value not in held])
