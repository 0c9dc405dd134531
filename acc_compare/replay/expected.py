"""What error the dtype of a call explains, where what it read is known exactly.

The prediction is that of the comparison (`judge.predicted`), of which the fresh part alone is left: rounding of the
result, of sums in the type that accumulates them, and of the operands of a product where a device lowers them.  It is a
typical size, so `TIMES` of it is allowed, and for one element `PEAK` times that, since the largest of many roundings is
some times their root mean square.  Two kinds of call show more and are right: those that are ill-conditioned (an
inverse, a difference of nearly equal numbers), and those that round between their parts.  So nothing is called wrong
before the reference has been made again with its inputs moved by a rounding: what moves as far is explained too
(N. Higham, Accuracy and Stability of Numerical Algorithms, 2002, 1.5: a stable algorithm's error is the condition
number times a few roundings).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from acc_compare import operators
from acc_compare.judge import predicted
from acc_compare.judge.output_case import ACCUMULATED
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.model import PairedCall
from dump.format.names import parse
from dump.format.schema import CallRecord, NestedCall, Node, TensorRecord

TIMES = 6.0
PEAK = 5.0
MOVED = 8.0
"""How many times the reference's own move by a rounding of its inputs is explained."""
MOVED_PEAK = 12.0
"""The same for a single element, whose largest move is known from two draws alone."""

_LEAST = 4.0
"""Roundings that any result may be off by."""

_AMPLIFYING = ("exponential", "normalisation", "decomposition")
"""Classes whose prediction amplifies by what norms of their inputs say, which a mask of -1e9 rules: how far these move
is measured."""

_LOWERED = {"tf32": 2.0**-11, "hf32": 2.0**-11, "bf16": 2.0**-8}
_PRODUCTS = ("float32_matmul", "float32_conv")


def flat(prefix: str, node: Node) -> Iterator[tuple[str, TensorRecord]]:
    """The tensors of an argument with their places."""
    if isinstance(node, TensorRecord):
        yield prefix, node
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from flat(f"{prefix}.{index}", item)
    elif isinstance(node, dict):
        for key, item in node.items():
            yield from flat(f"{prefix}.{key}", item)


def read_by(call: NestedCall) -> tuple[tuple[str, TensorRecord], ...]:
    """The tensors that a call read, by place."""
    positional = [pair for index, node in enumerate(call.args) for pair in flat(f"input.{index}", node)]
    named = [pair for name, node in call.kwargs.items() for pair in flat(f"input.{name}", node)]
    return (*positional, *named)


def written_by(call: NestedCall) -> tuple[tuple[str, TensorRecord], ...]:
    """The tensors that a call wrote, by place."""
    outputs = [pair for index, node in enumerate(call.outputs) for pair in flat(f"output.{index}", node)]
    changed = [pair for place, node in call.written.items() for pair in flat(f"written.{place}", node)]
    return (*outputs, *changed)


def lowered_by(numerics: Mapping[str, object] | None, device: str) -> float:
    """Unit roundoff of the type that `device` rounds the operands of float32 products to; 0 where it does not."""
    settings = numerics or {}
    found = (settings.get(f"{kind}.{device}") for kind in _PRODUCTS)
    return max((_LOWERED.get(value, 0.0) for value in found if isinstance(value, str)), default=0.0)


def fresh(
    call: NestedCall, forward: NestedCall | None, place: str, record: TensorRecord, norm: float, *, lowered: float
) -> float:
    """The typical error of one result, relative to its norm, from exact inputs.  `forward` is given for a backward
    call, `norm` is the reference's."""
    least = operators.roundoff([record.dtype, (forward or call).autocast])
    if operators.operator_class(parse(call.name).api) in _AMPLIFYING:
        return max(least, _summed(call, record, norm, least)) if forward is not None else least
    measured = _measured(call)
    out = _argument(place, record, norm)
    before = _measured(forward) if forward is not None else None
    autocast = operators.UNIT_ROUNDOFF.get((forward or call).autocast, 0.0)
    found = predicted.predict(measured, out, before, autocast=autocast, lowered=lowered)
    return max(least, found.fresh) if found is not None else least


def is_one_of_several(call: NestedCall, forward: NestedCall | None, place: str, record: TensorRecord) -> bool:
    """Is another result as right: vectors with another sign, values in another order, gradients that come through
    them?  `forward` is given for a backward call."""
    if forward is None:
        return predicted.is_one_of_several(_measured(call), _argument(place, record, 0.0))
    made = _measured(forward)
    came = (_argument(read, gradient, 0.0) for read, gradient in read_by(call) if gradient.norm != 0.0)
    return any(predicted.is_one_of_several(made, gradient) for gradient in came)


def _summed(call: NestedCall, record: TensorRecord, norm: float, unit: float) -> float:
    """The typical error of the gradient of a weight that many elements share: of a sum of so many terms, in the type
    that accumulates them, whose partial sums round too.  What moves the terms does not show it."""
    read = [tensor for _, tensor in read_by(call) if operators.is_floating(tensor.dtype)]
    gradient = max(read, key=lambda tensor: tensor.numel, default=record)
    terms = gradient.numel / max(1, record.numel)
    if terms <= 1.0 or norm <= 0.0:
        return 0.0
    return min(unit, ACCUMULATED) * math.sqrt(terms) * max(1.0, _norm(gradient) / norm)


def limit(typical: float) -> float:
    """The relative error beyond which a result is looked at again."""
    return TIMES * typical


def moved_by(call: NestedCall, place: str, dtype: str, *, lowered: float, is_backward: bool = False) -> float:
    """By how much of themselves the inputs of a forward call are moved to see what a rounding of them does.

    What computes in one piece rounds inside to float32 or finer; what is put together of several calls rounds between
    them, as autograd's formulas of gradients do and what updates a number that it was given (a running mean), and
    autocast and lowered products round what they read.
    """
    api = parse(call.name).api
    kind = operators.operator_class(api)
    unit = max(operators.roundoff([dtype, call.autocast]), lowered if kind == "contraction" else 0.0)
    in_one_piece = (
        kind != "general"
        and not is_backward
        and not place.startswith("written.")
        and not operators.has(api, "compound")
        and not call.autocast
        and not (lowered and kind == "contraction")
    )
    return min(unit, ACCUMULATED) if in_one_piece else unit


def _measured(call: NestedCall) -> MeasuredCall:
    record = CallRecord(call.name, 0)
    read = tuple(_argument(place, tensor, _norm(tensor)) for place, tensor in read_by(call))
    wrote = tuple(_argument(place, tensor, _norm(tensor)) for place, tensor in written_by(call))
    return MeasuredCall(PairedCall(record, record, ()), parse(call.name), 0, read, wrote)


def _argument(place: str, record: TensorRecord, norm: float) -> MeasuredArgument:
    """A tensor that is equal on both sides."""
    count = max(1, record.numel)
    return MeasuredArgument(place, record, record, None, operators.is_floating(record.dtype), count, norm, 0.0, 0.0)


def _norm(record: TensorRecord) -> float:
    norm = record.norm
    return float(norm) if norm is not None and norm == norm and abs(norm) != float("inf") else 0.0
