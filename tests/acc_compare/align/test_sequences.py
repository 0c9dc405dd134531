from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acc_compare.align.sequences import common_subsequence, long_common_subsequence

SMALL = st.lists(st.integers(0, 3), max_size=14)


def longest(left: list[int], right: list[int]) -> int:
    """The length of a longest common subsequence, by the table (Wagner and Fischer 1974)."""
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(SMALL, SMALL)
def test_it_is_common_and_longest(left: list[int], right: list[int]) -> None:
    pairs = common_subsequence(left, right)
    assert pairs is not None
    assert all(left[first] == right[second] for first, second in pairs)
    assert all(one[0] < other[0] and one[1] < other[1] for one, other in pairwise(pairs))
    assert len(pairs) == longest(left, right)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("", "", []),
        ("abc", "", []),
        ("", "abc", []),
        ("abc", "abc", [(0, 0), (1, 1), (2, 2)]),
        ("abcd", "abd", [(0, 0), (1, 1), (3, 2)]),
        ("abd", "abcd", [(0, 0), (1, 1), (2, 3)]),
        ("abc", "xbz", [(1, 1)]),
        ("ab", "cd", []),
    ],
)
def test_cases(left: str, right: str, expected: list[tuple[int, int]]) -> None:
    assert common_subsequence(left, right) == expected


@pytest.mark.parametrize(("most", "found"), [(5, False), (6, True)])
def test_it_gives_up_beyond_the_most_differences(most: int, found: bool) -> None:
    assert (common_subsequence("abc", "xyz", most=most) is not None) is found


def test_a_few_differences_in_long_sequences_shift_nothing() -> None:
    # Blocks repeat a thousand times, so that no element tells where it belongs.
    whole = list("norm linear gelu linear add".split() * 4000)
    lone = [7, 5000, 5001, 19_000]
    short = [element for place, element in enumerate(whole) if place not in lone]
    pairs = common_subsequence(whole, short)
    assert pairs is not None
    assert len(pairs) == len(short)
    assert {whole[first] for first, _ in pairs} == set(whole)


def test_beyond_the_most_differences_elements_that_stand_once_are_anchors() -> None:
    left = [*"aaaa", "one", *"bxb", "two", *"cccc"]
    right = [*"dd", "one", *"bb", "two", *"eeeeee"]
    assert common_subsequence(left, right, most=4) is None
    pairs = long_common_subsequence(left, right, most=4)
    assert [(left[first], right[second]) for first, second in pairs] == [(e, e) for e in ("one", "b", "b", "two")]


def test_anchors_that_cross_are_left_out() -> None:
    left, right = [*"vwxyz"], [*"zvwxy"]
    pairs = long_common_subsequence([*"kkkk", *left, *"llll"], [*"mmmm", *right, *"nnnn"], most=1)
    assert [second - first for first, second in pairs] == [1] * 4


@given(st.lists(st.integers(0, 6), max_size=30), st.lists(st.integers(0, 6), max_size=30), st.integers(0, 5))
def test_a_long_one_rises_and_pairs_equals(left: list[int], right: list[int], most: int) -> None:
    pairs = long_common_subsequence(left, right, most=most)
    assert all(left[first] == right[second] for first, second in pairs)
    assert all(one[0] < two[0] and one[1] < two[1] for one, two in pairwise(pairs))
