"""Which argument of one call answers to which of the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from acc_compare.align.paths import plain_path
from acc_compare.model import PairedArgument
from dump.format import names
from dump.format.schema import Argument, CallRecord, TensorRecord


def pair_arguments(npu: CallRecord | None, bench: CallRecord | None) -> tuple[PairedArgument, ...]:
    """All arguments of both calls, by name; gradients of inputs also by shape.

    Tools order the gradients that a backward call returns in different ways (by the call's arguments, or by the
    autograd node's), so where shapes at equal places disagree they are matched by shape instead.
    """
    return (*_by_name(_read(npu), _read(bench)), *_outputs(npu, bench))


def _read(call: CallRecord | None) -> Sequence[Argument]:
    return () if call is None else (*call.inputs, *call.parameters)


def _wrote(call: CallRecord | None) -> Sequence[Argument]:
    return () if call is None else (*call.outputs, *call.written)


def _by_name(npu: Iterable[Argument], bench: Iterable[Argument]) -> list[PairedArgument]:
    """Pairs of equal names; of what is left, of names that are equal but for what wrappers of a model put in."""
    theirs = {argument.name: argument.leaf for argument in bench}
    ours = list(npu)
    plain: dict[str, str] = {}
    if any(argument.name not in theirs for argument in ours):
        taken = {argument.name for argument in ours}
        plain = {plain_path(name): name for name in theirs if name not in taken}
    pairs = []
    for argument in ours:
        name = argument.name if argument.name in theirs else plain.pop(plain_path(argument.name), "")
        pairs.append(PairedArgument(argument.name, argument.leaf, theirs.pop(name, None), name))
    pairs += [PairedArgument("", None, leaf, name) for name, leaf in theirs.items()]
    return pairs


def _outputs(npu: CallRecord | None, bench: CallRecord | None) -> list[PairedArgument]:
    ours, theirs = _wrote(npu), _wrote(bench)
    if npu is not None and bench is not None and names.parse(npu.name).direction == names.BACKWARD:
        matched = _by_shape(ours, theirs)
        if matched is not None:
            return matched
    return _by_name(ours, theirs)


def _by_shape(npu: Sequence[Argument], bench: Sequence[Argument]) -> list[PairedArgument] | None:
    """A match of gradients by shape; None where the places agree already, or shapes cannot settle it."""
    ours = [a for a in npu if isinstance(a.leaf, TensorRecord)]
    theirs = [a for a in bench if isinstance(a.leaf, TensorRecord)]
    places = {a.name: a.leaf.shape for a in theirs if isinstance(a.leaf, TensorRecord)}
    if all(places.get(a.name) == a.leaf.shape for a in ours if isinstance(a.leaf, TensorRecord)):
        return None
    left = list(theirs)
    pairs: list[PairedArgument] = []
    for argument in ours:
        assert isinstance(argument.leaf, TensorRecord)
        shape = argument.leaf.shape
        same = [a for a in left if isinstance(a.leaf, TensorRecord) and shape == a.leaf.shape]
        if len(same) == 1:
            left.remove(same[0])
            pairs.append(PairedArgument(argument.name, argument.leaf, same[0].leaf, same[0].name))
        else:
            pairs.append(PairedArgument(argument.name, argument.leaf, None))
    if not any(pair.bench is not None for pair in pairs):
        return None
    pairs += [PairedArgument("", None, argument.leaf, argument.name) for argument in left]
    return pairs + _by_name(_others(npu), _others(bench))


def _others(arguments: Sequence[Argument]) -> list[Argument]:
    return [argument for argument in arguments if not isinstance(argument.leaf, TensorRecord)]
