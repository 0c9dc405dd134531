"""What a step leaves is what the next one finds.

Of a parameter, what a side finds otherwise than its optimizer left it was changed since.  That asks each side for
itself, and no noise comes into it: parameters that nobody touches are the same to the bit.  What both sides change
between steps, by something that nobody records, is no matter of this.

A step ends with its optimizer, and much is read behind that: outputs for a measure of success, a state for the next
batch.  What differed in the step before was judged there, and is the same numbers on either side still.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from acc_compare.judge.origins import INPUT_NOISE, SIDES, UNSEEN, Context, Leavings, Left
from acc_compare.measured.calls import MeasuredArgument
from acc_compare.measured.errors import tensor_error
from acc_compare.model import Row
from dump.format.schema import ScalarRecord, TensorRecord

_WROTE, _OWN = ".output.0.", ".input.own."

_NUMBERS = ("dtype", "shape", "md5", "max", "min", "mean", "norm", "nan", "inf", "sketch")


def left_by(rows: Sequence[Row]) -> Leavings:
    """What the calls of one step left to the next."""
    others = ((row.npu, row.bench) for row in rows if not row.of_optimizer)
    tensors = ((a, b) for a, b in others if isinstance(a, TensorRecord) and isinstance(b, TensorRecord))
    return Leavings(_parameters(rows), frozenset(mark_of(a, b) for a, b in tensors if _numbers(a) != _numbers(b)))


def was_held(argument: MeasuredArgument, context: Context) -> bool:
    """Did the step before hold these numbers on the one side where it held those on the other?"""
    held = context.left.held
    return bool(held) and not context.other_world and mark_of(argument.npu, argument.bench) in held


def mark_of(npu: TensorRecord, bench: TensorRecord) -> bytes:
    """The same for a pair of tensors with the same numbers, in any process."""
    return hashlib.blake2b(repr((_numbers(npu), _numbers(bench))).encode(), digest_size=12).digest()


def _numbers(leaf: TensorRecord) -> tuple[object, ...]:
    return tuple(getattr(leaf, name) for name in _NUMBERS)


def _parameters(rows: Sequence[Row]) -> dict[str, Left]:
    """By name the parameters as the optimizers of one step left them; those that other ranks update come later."""
    found = {}
    every = [row for row in rows if row.of_optimizer]
    named = [(row.npu_name.partition(_OWN), row.npu) for row in every]
    own = {(call, leaf.value) for (call, told, _), leaf in named if told and isinstance(leaf, ScalarRecord)}
    shared = {call for call, _ in own}
    for row in every:
        call, wrote, name = row.npu_name.partition(_WROTE)
        is_here = bool(wrote) and (call not in shared or (call, name) in own)
        if is_here and isinstance(row.npu, TensorRecord) and isinstance(row.bench, TensorRecord):
            found[name] = Left(call, row.npu, row.bench)
    return found


def changed_since(argument: MeasuredArgument, context: Context) -> tuple[str, Literal["", "npu", "bench"]]:
    """The optimizer that left this parameter in the step before, and the side that alone finds another value; "" where
    there is none."""
    left = context.left.parameters.get(context.npu.updated(argument.npu)) if context.previous == "judged" else None
    if left is None or context.other_world:
        return "", ""
    moved = []
    for ours, theirs in ((left.npu, argument.npu), (left.bench, argument.bench)):
        error = tensor_error(ours, theirs) if ours.dtype == theirs.dtype else None
        if error is None:
            return "", ""
        moved.append(error.relative)
    for side, here, there in zip(SIDES, moved, reversed(moved), strict=True):
        if here > UNSEEN * INPUT_NOISE and there <= INPUT_NOISE:
            return left.optimizer, side
    return "", ""
