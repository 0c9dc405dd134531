"""The stages of a pipeline as one model, each micro-batch for itself.

A rank of a pipeline holds some layers, and runs them for one micro-batch after the other.  Its calls are parted by
micro-batch, by the number of the module's call that they ran in, and those of all stages are laid one behind the other,
forward and then backward: then what each micro-batch made can be put together as parts of a batch that was dealt out,
and compared with a model that lies on one rank.  Which stage is behind which, messages tell: the first one sends
before anything comes.  Numbers of calls go on from stage to stage; what a stage does for itself, its optimizer too, is
left out but for the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import msgspec

from acc_compare.assembled import piece
from acc_compare.handed_on import handed_on, readers
from acc_compare.micro_batches import MicroBatch, is_backward, parted
from acc_compare.wholes import Mesh, meshes_of
from dump.format.names import FORWARD, CallName, forward_name, parse
from dump.format.schema import Argument, CallRecord, Dump, TensorRecord, tensor_records

_SEND, _RECEIVE = "send", "recv"
_SHARDED = "FSDP"
_OPTIMIZER, _PARAMETER = "Optimizer.", "input.param."
_OF_PARAMETERS = (_PARAMETER, "input.grad.", "output.0.")
_Message: TypeAlias = "tuple[str, tuple[int, ...], int]"
"""Group, sender and receiver, and the place among what these gave each other."""

_FAR = 1 << 40
"""Values and memory of one rank are numbered apart from those of another by so much."""


@dataclass(frozen=True, slots=True)
class Line:
    """All micro-batches of a model in one dump; by call its rank, and the name that this rank recorded it by; by
    parameter of its optimizer the rank that updates it."""

    dump: Dump
    ranks: Mapping[str, int]
    names: Mapping[str, str]
    owners: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Staged:
    """One side of a pipeline: a dump for each of the `batches` of each group of ranks that hold a whole model, the
    `mesh` that these dumps lie in, by call the ranks that made it, one of each group, and for each dump by call the
    name that its rank recorded it by.  Where one group holds the model, `line` has the micro-batches one after the
    other."""

    dumps: Mapping[int, Dump]
    mesh: Mesh
    batches: int = 1
    line: Line | None = None
    ranks: Mapping[str, Sequence[int]] = field(default_factory=dict)
    names: Sequence[Mapping[str, str]] = ()

    @property
    def meshes(self) -> tuple[Mesh, ...]:
        """Those that the dumps may lie in: modules alone tell of no groups within a stage."""
        alone = any(dump.header.level == "L0" for dump in self.dumps.values())
        size = len(self.dumps) // self.batches
        within = [(n, size // n) for n in range(2, size) if size % n == 0] if alone else []
        others = (tuple(extent for extent in (*each, self.batches) if extent > 1) for each in within)
        return (*((self.mesh,) if len(self.mesh) > 1 else ()), *others)


def stages_of(dumps: Mapping[int, Dump]) -> list[list[int]]:
    """The ranks of each stage, in order; one stage where nothing says that there are several.

    A rank that is sent something before it sends is behind the sender.  In a ring all send first.  Where modules alone
    were recorded, a rank that begins with what another made is behind that one.
    """
    behind: dict[int, int] = {}
    given = handed_on(dumps)
    for rank, dump in dumps.items() if given else ():
        read = _first_given(dump)
        if read is not None and read.requires_grad and (rank, read.value) in given:
            behind[rank] = given[rank, read.value or 0][0]
    for rank, dump in dumps.items():
        messages = (c for call in dump.calls for c in call.collectives if c.kind in (_SEND, _RECEIVE))
        first = next(messages, None)
        if first is not None and first.kind == _RECEIVE and first.ranks[0] in dumps:
            behind[rank] = first.ranks[0]
    stages: dict[int, list[int]] = {}
    for rank in sorted(dumps):
        stages.setdefault(_depth(rank, behind), []).append(rank)
    return [stages[depth] for depth in sorted(stages)]


def _depth(rank: int, behind: Mapping[int, int]) -> int:
    seen = {rank}
    while rank in behind and behind[rank] not in seen:
        rank = behind[rank]
        seen.add(rank)
    return len(seen) - 1


def staged(dumps: Mapping[int, Dump], stages: Sequence[Sequence[int]]) -> Staged | None:
    """The side with its stages one behind the other; None where they do not lie so: other numbers of ranks in each, or
    of micro-batches, or modules that ran more than once for one."""
    groups = {len(stage) for stage in stages}
    given = handed_on(dumps)
    begins = {r: readers(dump, [value for rank, value in given if rank == r]) for r, dump in dumps.items()}
    by_rank = {rank: found for rank, dump in dumps.items() if (found := parted(dump, begins[rank])) is not None}
    counts = {(len(chunks), len(chunks[0])) for chunks in by_rank.values()}
    if len(groups) != 1 or len(counts) != 1 or len(by_rank) < len(dumps):
        return None
    ((turns, number),), (size,) = counts, groups
    sent = _sent(dumps)
    whole: dict[int, Dump] = {}
    ranks: dict[str, list[int]] = {}
    names: list[dict[str, str]] = [{} for _ in range(size * number)]
    for place in range(size):
        members = [(turn, stage[place]) for turn in range(turns) for stage in stages]
        for batch in range(number):
            parts = [_Part(rank, dumps[rank], by_rank[rank][turn][batch]) for turn, rank in members]
            known = ranks if not batch else {}
            place_of = place * number + batch
            whole[place_of] = _one_behind_the_other([parts], sent, known, names[place_of])
    mesh = (*_mesh(dumps, stages, size), number)
    line = None
    if size == 1:
        members = [(turn, stage[0]) for turn in range(turns) for stage in stages]
        every = [[_Part(r, dumps[r], by_rank[r][turn][batch]) for turn, r in members] for batch in range(number)]
        if len(members) > 1:  # what each stage does to its own gradients, in the order of its own parameters
            every = [[replace(part, batch=_with_optimizers_alone(part.batch)) for part in each] for each in every]
        line = _in_line(every, sent)
    return Staged(whole, tuple(extent for extent in mesh if extent > 1), number, line, ranks, names)


def _with_optimizers_alone(batch: MicroBatch) -> MicroBatch:
    return replace(batch, after=tuple(call for call in batch.after if call.name.startswith(_OPTIMIZER)))


def _in_line(batches: Sequence[Sequence[_Part]], sent: Mapping[tuple[int, int], int]) -> Line:
    """The micro-batches one after the other, and the optimizers of all stages as one."""
    ranks: dict[str, list[int]] = {}
    recorded: dict[str, str] = {}
    dump = _one_behind_the_other(batches, sent, ranks, recorded)
    calls = list(dump.calls)
    owners: Mapping[str, int] = {}
    for place, call in enumerate(calls):
        if call.name.startswith(_OPTIMIZER):
            calls[place], owners = _of_all_stages(call, recorded[call.name], batches[0], owners)
    return Line(replace(dump, calls=tuple(calls)), {name: held[0] for name, held in ranks.items()}, recorded, owners)


def _of_all_stages(
    call: CallRecord, name: str, parts: Sequence[_Part], owners: Mapping[str, int]
) -> tuple[CallRecord, dict[str, int]]:
    """An optimizer's step of the first stage with the parameters of the others, which bear the number of their rank."""
    found, inputs, outputs, seen = dict(owners), list(call.inputs), list(call.outputs), {parts[0].rank}
    for argument in call.inputs:
        if argument.name.startswith(_PARAMETER):
            found[argument.name.removeprefix(_PARAMETER)] = parts[0].rank
    for part in parts:
        other = next((each for each in part.batch.after if each.name == name), None)
        if other is None or part.rank in seen:
            continue
        seen.add(part.rank)
        other = renamed(other, call.name, call.index, (part.rank, part.dump), {})
        for group, arguments in ((inputs, other.inputs), (outputs, other.outputs)):
            for argument in arguments:
                start = next((start for start in _OF_PARAMETERS if argument.name.startswith(start)), None)
                if start is not None:
                    parameter = f"{argument.name.removeprefix(start)}@{part.rank}"
                    found[parameter] = part.rank
                    group.append(Argument(f"{start}{parameter}", argument.leaf))
    return msgspec.structs.replace(call, inputs=tuple(inputs), outputs=tuple(outputs)), found


