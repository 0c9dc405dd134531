"""Experts that lie on different ranks, one behind the other.

Between an exchange that sends tokens to their experts and the one that sends them back, each rank runs experts of its
own: the same calls by name, of other weights.  On one rank all experts run, one after the other.  So what a rank runs
there is laid behind what the ranks before it run with which it exchanges, and numbers of calls go on.  Tokens may come
in another order than on one rank: of what has a row for each token, the sketch, which knows the order, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from acc_compare.combined import are_alike
from acc_compare.stages import numbered, renamed
from dump.format.names import BACKWARD, forward_name, parse
from dump.format.schema import Argument, CallRecord, Dump, TensorRecord, tensor_records

_EXCHANGE = "all_to_all"
_WEIGHTS = ("input.1", "input.weight", "input.2", "input.bias")


@dataclass(frozen=True, slots=True)
class Unrolled:
    """The dumps of one side by rank, each with all experts; by call the ranks whose expert it is, one of each of the
    `groups` of ranks that hold them all, and the name that these recorded it by; by parameter of experts, where
    optimizers have those of all, its ranks."""

    dumps: Mapping[int, Dump]
    ranks: Mapping[str, Sequence[int]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    owners: Mapping[str, Sequence[int]] = field(default_factory=dict)
    groups: Sequence[Sequence[int]] = ()

    def parts(self, name: str) -> list[CallRecord]:
        """A call as each group made it."""
        first = [group[0] for group in self.groups] or list(self.dumps)
        return [call for rank in first for call in self.dumps[rank].calls if call.name == name]


@dataclass(frozen=True, slots=True)
class _Run:
    """Calls in order, outside of experts or between two exchanges."""

    inside: bool
    calls: tuple[CallRecord, ...]


def unrolled(dumps: Mapping[int, Dump]) -> Unrolled:
    """The side as if every rank ran all experts of those that it exchanges tokens with; as it is where no rank has
    experts of its own."""
    runs = {rank: list(_runs(dump)) for rank, dump in dumps.items()}
    shapes = {tuple(run.inside for run in found) for found in runs.values()}
    if len(dumps) < 2 or len(shapes) != 1 or True not in next(iter(shapes)):
        return Unrolled(dumps)
    groups = [group for group in _groups(dumps) if _hold_other_weights(group, runs)]
    if not groups:
        return Unrolled(dumps)
    found = dict(dumps)
    ranks: dict[str, dict[int, None]] = {}
    recorded: dict[str, str] = {}
    for group in groups:
        for rank in group:
            found[rank], whose, names = _with_all(rank, group, runs)
            recorded = names | recorded
            for name, other in whose.items():
                ranks.setdefault(name, {})[other] = None
    held = {name: tuple(each) for name, each in ranks.items()}
    return Unrolled(found, held, recorded, groups=[tuple(group) for group in groups])


def _groups(dumps: Mapping[int, Dump]) -> list[dict[int, Dump]]:
    """The ranks by those that they exchange tokens with; each has all experts, which are replicas of another's."""
    found: dict[tuple[int, ...], dict[int, Dump]] = {}
    for rank, dump in dumps.items():
        met = {c.ranks for call in dump.calls if _exchanges_tokens(call) for c in call.collectives}
        (group,) = met if len(met) == 1 else (tuple(dumps),)
        found.setdefault(group if dumps.keys() >= set(group) else tuple(dumps), {})[rank] = dump
    whole = all(set(group) == members.keys() for group, members in found.items())
    return list(found.values()) if whole else [dict(dumps)]


def _exchanges_tokens(call: CallRecord) -> bool:
    exchanges = any(collective.kind.startswith(_EXCHANGE) for collective in call.collectives)
    return exchanges and any("float" in tensor.dtype for _, tensor in call.tensors())


def _runs(dump: Dump) -> Iterator[_Run]:
    inside = False
    calls: list[CallRecord] = []
    for call in dump.calls:
        if _exchanges_tokens(call):
            yield _Run(inside, tuple(calls))
            inside, calls = not inside, []
        calls.append(call)
    yield _Run(inside, tuple(calls))


