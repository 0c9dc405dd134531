"""A function in C that leads elsewhere for a while stays what it is, whichever way it takes its arguments."""

from __future__ import annotations

import array
import copy
import gc
import inspect
import math
import pickle
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType
from typing import Any

import pytest
import torch

from dump import native

core = native.core
if not hasattr(core, "redirect"):
    pytest.skip(f"the native core is {native.state}, or older than this", allow_module_level=True)

NAMES = ("__name__", "__qualname__", "__module__", "__doc__", "__self__", "__text_signature__")


@contextmanager
def _followed(function: Any, calls: list[Any]) -> Iterator[None]:
    def make(twin: BuiltinFunctionType) -> Callable[..., Any]:
        assert twin is not function
        assert twin == function

        def note(*args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            return twin(*args, **kwargs)

        return note

    core.redirect(function, make)
    try:
        yield
    finally:
        core.restore(function)


EACH = [
    pytest.param(time.get_clock_info, ("time",), {}, id="a tuple"),
    pytest.param(gc.isenabled, (), {}, id="nothing"),
    pytest.param(math.sqrt, (4.0,), {}, id="one object"),
    pytest.param(math.copysign, (1.0, -2.0), {}, id="an array"),
    pytest.param(sorted, ([3, 1, 2],), {"reverse": True}, id="an array and names"),
    pytest.param(torch.relu, (torch.ones(2),), {}, id="a tuple and a dict"),
    pytest.param(torch.softmax, (torch.ones(2),), {"dim": 0}, id="a tuple and a dict that is filled"),
    pytest.param(torch.from_numpy, (torch.ones(2).numpy(),), {}, id="one object of a class"),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), EACH)
def test_every_way_to_call_it_leads_there(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    def call_in_every_way() -> list[Any]:
        ways = [function(*args, **kwargs) for _ in range(40)]  # the interpreter calls otherwise after a few rounds
        ways += [function.__call__(*args, **kwargs), type(function).__call__(function, *args, **kwargs)]
        if not kwargs:
            ways += list(map(function, *([arg] for arg in args))) if args else [function()]
        if len(args) == 1 and not kwargs:
            ways += [function(args[0]) for _ in range(40)]
        return ways

    alone = call_in_every_way()
    calls: list[Any] = []
    with _followed(function, calls):
        followed = call_in_every_way()
    assert len(calls) == len(followed)
    assert all(given == kwargs and len(places) == len(args) for places, given in calls)
    assert [repr(each) for each in followed] == [repr(each) for each in alone]
    assert [repr(each) for each in call_in_every_way()] == [repr(each) for each in alone]
    assert len(calls) == len(followed)


@pytest.mark.parametrize(("function", "args", "kwargs"), EACH)
def test_it_stays_what_it_is(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    def looks() -> list[Any]:
        try:
            signature: Any = inspect.signature(function)
        except ValueError as error:
            signature = str(error)
        try:
            pickled: Any = pickle.dumps(function)
        except Exception as error:
            pickled = repr(error)
        named = [getattr(function, name, None) for name in NAMES]
        return [id(function), type(function), repr(function), hash(function), signature, pickled, *named]

    before = looks()
    with _followed(function, []):
        assert looks() == before
        assert copy.deepcopy(function) is function
        assert weakref.ref(function)() is function
    assert looks() == before


def test_it_can_be_restored_while_it_runs_and_led_elsewhere_again() -> None:
    def make(twin: Any) -> Callable[..., Any]:
        def once(*args: Any) -> Any:
            core.restore(math.sqrt)
            gc.collect()
            return twin(*args) + 1

        return once

    for _ in range(3):
        core.redirect(math.sqrt, make)
        assert math.sqrt(4.0) == 3.0
        assert math.sqrt(4.0) == 2.0


def test_what_it_led_to_is_let_go_of() -> None:
    calls: list[Any] = []
    before = sys.getrefcount(calls), sys.getrefcount(math.sqrt)
    for _ in range(5):
        with _followed(math.sqrt, calls):
            math.sqrt(1.0)
    gc.collect()
    calls.clear()
    assert (sys.getrefcount(calls), sys.getrefcount(math.sqrt)) == before


def test_an_error_has_no_frame_of_what_it_led_to() -> None:
    def frames() -> int:
        try:
            math.sqrt("x")  # type: ignore[arg-type]
        except TypeError as error:
            return len(traceback.extract_tb(error.__traceback__))
        raise AssertionError

    def refuse(_: Any) -> Callable[..., Any]:
        def refused(*_: Any) -> Any:
            raise TypeError("refused")

        return refused

    alone = frames()
    core.redirect(math.sqrt, refuse)
    try:
        assert frames() == alone
    finally:
        core.restore(math.sqrt)


def test_an_endless_recursion_is_an_error_as_ever() -> None:
    core.redirect(math.sqrt, lambda _: math.sqrt)
    try:
        with pytest.raises(RecursionError):
            math.sqrt(1.0)
    finally:
        core.restore(math.sqrt)


@pytest.mark.parametrize(
    "thing", [1, lambda: 0, torch.Tensor.add, int, array.array("b"), [].append.__call__, torch.ops.aten.add]
)
def test_what_is_no_function_in_c_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="written in C"):
        core.redirect(thing, lambda twin: twin)
    with pytest.raises(TypeError, match="redirected"):
        core.restore(thing)


def test_what_leads_elsewhere_already_is_refused_and_a_maker_that_fails_changes_nothing() -> None:
    with _followed(math.sqrt, []), pytest.raises(TypeError, match="leads nowhere else"):
        core.redirect(math.sqrt, lambda twin: twin)
    with pytest.raises(ZeroDivisionError):
        core.redirect(math.sqrt, lambda twin: 1 / 0)
    with pytest.raises(TypeError, match="redirected"):
        core.restore(math.sqrt)
    assert math.sqrt(4.0) == 2.0
