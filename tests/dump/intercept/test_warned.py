"""Warnings given some frames below a recorded function are told of the line that they mean without a recording."""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dump import native

pytestmark = pytest.mark.skipif(not hasattr(native.core, "redirect"), reason="the native core leads it elsewhere")


class _Told(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for level in range(7):
            warnings.warn(f"{func.__name__} at level {level}", stacklevel=level)
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        warnings.warn("forward", stacklevel=4)
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        warnings.warn("backward", stacklevel=2)
        return gradient * 2


def _some_frames_below(count: int, act: Callable[[], object]) -> None:
    if count == 0:
        act()
    elif count % 2:
        _some_frames_below(count - 1, act)
    else:
        _some_frames_below(count - 1, act)


def _places(act: Callable[[], object]) -> list[tuple[str, str, int]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _some_frames_below(8, act)
    return [(str(warning.message), warning.filename, warning.lineno) for warning in caught]


def _both(record: Any, act: Callable[[], object]) -> tuple[list[Any], list[Any]]:
    alone, seen = _places(act), []
    record(lambda: seen.extend(_places(act)))
    assert alone
    return alone, seen


def test_a_layer_that_counts_past_its_own_call(record: Any) -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Softmax())

    def act() -> None:
        layers(torch.ones(2, 2))
        torch.nn.LogSoftmax()(torch.ones(2))

    alone, seen = _both(record, act)
    assert seen == alone


def test_any_number_of_frames_above_any_kind_of_function(record: Any) -> None:
    told = torch.ones(2).as_subclass(_Told)

    def act() -> None:
        torch.add(told, 1)
        told.add(1)
        F.softplus(told)
        F.layer_norm(told, (2,))
        _Doubled.apply(torch.ones(2, requires_grad=True)).sum().backward()  # type: ignore[no-untyped-call]

    alone, seen = _both(record, act)
    assert seen == alone


def test_frames_that_python_passes_over_are_passed_over(record: Any) -> None:
    code = "def give(act): act()\ndef warn(level): give(lambda: warnings.warn('told', stacklevel=level))"
    modules = [types.ModuleType(name) for name in ("plain", "importlib._bootstrap_of_mine")]
    for module in modules:
        vars(module)["warnings"] = warnings
        exec(compile(code, f"<{module.__name__}>", "exec"), vars(module))

    def act() -> None:
        for module in modules:
            for level in range(6):
                module.give(lambda level=level, module=module: module.warn(level))

    alone, seen = _both(record, act)
    assert seen == alone


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 began it")
def test_files_that_a_script_skips_are_skipped(record: Any) -> None:
    def act() -> None:
        warnings.warn("told", skip_file_prefixes=(__file__,))  # type: ignore[call-overload,unused-ignore]

    alone, seen = _both(record, act)
    assert seen[0][1:] == alone[0][1:]


def test_what_it_cannot_be_called_with_is_refused_as_ever_and_warnings_may_be_errors(record: Any) -> None:
    def attempt(*args: Any, **kwargs: Any) -> tuple[str, int]:
        try:
            warnings.warn(*args, **kwargs)
        except (TypeError, ValueError, UserWarning) as error:
            trace = error.__traceback__
            return repr(error), 0 if trace is None or trace.tb_next is None else 1
        return "nothing", 0

    def act() -> list[tuple[str, int]]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return [attempt(), attempt("x", int), attempt("x", stacklevel="1"), attempt("x"), attempt("x", nobody=1)]

    alone, seen, before = act(), [], warnings.warn
    record(lambda: seen.extend([*act(), warnings.warn is before]))
    assert seen == [*alone, True]
