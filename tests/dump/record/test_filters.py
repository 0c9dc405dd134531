from __future__ import annotations

import re

import pytest

from dump.record.filters import Selection, picks

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


A, B, INNER = "Module.a.A.forward.0", "Module.b.B.forward.0", "Torch.add.{}.forward"
STEP = [  # a step as it runs: the call, the modules around it; "<" where a module's call is over
    (INNER.format(0), ()),
    (A, ()),
    (INNER.format(1), (A,)),
    ("<" + A, ()),
    (INNER.format(2), ()),
    (B, ()),
    (INNER.format(3), (B,)),
    ("<" + B, ()),
    (INNER.format(4), ()),
    ("Torch.add.3.backward", ("Module.b.B.backward.0",)),
    ("Torch.add.1.backward", ("Module.a.A.backward.0",)),
]


@pytest.mark.parametrize(
    ("scope", "entries", "expected"),
    [
        ((), (), "0 a 1 2 b 3 4 3' 1'"),
        ((), ("add",), "0 1 2 3 4 3' 1'"),
        ((), ("Module.a",), "a 1 1'"),
        ((), (A,), "a 1"),
        ((), ("add.1.backward",), "1'"),
        ((), ("name-regex(^Module.*backward)",), "3' 1'"),
        ((A, B), (), "a 1 2 b 3"),
        ((A, A), (), "a 1"),
        ((A, B), ("add",), "1 2 3"),
        ((INNER.format(1), INNER.format(3)), (), "1 2 b 3"),
        ((INNER.format(4), "Torch.add.3.backward"), (), "4 3'"),
        (("Module.a.A.backward.0", "never"), (), "1'"),
        (("never", A), (), ""),
        ((A, "never"), ("Module.b",), "b 3 3'"),
    ],
)
def test_selection(scope: tuple[str, ...], entries: tuple[str, ...], expected: str) -> None:
    selection = Selection(scope, entries)
    taken = []
    for name, within in STEP:
        if name.startswith("<"):
            selection.left(name[1:])
        elif selection.wants(name, within):
            _, part, number, *_ = name.split(".")
            taken.append(part if part in "ab" else number + ("'" if name.endswith("backward") else ""))
            assert selection.took(name)
        else:
            assert not selection.took(name)
    assert " ".join(taken) == expected


def test_without_filters_nothing_is_asked() -> None:
    selection = Selection((), ())
    assert not selection.selects
    assert selection.took("never seen")