def _hold_other_weights(dumps: Mapping[int, Dump], runs: Mapping[int, Sequence[_Run]]) -> bool:
    """Do calls between exchanges read weights of one shape that differ from rank to rank?  Keys and values of heads
    that were exchanged for a part of the sequence are trained too, but computed from tokens."""
    inside = [[call for run in runs[rank] if run.inside for call in run.calls] for rank in dumps]
    if len({len(calls) for calls in inside}) != 1:
        return True
    weights = [_weights(dump) for dump in dumps.values()]
    for calls in zip(*inside, strict=True):
        held = [
            {n: t for n, t in call.tensors() if n in _WEIGHTS and t.value in known}
            for call, known in zip(calls, weights, strict=True)
        ]
        for name in held[0]:
            same = [each[name] for each in held if name in each]
            if len(same) == len(held) and not are_alike(same) and len({each.shape for each in same}) == 1:
                return True
    return False


def _weights(dump: Dump) -> set[int | None]:
    """The values that are trained and that no call made but of such alone, as a slice or a cast of them is."""
    found: set[int | None] = set()
    made: set[int | None] = set()
    for call in dump.calls:
        read = list(tensor_records((*call.inputs, *call.parameters)))
        found.update(t.value for t in read if t.requires_grad and t.grad_fn is None and t.value not in made)
        wrote = {t.value for t in tensor_records((*call.outputs, *call.written))}
        if read and all(t.value in found for t in read):
            found |= wrote
        made |= wrote
    return found - {None}


def _with_all(
    rank: int, dumps: Mapping[int, Dump], runs: Mapping[int, Sequence[_Run]]
) -> tuple[Dump, dict[str, int], dict[str, str]]:
    ordered: list[tuple[int, CallRecord, bool]] = []
    for number, run in enumerate(runs[rank]):
        if not run.inside:
            ordered += [(rank, call, False) for call in run.calls]
            continue
        for other in dumps:
            calls = runs[other][number].calls
            tokens = _tokens(calls)
            ordered += [(other, _without_order(call, tokens), True) for call in calls]
    count: dict[str, int] = {}
    names: dict[tuple[int, str], str] = {}
    made: list[CallRecord] = []
    owners: dict[str, str | None] = {}
    ranks: dict[str, int] = {}
    recorded: dict[str, str] = {}
    for index, (whose, call, is_expert) in enumerate(ordered):
        if parse(call.name).direction == BACKWARD:
            forward = names.get((whose, forward_name(call.name)))
            if forward is None:
                continue
            name = str(replace(parse(forward), direction=BACKWARD))
        else:
            name = names[whose, call.name] = numbered(call.name, count)
        made.append(renamed(call, name, index, (whose, dumps[whose]), {}))
        owners[name] = dumps[whose].owners.get(call.name)
        recorded[name] = call.name
        if is_expert:
            ranks[name] = whose
    stacks = {new: dumps[whose].stacks[old] for (whose, old), new in names.items() if old in dumps[whose].stacks}
    return replace(dumps[rank], calls=tuple(made), owners=owners, stacks=stacks), ranks, recorded


def _tokens(calls: Sequence[CallRecord]) -> int:
    """How many rows the experts of a rank were given."""
    exchanged = next(iter(calls), None)
    results = list(tensor_records(exchanged.outputs)) if exchanged is not None else []
    return results[0].shape[0] if results and results[0].shape else -1


def _without_order(call: CallRecord, tokens: int) -> CallRecord:
    def told(argument: Argument) -> Argument:
        leaf = argument.leaf
        if not isinstance(leaf, TensorRecord) or leaf.shape[:1] != (tokens,):
            return argument
        return Argument(argument.name, msgspec.structs.replace(leaf, sketch=None, waves=None, md5=None))

    return call.mapped(told)