def parameters_alike(ours: Line, theirs: Line) -> Line:
    """`ours` with the parameters of its optimizer named as the other side's that the same calls read."""
    readers = _readers(ours.dump)
    read = {(call.name, name): leaf.value for call in theirs.dump.calls for name, leaf in call.tensors()}
    of_theirs = {
        leaf.value: name.removeprefix(_PARAMETER)
        for call in theirs.dump.calls
        if call.name.startswith(_OPTIMIZER)
        for name, leaf in call.tensors()
        if name.startswith(_PARAMETER)
    }
    names = {}
    for call in ours.dump.calls:
        if call.name.startswith(_OPTIMIZER):
            for name, leaf in call.tensors():
                known = of_theirs.get(read.get(readers.get(-1 if leaf.value is None else leaf.value, ("", ""))))
                if name.startswith(_PARAMETER) and known is not None:
                    names[name.removeprefix(_PARAMETER)] = known

    def told(argument: Argument) -> Argument:
        start = next((start for start in _OF_PARAMETERS if argument.name.startswith(start)), "")
        known = names.get(argument.name.removeprefix(start)) if start else None
        return argument if known is None else Argument(f"{start}{known}", argument.leaf)

    calls = (call.mapped(told) if call.name.startswith(_OPTIMIZER) else call for call in ours.dump.calls)
    owners = {names.get(name, name): rank for name, rank in ours.owners.items()}
    return replace(ours, dump=replace(ours.dump, calls=tuple(calls)), owners=owners)


