"""What ranks handed on to others, where modules alone were recorded and no message says so.

At level L0 a stage of a pipeline reads a trained activation that nobody on its rank made, and another rank made the
same numbers: that one is before it.  Gradients come back the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping

from dump.format.names import BACKWARD, FORWARD, parse
from dump.format.schema import CallRecord, Dump, TensorRecord, tensor_records

_NUMBERS = ("shape", "dtype", "md5", "max", "min", "mean", "norm", "sketch")


def handed_on(dumps: Mapping[int, Dump]) -> dict[tuple[int, int], tuple[int, int]]:
    """By rank and value that nobody there made, the first rank that made the same numbers, and its value; nothing where
    more than modules was recorded."""
    if len(dumps) < 2 or any(dump.header.level != "L0" for dump in dumps.values()):
        return {}
    made: dict[Hashable, list[tuple[int, int]]] = {}
    for rank, dump in dumps.items():
        for call in dump.calls:
            for leaf in tensor_records(call.outputs) if parse(call.name).is_module else ():
                if leaf.value is not None and _tells(leaf):
                    made.setdefault(_numbers(leaf, call), []).append((rank, leaf.value))
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for rank, dump in dumps.items():
        for call, leaf in _unmade(dump):
            others = [place for place in made.get(_numbers(leaf, call), ()) if place[0] != rank]
            if others and leaf.value is not None:
                found.setdefault((rank, leaf.value), others[0])
    return found


def readers(dump: Dump, values: Collection[int]) -> frozenset[str]:
    """The calls forward that read any of these values first."""
    forward = ((call, leaf) for call, leaf in _unmade(dump) if parse(call.name).direction == FORWARD)
    return frozenset(call.name for call, leaf in forward if leaf.value in values)


def _unmade(dump: Dump) -> Iterator[tuple[CallRecord, TensorRecord]]:
    """What modules read of activations and their gradients that no call before them made, where they first do."""
    seen: set[int | None] = set()
    for call in dump.calls:
        known = parse(call.name)
        if not known.is_module:
            continue
        for leaf in tensor_records(call.inputs) if known.direction in (FORWARD, BACKWARD) else ():
            is_activation = known.direction == BACKWARD or leaf.requires_grad
            if is_activation and leaf.value is not None and leaf.value not in seen:
                yield call, leaf
        seen |= {leaf.value for leaf in tensor_records((*call.inputs, *call.outputs, *call.written))}


def _numbers(leaf: TensorRecord, call: CallRecord) -> Hashable:
    return parse(call.name).direction, *(getattr(leaf, name) for name in _NUMBERS)


def _tells(leaf: TensorRecord) -> bool:
    return leaf.md5 is not None or bool(leaf.norm)
