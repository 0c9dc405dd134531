"""Forward calls of APIs as two sequences: composites folded into one item, then the longest common subsequence."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import msgspec

from acc_compare import operators
from acc_compare.align.composites import Composite, find_composites, operator_of
from acc_compare.align.rules import FusedRule, Rules
from acc_compare.align.sequences import long_common_subsequence
from acc_compare.align.side import Side, Token
from acc_compare.align.values import Values, reads, value_key, writes
from dump.format import names
from dump.format.schema import CallRecord, tensor_records


class Item(msgspec.Struct, frozen=True):
    """One element of a sequence: a call, a fused call with its rule, or a composite."""

    call: CallRecord
    token: Token
    rule: FusedRule | None = None
    composite: Composite | None = None


@dataclass(frozen=True, slots=True)
class Matched:
    """Pairs of calls, and pairs of a fused call with what stands for it; `values` are both sides' dataflow."""

    pairs: list[tuple[CallRecord, CallRecord]]
    fused: list[tuple[Item, Item]]


def match_forward(ours: Side, theirs: Side, rules: Rules, *, until: tuple[int, int]) -> Matched:
    """Which forward call answers to which, up to an index on either side."""
    place_known = bool(ours.dump.owners) and bool(theirs.dump.owners)
    sides = (ours, theirs)
    calls = [side.forward_calls(end) for side, end in zip(sides, until, strict=True)]
    tokens = [
        [side.token(call, place_known=place_known) for call in some] for side, some in zip(sides, calls, strict=True)
    ]
    wanted = _wanted(calls, rules.fused)
    items = [_items(some, own, wanted) for some, own in zip(calls, tokens, strict=True)]
    folded = [_folded(some, rules) if rules else some for some, rules in zip(items, wanted.by_side, strict=True)]
    found = _common(*folded)
    if any(item.composite for some in folded for item in some):
        # A composite that no fused call answers to is no item: its calls are matched one by one.
        kept = {id(item) for pair in found for item in pair if _is_fused_pair(pair)}
        folded = [_unfolded(some, all_, kept) for some, all_ in zip(folded, items, strict=True)]
        found = _common(*folded)
    pairs = [(one.call, other.call) for one, other in found if not _is_fused_pair((one, other))]
    fused = [pair for pair in found if _is_fused_pair(pair)]
    pairs += _left_over(calls, tokens, pairs, fused)
    pairs += _of_other_shapes(sides, calls, pairs, fused)
    if rules.is_fuzzy:
        pairs += _between(calls, pairs, fused, (operator_of, operator_of))
    return Matched(pairs, fused)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The rules whose fused calls the sides do not share, by fused name; and those to fold by, for either side."""

    by_name: dict[str, FusedRule]
    by_side: tuple[tuple[FusedRule, ...], tuple[FusedRule, ...]]


def _wanted(calls: Sequence[Sequence[CallRecord]], rules: Sequence[FusedRule]) -> _Wanted:
    counts = [Counter(_api(call) for call in some) for some in calls]
    by_name: dict[str, FusedRule] = {}
    fold: tuple[list[FusedRule], list[FusedRule]] = ([], [])
    for rule in rules:
        ours, theirs = ({name: count[name] for name in rule.fused if count[name]} for count in counts)
        if ours == theirs:
            continue
        for name in rule.fused:
            by_name.setdefault(name, rule)
        if sum(ours.values()) > sum(theirs.values()):
            fold[1].append(rule)
        elif sum(ours.values()) < sum(theirs.values()):
            fold[0].append(rule)
    return _Wanted(by_name, (tuple(fold[0]), tuple(fold[1])))


def _api(call: CallRecord) -> str:
    name = names.parse(call.name)
    return f"{name.prefix}.{name.api}"


def _items(calls: Sequence[CallRecord], tokens: Sequence[Token], wanted: _Wanted) -> list[Item]:
    items = []
    for call, token in zip(calls, tokens, strict=True):
        rule = wanted.by_name.get(_api(call))
        items.append(Item(call, _rule_token(rule, call) if rule is not None else token, rule))
    return items


def _rule_token(rule: FusedRule, maker: CallRecord) -> Token:
    """Of a fused call and of what stands for it; layouts differ, the number of elements does not."""
    first = next(writes(maker), None)
    return (f"fused {rule.name}", "", ((first.leaf.numel,),) if first is not None else ())


def _folded(items: Sequence[Item], rules: Sequence[FusedRule]) -> list[Item]:
    """The items with each composite as one, where its last call stands."""
    composites = find_composites(Values([item.call for item in items]), rules)
    last = {id(found.last): found for found in composites}
    inside = {id(call) for found in composites for call in found.members[:-1]}
    return [
        Item(item.call, _rule_token(last[id(item.call)].rule, item.call), last[id(item.call)].rule, last[id(item.call)])
        if id(item.call) in last
        else item
        for item in items
        if id(item.call) not in inside
    ]


def _unfolded(folded: Sequence[Item], items: Sequence[Item], kept: set[int]) -> list[Item]:
    replaced = {id(item.call): item for item in folded if item.composite is not None and id(item) in kept}
    inside = {
        id(call)
        for item in replaced.values()
        if item.composite is not None
        for call in item.composite.members
        if call is not item.call
    }
    return [replaced.get(id(item.call), item) for item in items if id(item.call) not in inside]


def _common(left: Sequence[Item], right: Sequence[Item]) -> list[tuple[Item, Item]]:
    places = long_common_subsequence([item.token for item in left], [item.token for item in right])
    return [(left[first], right[second]) for first, second in places]


def _is_fused_pair(pair: tuple[Item, Item]) -> bool:
    """One is fused and the other is not, or is so by another name."""
    one, other = pair
    if one.rule is None or other.rule is None or (one.composite is not None and other.composite is not None):
        return False
    return one.composite is not other.composite or _api(one.call) != _api(other.call)


def _taken(
    pairs: Sequence[tuple[CallRecord, CallRecord]], fused: Sequence[tuple[Item, Item]]
) -> tuple[set[int], list[tuple[int, int]]]:
    """Calls that have an answer, by id, and the pairs' indices in order."""
    order = [(one.index, other.index) for one, other in pairs]
    order += [(one.call.index, other.call.index) for one, other in fused]
    taken = {id(call) for pair in pairs for call in pair}
    for pair in fused:
        for item in pair:
            taken |= {id(call) for call in (item.composite.members if item.composite else (item.call,))}
    return taken, sorted(order)