def _readers(dump: Dump) -> dict[int, tuple[str, str]]:
    """The first argument of a call that each value is."""
    found: dict[int, tuple[str, str]] = {}
    for call in dump.calls:
        if not call.name.startswith(_OPTIMIZER):
            for argument in (*call.inputs, *call.parameters):
                if isinstance(argument.leaf, TensorRecord) and argument.leaf.value is not None:
                    found.setdefault(argument.leaf.value, (call.name, argument.name))
    return found


def _mesh(dumps: Mapping[int, Dump], stages: Sequence[Sequence[int]], size: int) -> Mesh:
    """How the ranks of a stage lie, by the groups within one that gave each other something."""
    places = {rank: (number, place) for number, stage in enumerate(stages) for place, rank in enumerate(stage)}
    groups = {collective.ranks for dump in dumps.values() for call in dump.calls for collective in call.collectives}
    within = [[places[rank] for rank in group] for group in groups if places.keys() >= set(group)]
    found = meshes_of([[place for _, place in each] for each in within if len({stage for stage, _ in each}) == 1], size)
    return found[0] if len(found) == 1 else (size,)


@dataclass(frozen=True, slots=True)
class _Part:
    rank: int
    dump: Dump
    batch: MicroBatch


def _sent(dumps: Mapping[int, Dump]) -> dict[tuple[int, int], int]:
    """The number of what was sent, by the rank that received it and its number there."""
    alone = handed_on(dumps)
    if alone:
        return {place: rank * _FAR + value for place, (rank, value) in alone.items()}
    given: dict[_Message, int] = {}
    taken: dict[tuple[int, int], _Message] = {}
    shapes: dict[_Message, tuple[int, ...]] = {}
    for rank, dump in dumps.items():
        for call in dump.calls:
            for message in call.collectives:
                key = (message.group, message.ranks, message.order)
                group = call.inputs if message.kind == _SEND else call.outputs
                leaves = [a.leaf for a in group if isinstance(a.leaf, TensorRecord) and a.leaf.value is not None]
                if message.kind == _SEND and leaves:
                    given[key], shapes[key] = rank * _FAR + (leaves[0].value or 0), leaves[0].shape
                elif message.kind == _RECEIVE and leaves:
                    taken[rank, leaves[0].value or 0] = key
    found = {place: given[key] for place, key in taken.items() if key in given}
    for key in sorted(given.keys() - set(taken.values())):
        # A step begins with its first module: what was received before that is on no record.
        receiver = key[1][1]
        read = _first_given(dumps[receiver]) if receiver in dumps else None
        if key[2] == 0 and read is not None and read.value is not None and read.shape == shapes[key]:
            found.setdefault((receiver, read.value), given[key])
    return found


def _first_given(dump: Dump) -> TensorRecord | None:
    """What the first call of a module reads, if no call made it."""
    made: set[int | None] = set()
    for call in dump.calls:
        first = next(tensor_records(call.inputs), None)
        if (dump.owners.get(call.name) is not None or parse(call.name).is_module) and first is not None:
            return first if first.value not in made else None
        made |= {t.value for t in tensor_records(call.outputs)}
    return None


