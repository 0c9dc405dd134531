"""Which call of one side answers to which of the other.

Where both sides made the same calls, names settle it.  Where they did not, an extra call shifts every later number of
its api, so forward calls are aligned as sequences of (api, module, shapes), backward calls follow their forward calls,
and modules and optimizers go by name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from dump.format import names
from dump.format.names import CallName
from dump.format.schema import CallRecord, Dump, TensorRecord

from ..model import Alignment, PairedCall
from .arguments import pair_arguments
from .sequences import common_subsequence

Token: TypeAlias = "tuple[str, str, tuple[tuple[int, ...], ...]]"

_WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.")


def align(npu: Dump, bench: Dump) -> Alignment:
    """Pair the calls of both sides; every call appears once, matched or with the reason why it is not."""
    partner = _by_name(npu, bench) if _same_names(npu, bench) else _by_sequence(npu, bench)
    taken = {id(call) for call in partner.values()}
    reasons = _Reasons(npu, bench)
    pairs: list[PairedCall] = []
    leftovers = iter([call for call in bench.calls if id(call) not in taken])
    waiting = next(leftovers, None)
    for call in npu.calls:
        found = partner.get(id(call))
        if found is None:
            pairs.append(PairedCall(call, None, pair_arguments(call, None), reasons.of(call, on_npu=True)))
            continue
        while waiting is not None and waiting.index < found.index:
            pairs.append(PairedCall(None, waiting, pair_arguments(None, waiting), reasons.of(waiting, on_npu=False)))
            waiting = next(leftovers, None)
        pairs.append(PairedCall(call, found, pair_arguments(call, found)))
    while waiting is not None:
        pairs.append(PairedCall(None, waiting, pair_arguments(None, waiting), reasons.of(waiting, on_npu=False)))
        waiting = next(leftovers, None)
    return Alignment(npu, bench, tuple(pairs))


def plain_path(path: str) -> str:
    """A module path without what DDP, FSDP and torch.compile put around the model."""
    for wrapper in _WRAPPERS:
        while path.startswith(wrapper):
            path = path.removeprefix(wrapper)
        path = path.replace(f".{wrapper}", ".")
    return path


def _same_names(npu: Dump, bench: Dump) -> bool:
    return {call.name for call in npu.calls} == {call.name for call in bench.calls}


def _by_name(npu: Dump, bench: Dump) -> dict[int, CallRecord]:
    theirs = {call.name: call for call in bench.calls}
    return {id(call): theirs[call.name] for call in npu.calls}


def _by_sequence(npu: Dump, bench: Dump) -> dict[int, CallRecord]:
    ours = [(call, names.parse(call.name)) for call in npu.calls]
    theirs = [(call, names.parse(call.name)) for call in bench.calls]
    partner: dict[int, CallRecord] = {}
    forward = _sequence_pairs(
        [call for call, name in ours if _is_api_forward(name)],
        [call for call, name in theirs if _is_api_forward(name)],
        npu.owners,
        bench.owners,
    )
    renamed: dict[str, str] = {}
    for call, answer in forward:
        partner[id(call)] = answer
        renamed[_backward(call.name)] = _backward(answer.name)
    by_name = {_comparable(name): call for call, name in theirs if not _is_api_forward(name)}
    for call, name in ours:
        if _is_api_forward(name):
            continue
        wanted = renamed.get(call.name) if name.direction == names.BACKWARD and not name.is_module else None
        key = _comparable(names.parse(wanted) if wanted is not None else name)
        if wanted is None and name.direction == names.BACKWARD and not name.is_module and renamed:
            continue  # the forward call has no partner, so its backward has none
        found = by_name.pop(key, None)
        if found is not None:
            partner[id(call)] = found
    return partner


def _is_api_forward(name: CallName) -> bool:
    return not name.is_module and name.direction == names.FORWARD and name.prefix != "Optimizer"


def _backward(forward: str) -> str:
    return f"{forward.removesuffix('forward')}backward"


def _comparable(name: CallName) -> str:
    if not name.is_module:
        return str(name)
    return f"{name.prefix}.{plain_path(name.path)}.{name.api}.{name.direction}.{name.number}"


def _sequence_pairs(
    ours: Sequence[CallRecord],
    theirs: Sequence[CallRecord],
    our_owners: Mapping[str, str | None],
    their_owners: Mapping[str, str | None],
) -> list[tuple[CallRecord, CallRecord]]:
    """Forward calls, by the longest common sequence of (api, module, shapes); what is left over, by equal name."""
    place_known = bool(our_owners) and bool(their_owners)
    left = [_token(call, our_owners if place_known else {}) for call in ours]
    right = [_token(call, their_owners if place_known else {}) for call in theirs]
    places = common_subsequence(left, right) or []
    pairs = [(ours[first], theirs[second]) for first, second in places]
    taken = {id(call) for pair in pairs for call in pair}
    free = {call.name: (call, token) for call, token in zip(theirs, right, strict=True) if id(call) not in taken}
    order = [(call.index, answer.index) for call, answer in pairs]
    # Where most calls have found their partner, one of other shapes is another call; else all shapes are others.
    same_shapes = 2 * len(pairs) >= min(len(ours), len(theirs))
    for call, token in zip(ours, left, strict=True):
        if id(call) in taken or call.name not in free:
            continue
        answer, other = free[call.name]
        if (token[2] == other[2] or not same_shapes) and _keeps_order(order, (call.index, answer.index)):
            pairs.append((call, answer))
    return pairs


def _keeps_order(order: list[tuple[int, int]], pair: tuple[int, int]) -> bool:
    """Add `pair` to `order` (sorted, rising on both sides) if it crosses no other: a shifted number must not."""
    place = bisect_left(order, pair)
    if place > 0 and order[place - 1][1] >= pair[1]:
        return False
    if place < len(order) and order[place][1] <= pair[1]:
        return False
    order.insert(place, pair)
    return True


def _token(call: CallRecord, owners: Mapping[str, str | None]) -> Token:
    name = names.parse(call.name)
    owner = owners.get(call.name)
    place = plain_path(names.parse(owner).path) if owner else ""
    # What a call wrote beside its result is left out: a foreign dump does not record it.
    leaves = (argument.leaf for argument in (*call.inputs, *call.outputs))
    shapes = tuple(leaf.shape for leaf in leaves if isinstance(leaf, TensorRecord))
    return (f"{name.prefix}.{name.api}", place, shapes)


class _Reasons:
    """Why a call has no partner, in words."""

    def __init__(self, npu: Dump, bench: Dump) -> None:
        self._counts = {True: _api_counts(npu), False: _api_counts(bench)}

    def of(self, call: CallRecord, *, on_npu: bool) -> str:
        key = _api_key(call)
        here, there = self._counts[on_npu][key], self._counts[not on_npu][key]
        side = "bench" if on_npu else "NPU"
        what = "the operator" if not names.parse(call.name).is_module else "the module"
        if there == 0:
            return f"the {side} side has no call of {what}"
        if there == here:
            return f"no call of {what} on the {side} side stands in this place with these shapes"
        return f"the {side} side has {there} calls of {what}, this side {here}"


def _api_key(call: CallRecord) -> str:
    name = names.parse(call.name)
    where = plain_path(name.path) if name.is_module else ""
    return f"{name.prefix}.{where}.{name.api}.{name.direction}"


def _api_counts(dump: Dump) -> Counter[str]:
    return Counter(_api_key(call) for call in dump.calls)
