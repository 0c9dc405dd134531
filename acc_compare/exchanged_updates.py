"""What optimizers did to experts between which tokens are exchanged: a step of the parameters of all.

A parameter is known by the first call that reads it, which both sides number alike once experts lie one behind the
other, and goes by the name that the bench has for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from acc_compare.expert_updates import Held, are_updated_alike, with_experts, with_names, without
from acc_compare.experts import Unrolled
from acc_compare.stages import apart_by
from dump.format.schema import Dump, TensorRecord

_OPTIMIZER, _PARAMETER = "Optimizer.", "input.param."

Reader: TypeAlias = "tuple[str, str]"
"""A call, and its argument."""
Sides: TypeAlias = "tuple[Mapping[int, Dump], Mapping[int, Dump]]"


def with_updates(ours: Unrolled, theirs: Unrolled, recorded: Sides) -> tuple[Unrolled, Unrolled]:
    """Both sides, whose ranks have `recorded` these, with what optimizers did to the experts of all ranks; as they are
    where the gradients of experts are larger on one by a number of ranks, or nothing is known."""
    known = [_parameters(*each) for each in zip((ours, theirs), recorded, strict=True)]
    experts = [{reader for named in each.values() for _, reader in named.values()} for each in known]
    of_experts = {r for r in experts[0] & experts[1] if r[0] in ours.ranks or r[0] in theirs.ranks}
    names = _names(known[1], of_experts)
    held = [
        {
            rank: (dumps[rank], {value: names[reader] for value, (_, reader) in own.items() if reader in names})
            for rank, own in each.items()
        }
        for each, dumps in zip(known, recorded, strict=True)
    ]
    if not names or not are_updated_alike(held[0], held[1]):
        return ours, theirs
    return _updated(ours, held[0]), _updated(theirs, held[1])


def _parameters(side: Unrolled, recorded: Mapping[int, Dump]) -> dict[int, dict[int, tuple[str, Reader]]]:
    """By rank and value the parameters that its optimizers update, with their names and the first calls that read
    them."""
    found = {}
    for rank, dump in side.dumps.items():
        readers: dict[int, Reader] = {}
        for call in dump.calls:
            for name, leaf in call.tensors() if not call.name.startswith(_OPTIMIZER) else ():
                if leaf.value is not None and leaf.requires_grad:
                    readers.setdefault(leaf.value, (call.name, name))
        shift = apart_by(rank) if _is_unrolled(side, rank) else 0
        found[rank] = {
            value: (name, readers[value + shift])
            for name, value in _updates(recorded[rank])
            if value + shift in readers
        }
    return found


def _is_unrolled(side: Unrolled, rank: int) -> bool:
    return any(rank in group for group in side.groups)


def _updates(dump: Dump) -> Iterator[tuple[str, int]]:
    for call in dump.calls:
        for argument in call.inputs if call.name.startswith(_OPTIMIZER) else ():
            if argument.name.startswith(_PARAMETER) and isinstance(argument.leaf, TensorRecord):
                yield argument.name.removeprefix(_PARAMETER), argument.leaf.value or 0


def _names(known: Mapping[int, Mapping[int, tuple[str, Reader]]], experts: Collection[Reader]) -> dict[Reader, str]:
    """The parameters of experts by the name that one side has for each, numbered where several have one."""
    found: dict[Reader, str] = {}
    for own in known.values():
        found = {reader: name for name, reader in own.values() if reader in experts} | found
    count: Counter[str] = Counter()
    for reader, name in found.items():
        found[reader] = f"{name}@{count[name]}" if count[name] else name
        count[name] += 1
    return found


def _updated(side: Unrolled, held: Held) -> Unrolled:
    dumps = {}
    owners: dict[str, dict[int, None]] = defaultdict(dict)
    for rank, dump in side.dumps.items():
        group = next((each for each in side.groups if rank in each), None)
        own = held[rank][1]
        if group is None:
            calls = tuple(with_names(call, own) for call in dump.calls)
        else:
            shifted = {value + apart_by(rank): name for value, name in own.items()}
            members = {each: held[each] for each in group}
            calls = tuple(with_experts(without(call, shifted), members) for call in dump.calls)
        dumps[rank] = replace(dump, calls=calls)
        for name in own.values():
            owners[name][rank] = None
    return replace(side, dumps=dumps, owners={name: tuple(ranks) for name, ranks in owners.items()})