def _one_behind_the_other(
    batches: Sequence[Sequence[_Part]],
    sent: Mapping[tuple[int, int], int],
    ranks: dict[str, list[int]],
    recorded: dict[str, str],
) -> Dump:
    """Each micro-batch's stages one behind the other, forward and then backward, one micro-batch after the other."""
    first, stages = batches[0][0], len(batches[0])
    parts = [part for batch in batches for part in batch]
    ordered = [(0, call) for call in first.batch.before]
    for start in range(0, len(parts), stages):
        batch = list(enumerate(parts))[start : start + stages]
        ordered += [(number, call) for number, part in batch for call in part.batch.forward]
        ordered += [(number, call) for number, part in reversed(batch) for call in part.batch.backward]
    ordered += [(0, call) for call in first.batch.after]
    count: dict[str, int] = {}
    names: list[dict[str, str]] = [{} for _ in parts]
    for number, call in ordered:
        if not is_backward(call):
            names[number][call.name] = numbered(call.name, count)
    calls, owners = [], {}
    for index, (number, call) in enumerate(ordered):
        part, known = parts[number], names[number]
        forward = known.get(forward_name(call.name) if is_backward(call) else call.name)
        if forward is None:
            continue
        name = str(replace(parse(forward), direction=parse(call.name).direction))
        calls.append(renamed(call, name, index, (part.rank, part.dump), sent))
        owner = part.dump.owners.get(call.name)
        owners[name] = _counted(owner, known) if owner is not None else None
        ranks.setdefault(name, []).append(part.rank)
        recorded.setdefault(name, call.name)
    incomplete = next((part.dump.incomplete for part in parts if part.dump.incomplete is not None), None)
    stacks = {
        new: part.dump.stacks[old]
        for part, known in zip(parts, names, strict=True)
        for old, new in known.items()
        if old in part.dump.stacks
    }
    return replace(first.dump, calls=tuple(calls), owners=owners, stacks=stacks, incomplete=incomplete)


def _counted(owner: str, known: Mapping[str, str]) -> str:
    """The module that a call ran in, by the number that its own call has where that was recorded."""
    own = parse(owner)
    counted = known.get(str(replace(own, direction=FORWARD)))
    return str(replace(own, number=0 if counted is None else parse(counted).number))


def numbered(name: str, count: dict[str, int]) -> str:
    """The name with the next number of its api, by what was counted so far."""
    parsed: CallName = parse(name)
    key = f"{parsed.prefix}.{kind_of(parsed)}"
    number = count[key] = count.get(key, -1) + 1
    return str(replace(parsed, number=number))


def apart_by(rank: int) -> int:
    """By how much `renamed` numbers the values of a rank apart."""
    return rank * _FAR


def kind_of(name: CallName) -> str:
    """An api, or a module's class as the model has it: fully_shard gives each a new one."""
    return name.api.removeprefix(_SHARDED) if name.is_module else name.api


def renamed(
    call: CallRecord, name: str, index: int, source: tuple[int, Dump], sent: Mapping[tuple[int, int], int]
) -> CallRecord:
    """A call of a rank's dump, `source`, with another name and place; its values and memory are numbered apart from
    those of other ranks, but for what was sent to it, and its tensor files stay where they are."""
    rank, dump = source

    def told(argument: Argument) -> Argument:
        leaf = argument.leaf
        if not isinstance(leaf, TensorRecord):
            return argument
        value = None if leaf.value is None else sent.get((rank, leaf.value), rank * _FAR + leaf.value)
        storage = None if leaf.storage is None else rank * _FAR + leaf.storage
        leaf = msgspec.structs.replace(leaf, value=value, storage=storage)
        return Argument(argument.name, piece(leaf, rank, dump))

    return call.mapped(told, name=name, index=index)


def owned_alike(ours: Dump, theirs: Dump) -> Dump:
    """`ours` with its calls in the modules of the other side's calls of the same names, where those are of the same
    class: layers are numbered anew in each stage."""
    owners = dict(ours.owners)
    for name, owner in ours.owners.items():
        other = theirs.owners.get(name)
        if owner is not None and other is not None and parse(owner).api == parse(other).api:
            owners[name] = other
    return replace(ours, owners=owners)
