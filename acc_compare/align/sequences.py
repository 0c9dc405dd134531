"""The longest common subsequence of two long sequences that differ in few places."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Sequence

MOST_DIFFERENCES = 3000
"""Elements left out on both sides together, beyond which the search gives up: it takes time and memory in the square of
this number (some seconds, 40 MB)."""


def common_subsequence(
    left: Sequence[Hashable], right: Sequence[Hashable], *, most: int = MOST_DIFFERENCES
) -> list[tuple[int, int]] | None:
    """Pairs of places (in `left`, in `right`) that hold equal elements, rising on both sides, as many as possible.

    None where the sequences differ in more than `most` places.  E. W. Myers, "An O(ND) difference algorithm and its
    variations", Algorithmica 1 (1986), the greedy algorithm: `furthest[k]` is how far `left` is consumed on diagonal k
    (place in `left` minus place in `right`) with d elements left out.
    """
    numbers: dict[Hashable, int] = {}
    ours = [numbers.setdefault(element, len(numbers)) for element in left]
    theirs = [numbers.setdefault(element, len(numbers)) for element in right]
    count, other = len(ours), len(theirs)
    reach = min(most, count + other)
    furthest = array("l", [0]) * (2 * reach + 3)
    middle = reach + 1
    history: list[array[int]] = []
    for left_out in range(reach + 1):
        history.append(furthest[middle - left_out - 1 : middle + left_out + 2])
        for diagonal in range(-left_out, left_out + 1, 2):
            down, across = furthest[middle + diagonal + 1], furthest[middle + diagonal - 1]
            first = down if diagonal == -left_out or (diagonal != left_out and across < down) else across + 1
            second = first - diagonal
            while first < count and second < other and ours[first] == theirs[second]:
                first += 1
                second += 1
            furthest[middle + diagonal] = first
            if first >= count and second >= other:
                return _pairs(history, count, other)
    return None


def _pairs(history: Sequence[array[int]], first: int, second: int) -> list[tuple[int, int]]:
    """The way back from the end, along what `furthest` was before each step."""
    pairs: list[tuple[int, int]] = []
    for left_out in range(len(history) - 1, -1, -1):
        furthest, middle, diagonal = history[left_out], left_out + 1, first - second
        down, across = furthest[middle + diagonal + 1], furthest[middle + diagonal - 1]
        is_down = diagonal == -left_out or (diagonal != left_out and across < down)
        came_from = diagonal + 1 if is_down else diagonal - 1
        start = furthest[middle + came_from] if left_out else 0
        stop = start if is_down or not left_out else start + 1
        while first > stop and second > stop - diagonal:
            first -= 1
            second -= 1
            pairs.append((first, second))
        first, second = start, start - came_from
    pairs.reverse()
    return pairs


def long_common_subsequence(
    left: Sequence[Hashable], right: Sequence[Hashable], *, most: int = MOST_DIFFERENCES
) -> list[tuple[int, int]]:
    """As `common_subsequence`, for sequences that may differ in more places than it can search.

    Elements that stand once on either side are anchors where they keep their order (patience diff, B. Cohen); between
    anchors the search goes on, and gives up only in a gap that differs too much by itself.
    """
    found = common_subsequence(left, right, most=most)
    if found is not None:
        return found
    pairs: list[tuple[int, int]] = []
    before = (-1, -1)
    for anchor in (*_anchors(left, right), (len(left), len(right))):
        start, other = before[0] + 1, before[1] + 1
        gap = common_subsequence(left[start : anchor[0]], right[other : anchor[1]], most=most) or []
        pairs += [(start + first, other + second) for first, second in gap]
        if anchor[0] < len(left):
            pairs.append(anchor)
        before = anchor
    return pairs


def _anchors(left: Sequence[Hashable], right: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Places of elements that stand once on either side, as many as rise on both (patience sorting)."""
    ours, theirs = Counter(left), Counter(right)
    places = {element: place for place, element in enumerate(right) if theirs[element] == 1}
    once = [(place, places[e]) for place, e in enumerate(left) if ours[e] == 1 and e in places]
    tops: list[int] = []
    piles: list[int] = []
    previous: list[int] = []
    for number, (_, place) in enumerate(once):
        pile = bisect_left(tops, place)
        previous.append(piles[pile - 1] if pile else -1)
        tops[pile : pile + 1] = [place]
        piles[pile : pile + 1] = [number]
    chain: list[tuple[int, int]] = []
    number = piles[-1] if piles else -1
    while number >= 0:
        chain.append(once[number])
        number = previous[number]
    return chain[::-1]
