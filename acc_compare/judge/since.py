"""What a step leaves is what the next one finds.

Of a parameter, what a side finds otherwise than its optimizer left it was changed since.  That asks each side for
itself, and no noise comes into it: parameters that nobody touches are the same to the bit.  What both sides change
between steps, by something that nobody records, is no matter of this.

A step ends with its optimizer, and much is read behind that: outputs for a measure of success, a state for the next
batch.  What differed in the step before was judged there, and is the same numbers on either side still.  What a call of
one side alone made there was read by nobody yet.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Hashable, Iterator, Sequence
from itertools import groupby
from typing import Literal, TypeAlias

from acc_compare.judge.origins import INPUT_NOISE, SIDES, UNSEEN, Context, Leavings, Left, MadeAlone
from acc_compare.measured.calls import MeasuredArgument
from acc_compare.measured.errors import tensor_error
from acc_compare.model import Row
from acc_compare.row_names import split_names
from dump.format.schema import ScalarRecord, TensorRecord

Side: TypeAlias = Literal["npu", "bench"]

_WROTE, _OWN = ".output.0.", ".input.own."
_RESULTS = ("output", "written")

_NUMBERS = ("dtype", "shape", "md5", "max", "min", "mean", "norm", "nan", "inf", "sketch")


def left_by(rows: Sequence[Row]) -> Leavings:
    """What the calls of one step left to the next."""
    others = ((row.npu, row.bench) for row in rows if not row.of_optimizer)
    tensors = ((a, b) for a, b in others if isinstance(a, TensorRecord) and isinstance(b, TensorRecord))
    held = frozenset(mark_of(a, b) for a, b in tensors if _numbers(a) != _numbers(b))
    return Leavings(_parameters(rows), held, {key: made for side in SIDES for key, made in _made_alone(rows, side)})


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


def _made_alone(rows: Sequence[Row], side: Side) -> Iterator[tuple[Hashable, MadeAlone]]:
    """By side and content what calls made that ran on `side` alone, where it is known how far off what they read was.
    Optimizers, whose steps part parameters further than that, are judged elsewhere."""
    ours, theirs = (f"{each}_name" for each in (SIDES if side == "npu" else reversed(SIDES)))
    lone = [row for row in rows if getattr(row, ours) and not getattr(row, theirs) and not row.of_optimizer]
    if not lone:
        return
    tensors = [
        (call, argument.startswith(_RESULTS), leaf, row)
        for (call, argument), row in zip(split_names(getattr(row, ours) for row in lone), lone, strict=True)
        if isinstance(leaf := getattr(row, side), TensorRecord)
    ]
    errors = _errors_of({leaf.value for _, is_result, leaf, _ in tensors if not is_result}, rows, side)
    for call, group in groupby(tensors, key=lambda each: each[0]):
        parts = list(group)
        read = [errors.get(leaf.value, math.inf) for _, is_result, leaf, _ in parts if not is_result]
        worst = max(read, default=0.0)
        for _, is_result, leaf, row in parts:
            if is_result and math.isfinite(worst):
                errors.setdefault(leaf.value, worst)
                yield (side, _numbers(leaf)), MadeAlone(call, row.module, tuple(row.stack.splitlines()), worst)


def _errors_of(values: Collection[int | None], rows: Sequence[Row], side: Side) -> dict[int | None, float]:
    """How far these values of one side are from the other's, where it has them."""
    found: dict[int | None, float] = {}
    for row in rows:
        npu, bench = row.npu, row.bench
        if not (isinstance(npu, TensorRecord) and isinstance(bench, TensorRecord)):
            continue
        value = (npu if side == "npu" else bench).value
        error = tensor_error(npu, bench) if value is not None and value in values else None
        if error is not None:
            found[value] = max(found.get(value, 0.0), error.relative)
    return found


def made_before(argument: MeasuredArgument, context: Context) -> tuple[MadeAlone, Side] | None:
    """The call of one side alone that made this value in the step before, where it differs by more than what went into
    it; None where there is none."""
    if not context.left.alone or context.previous not in ("judged", "unjudged") or context.other_world:
        return None
    for side, record in zip(SIDES, (argument.npu, argument.bench), strict=True):
        made = context.left.alone.get((side, _numbers(record)))
        if made is not None and (argument.error is None or argument.relative > UNSEEN * max(made.read, INPUT_NOISE)):
            return made, side
    return None


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
