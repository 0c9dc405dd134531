from __future__ import annotations

import re

import pytest

from dump.record.filters import picks

CONV = "Functional.conv2d.1.forward"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ((), False),
        (("conv2d",), True),
        (("relu", "conv2d.1"), True),
        (("relu",), False),
        (("Conv2d",), False),
        (("name-regex(conv\\dd)",), True),
        (("name-regex(^conv)",), False),
        (("name-regex(^Functional\\..*forward$)",), True),
        (("name-regex((?i)CONV2D)",), True),
        (("relu", "name-regex(conv2d\\.[0-3]\\.)"), True),
        (("name-regex()",), True),
        (("name-regex(a(b)c)",), False),
        (("name-regex(conv2d",), False),  # not closed: a part like any other
    ],
)
def test_picks(entries: tuple[str, ...], expected: bool) -> None:
    assert picks(entries)(CONV) is expected


def test_a_broken_pattern_is_told_at_once() -> None:
    with pytest.raises(re.error):
        picks(("name-regex([)",))
