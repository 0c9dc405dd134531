from __future__ import annotations

import math
from typing import get_args

import pytest

from acc_compare.model import Kind
from acc_compare.report.formatting import KINDS, count, factor, facts, measured, own_line, quantity, script_of, some


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.6e-3, "1.6e-3"),
        (3e-7, "3e-7"),
        (2.94e-7, "2.9e-7"),
        (0.25, "0.25"),
        (0, "0"),
        (-1.5, "-1.5"),
        (5300.0, "5,300"),
        (4.4e12, "4.4e12"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_quantity(value, text):
    assert quantity(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.44, "1.44"), (5300.4, "5,300"), (2.1e9, "2.1e9"), (math.inf, "infinitely many")]
)
def test_factor(value, text):
    assert factor(value) == text


def test_count():
    assert [count(n, "call") for n in (0, 1, 1243)] == ["0 calls", "1 call", "1,243 calls"]


def test_some():
    assert some(["a", "b"]) == "a, b"
    assert some(["a", "b", "c", "d"]) == "a, b, c and 1 more"
    assert some(["a"], total=5) == "a and 4 more"


def test_every_kind_is_explained():
    assert set(KINDS) == set(get_args(Kind))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "output.0 differs by 1.6e-3 of its size where 3e-7 is normal: 5,300 times as much"),
        ({"rel_l2": None}, ""),
        ({"expected": None}, "output.0 differs by 1.6e-3 of its size"),
        (
            {"expected": 0.0, "excess": math.inf},
            "output.0 differs by 1.6e-3 of its size where no difference at all is normal",
        ),
        ({"excess": None}, "output.0 differs by 1.6e-3 of its size where 3e-7 is normal"),
        ({"excess": 2e9, "tensor": ""}, "what it wrote differs by 1.6e-3 of its size where 3e-7 is normal"),
    ],
)
def test_measured(build, fields, text):
    assert measured(build.suspect(**fields)) == text


@pytest.mark.parametrize(
    ("stack", "line"),
    [
        ((), ""),
        (("File a.py, line 3, in f, \n x = 1",), "a.py:3 in f: x = 1"),
        (('  File "/x/b.py", line 7, in g\n    y()',), "/x/b.py:7 in g: y()"),
        (("/x/b.py(7): g",), "/x/b.py(7): g"),
        (("File /v/site-packages/p.py, line 1, in q, \n z",), "/v/site-packages/p.py:1 in q: z"),
        (
            (
                "File /src/pytorch/torch/nn/modules/module.py, line 1, in _call, \n a",
                "File /usr/lib/python3.11/contextlib.py, line 2, in inner, \n b",
                "File /home/me/torch/train.py, line 9, in main, \n c()",
            ),
            "/home/me/torch/train.py:9 in main: c()",
        ),
    ],
)
def test_own_line(stack, line):
    assert own_line(stack) == line


@pytest.mark.parametrize(
    ("stack", "script"),
    [
        ((), ""),
        (("File /v/site-packages/p.py, line 1, in q, \n z",), ""),
        (("File m.py, line 1, in f, \n x", "File run.py, line 2, in <module>, \n f()"), "run.py"),
        (
            (
                "File run.py, line 2, in <module>, \n f()",
                "File /v/site-packages/torch/distributed/run.py, line 1, in q, \n z",
            ),
            "run.py",
        ),
    ],
)
def test_script_of(stack, script):
    assert script_of(stack) == script


def test_facts_leave_out_what_is_unknown(build):
    bare = build.suspect(module="", rel_l2=None, step=None, rank=None)
    assert [label for label, _ in facts(bare)] == ["Kind", "What happened"]
    assert [label for label, _ in facts(build.gelu().suspects[0])] == [
        "Kind",
        "Where",
        "In your code",
        "What happened",
        "Measured",
        "Looks like",
        "Evidence",
        "Spread",
        "Alike",
        "Try next",
    ]
