"""Warnings given under a recording are told of the user's lines, each line once."""

from __future__ import annotations

import _thread
import threading
import traceback
import warnings
from typing import Any

import torch
import torch.nn.functional as F

from dump.intercept.callers import in_the_name_of


def _give(text: str) -> None:
    warnings.warn(text, stacklevel=2)


def test_a_call_is_made_from_the_callers_line_and_with_its_globals() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            in_the_name_of(0, _give)("twice from one line")
    (warning,) = caught
    assert warning.filename == __file__
    assert warning.lineno == _give.__code__.co_firstlineno + 8


def test_what_is_raised_passes_through_the_callers_line() -> None:
    def fails() -> None:
        raise KeyError("x")

    try:
        in_the_name_of(0, fails)()
    except KeyError as error:
        lines = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    name = "test_what_is_raised_passes_through_the_callers_line"
    assert lines == [name, name, "fails"]


def test_what_is_all_that_a_thread_runs_has_no_caller(record: Any) -> None:
    x, done, missed = torch.ones(2), threading.Semaphore(0), []

    class Told(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            done.release()
            return None

    told = x.as_subclass(Told)

    def act() -> None:
        for function in (torch.relu, F.softplus, torch.linalg.norm):
            _thread.start_new_thread(function, (told,))
            missed.append(not done.acquire(timeout=10))

    record(act)  # where nothing failed, it says
    assert missed == [False, False, False]


def test_recorded_functions_warn_where_they_are_called(record: Any) -> None:
    def act() -> list[tuple[str, int]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            F.softmax(torch.ones(2))
            F.softmax(torch.ones(2))
            torch.add(torch.ones(2), torch.ones(2), out=torch.empty(3))
            torch.tensor(torch.ones(2))
        return [(warning.filename, warning.lineno) for warning in caught]

    alone = act()
    assert len({line for _, line in alone}) == 4
    seen: list[Any] = []
    record(lambda: seen.extend(act()))
    assert seen == alone
