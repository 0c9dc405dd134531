from __future__ import annotations

import math
from typing import get_args

import pytest

from acc_compare.judge.evidence import some
from acc_compare.messages import count, say
from acc_compare.model import ErrorPattern, Kind
from acc_compare.report.formatting import SHAPE, facts, meaning_of, measured, plural
from acc_compare.report.i18n import factor, quantity, text
from acc_compare.report.messages import CATALOGUE


@pytest.mark.parametrize(
    ("value", "shown"),
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
def test_quantity(value, shown):
    assert quantity(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1.44, "1.44"), (5300.4, "5,300"), (2.1e9, "2.1e9"), (math.inf, "infinitely many")]
)
def test_factor(value, shown):
    assert factor(value) == shown


def test_count():
    assert [text(count(n, "call")) for n in (0, 1, 1243)] == ["0 calls", "1 call", "1,243 calls"]


def test_plural():
    assert [plural(n, "step") for n in (0, 1, 1243)] == ["0 steps", "1 step", "1,243 steps"]


def test_some():
    assert text(some(["a", "b"])) == "a, b"
    assert text(some(["a", "b", "c", "d"])) == "a, b, c and 1 more"
    assert text(some(["a"], total=5)) == "a and 4 more"


@pytest.mark.parametrize(
    ("step", "happened", "meaning"),
    [
        (0, "input_differs", "kind.input"),
        (None, "input_differs", "kind.input"),
        (3, "input_differs", "kind.input_later"),
        (0, "input_compiled", "kind.input_compiled"),
    ],
)
def test_what_differs_from_the_start_is_what_is_recorded_from_the_start(build, step, happened, meaning):
    found = build.suspect(kind="input", step=step, message=say(f"happened.{happened}", what="x", size=0.1))
    assert meaning_of(found).key == meaning


@pytest.mark.parametrize(
    ("name", "tensor", "is_told", "meaning"),
    [
        ("Functional.gelu.2.forward", "output.0", True, "kind.settings"),
        ("Functional.gelu.2.forward", "output.0", False, "kind.operator"),
        ("Functional.gelu.2.forward", "input.0", True, "kind.before"),
        ("Distributed.all_reduce.0.forward", "output.0", True, "kind.operator"),
    ],
)
def test_an_operator_with_other_settings(build, name, tensor, is_told, meaning):
    evidence = (say("evidence.settings", settings="x"),) if is_told else ()
    assert meaning_of(build.suspect(name=name, tensor=tensor, evidence=evidence)).key == meaning


@pytest.mark.parametrize(
    ("kind", "tensor", "is_told"),
    [("random", "output.0", True), ("input", "output.0", True), ("input", "input.0", False)],
)
def test_other_settings_are_said_whatever_the_call_does(build, kind, tensor, is_told):
    found = build.suspect(kind=kind, tensor=tensor, evidence=(say("evidence.settings", settings="x"),))
    assert (meaning_of(found).key == "kind.settings") is is_told


@pytest.mark.parametrize("is_told", [True, False])
def test_what_looks_like_rounding_is_explained_by_other_settings(build, is_told):
    evidence = (say("evidence.settings", settings="x"),) if is_told else ()
    pattern = ErrorPattern(kind="rounding", size=1e-3, dtype="bfloat16")
    labels = [label for label, _ in facts(build.suspect(tensor="output.0", evidence=evidence, pattern=pattern))]
    assert (SHAPE in labels) is not is_told


def test_every_kind_is_explained():
    assert {f"kind.{kind}" for kind in get_args(Kind)} <= set(CATALOGUE["en"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "output.0 differs by 1.6e-3 of its size where 3e-7 is normal: 5,300 times as much"),
        ({"expected": None}, "output.0 differs by 1.6e-3 of its size"),
        (
            {"expected": 0.0, "excess": math.inf},
            "output.0 differs by 1.6e-3 of its size where no difference at all is normal",
        ),
        ({"excess": None}, "output.0 differs by 1.6e-3 of its size where 3e-7 is normal"),
        ({"excess": 2e9, "tensor": ""}, "what it wrote differs by 1.6e-3 of its size where 3e-7 is normal"),
    ],
)
def test_measured(build, fields, words):
    assert text(measured(build.suspect(**fields))) == words


def test_where_only_equality_is_known_nothing_is_measured(build):
    assert measured(build.suspect(rel_l2=None)) is None


def test_facts_leave_out_what_is_unknown(build):
    bare = build.suspect(module="", rel_l2=None, step=None, rank=None)
    assert [text(label) for label, _ in facts(bare)] == ["Kind", "What happened"]
    assert [text(label) for label, _ in facts(build.gelu().suspects[0])] == [
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