def _left_over(
    calls: Sequence[Sequence[CallRecord]],
    tokens: Sequence[Sequence[Token]],
    pairs: Sequence[tuple[CallRecord, CallRecord]],
    fused: Sequence[tuple[Item, Item]],
) -> list[tuple[CallRecord, CallRecord]]:
    """What the sequences left over, by equal name."""
    (ours, theirs), (left, right) = calls, tokens
    taken, order = _taken(pairs, fused)
    free = {call.name: (call, token) for call, token in zip(theirs, right, strict=True) if id(call) not in taken}
    # Where most calls have found their partner, one of other shapes is another call; else all shapes are others.
    same_shapes = 2 * (len(pairs) + len(fused)) >= min(len(ours), len(theirs))
    found = []
    for call, token in zip(ours, left, strict=True):
        name = names.parse(call.name)
        key = f"{token[0]}.{name.number}.{name.direction}" if token[0] != _api(call) else call.name
        if id(call) in taken or key not in free:
            continue
        answer, other = free[key]
        alike = token[2] == other[2] or _may_be_alike(call, answer)
        if (alike or not same_shapes) and _keeps_order(order, (call.index, answer.index)):
            found.append((call, answer))
            del free[key]
    return found


def _may_be_alike(one: CallRecord, other: CallRecord) -> bool:
    """Do both read tensors of the same shapes, and write such as nobody could put together from their parts?"""
    read, wrote = (
        [list(tensor_records(group)) for group in groups]
        for groups in ((one.inputs, other.inputs), (one.outputs, other.outputs))
    )
    unknown = any((leaf.unrecorded or "").startswith("parts.") for side in wrote for leaf in side)
    known = not any((leaf.unrecorded or "").startswith("parts.") for side in read for leaf in side)
    return known and unknown and [leaf.shape for leaf in read[0]] == [leaf.shape for leaf in read[1]]


def _keeps_order(order: list[tuple[int, int]], pair: tuple[int, int]) -> bool:
    """Add `pair` to `order` (sorted, rising on both sides) if it crosses no other: a shifted number must not."""
    place = bisect_left(order, pair)
    if place > 0 and order[place - 1][1] >= pair[1]:
        return False
    if place < len(order) and order[place][1] <= pair[1]:
        return False
    order.insert(place, pair)
    return True


def _of_other_shapes(
    sides: tuple[Side, Side],
    calls: Sequence[Sequence[CallRecord]],
    pairs: Sequence[tuple[CallRecord, CallRecord]],
    fused: Sequence[tuple[Item, Item]],
) -> list[tuple[CallRecord, CallRecord]]:
    """Of what is left between two matched calls, those whose shapes depend on what they read (`x[mask]`), which may
    differ, and those that read what came of them."""
    place_known = all(side.dump.owners for side in sides)
    places = [lambda call, side=side: side.token(call, place_known=place_known)[:2] for side in sides]
    found = []
    resized: set[Hashable] = set()
    for call, answer in _between(calls, pairs, fused, places):
        read = [(one.leaf, other.leaf) for one, other in zip(reads(call), reads(answer), strict=False)]
        follows = [value_key(one) in resized for one, _ in read]
        alike = all(known or one.shape == other.shape for (one, other), known in zip(read, follows, strict=True))
        if alike and (any(follows) or operators.is_shaped_by_values(names.parse(call.name).api)):
            found.append((call, answer))
            made = zip(writes(call), writes(answer), strict=False)
            resized.update(value_key(one.leaf) for one, other in made if one.leaf.shape != other.leaf.shape)
    return found


def _between(
    calls: Sequence[Sequence[CallRecord]],
    pairs: Sequence[tuple[CallRecord, CallRecord]],
    fused: Sequence[tuple[Item, Item]],
    names_of: Sequence[Callable[[CallRecord], Hashable]],
) -> list[tuple[CallRecord, CallRecord]]:
    """What is left between two matched calls, by what `names_of` says of either side's: by the operator alone
    `Tensor.add_` answers to `Torch.add`."""
    taken, order = _taken(pairs, fused)
    free = [[call for call in some if id(call) not in taken] for some in calls]
    keys = [
        [(bisect_left(bounds, call.index), name(call)) for call in some]
        for (some, bounds), name in zip(_gaps(free, order), names_of, strict=True)
    ]
    return [(free[0][one], free[1][other]) for one, other in long_common_subsequence(*keys)]


def _gaps(
    free: Sequence[Sequence[CallRecord]], order: Sequence[tuple[int, int]]
) -> list[tuple[Sequence[CallRecord], list[int]]]:
    """The free calls of either side with the indices there of the matched calls, as far as these rise on both."""
    rising: list[tuple[int, int]] = []
    for pair in order:
        if not rising or pair[1] > rising[-1][1]:
            rising.append(pair)
    return [(free[side], [pair[side] for pair in rising]) for side in (0, 1)]
