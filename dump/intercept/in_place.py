"""Recording that leaves a function of torch the object that it is: who compares, pickles or looks up, sees no other.

A function written in Python keeps its identity and gets other code for a while (`redirect`).  A method written in C is
found on the class as itself, and on a tensor as one that is recorded (`RecordedMethod`).  A function written in C can
have neither: `intercept.stand_ins`.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from types import CodeType, FunctionType, MethodType
from typing import Any, TypeAlias

from .patching import Patches
from .watch import Watch

Function: TypeAlias = "Callable[..., Any]"

_numbers = itertools.count()
_recorded: Any = None
"""The name in `_through` for which each function gets that of its own recorder."""


def _through(*args: Any, **kwargs: Any) -> Any:
    return _recorded(*args, **kwargs)


def redirect(function: FunctionType, make: Callable[[Function], Function], patches: Patches) -> None:
    """Let calls of `function` run `make(twin)`, `twin` being a second function that does what `function` did.

    The code looks its target up among the function's globals, and not among its constants, for dynamo can follow that.
    """
    twin = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__annotations__ = function.__annotations__
    twin.__qualname__, twin.__module__ = function.__qualname__, function.__module__
    twin.__dict__.update(function.__dict__)
    name = f"_acc_recorded_{next(_numbers)}"
    patches.replace(function.__globals__, name, make(twin))
    if "__signature__" not in function.__dict__ and "__wrapped__" not in function.__dict__:
        patches.replace(function, "__signature__", inspect.signature(function))
    patches.replace(function, "__code__", _leading_to(name, function.__code__))


def _leading_to(name: str, code: CodeType) -> CodeType:
    """The code of `_through` in the place of `code`, calling what stands under `name`."""
    return _through.__code__.replace(
        co_names=tuple(name if used == "_recorded" else used for used in _through.__code__.co_names),
        co_name=code.co_name,
        co_freevars=code.co_freevars,
    )


class RecordedMethod:
    """A method in C: `torch.Tensor.add` is what it was, `x.add` is recorded while somebody listens."""

    __slots__ = ("_original", "_recorded", "_watch")

    def __init__(self, original: Any, recorded: Function, watch: Watch) -> None:
        self._original, self._recorded, self._watch = original, recorded, watch

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None or self._watch.recorder is None or self._watch.busy:
            return self._original.__get__(instance, owner)
        return MethodType(self._recorded, instance)
