"""Recording that leaves a function of torch the object that it is: who compares, pickles or looks up, sees no other.

A function written in Python keeps its identity and gets other code for a while (`redirect`).  A function written in C
keeps it too, where the native core can lead it elsewhere (`redirect_in_c`); else: `intercept.stand_ins`.  A method
written in C is found on the class as itself, and on a tensor as one that is recorded (`RecordedMethod`).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any, TypeAlias

from .. import native
from ..record.stack import OURS
from .callers import one_line
from .patching import Patches
from .watch import Watch

Function: TypeAlias = "Callable[..., Any]"

_NUMBER = 7070707
"""The constant in `_through` in the place of which each function gets the number of its own recorder."""
_RECORDER = "7070708"
"""And the one in the place of which it gets the recorder itself."""


def _through(*args: Any, **kwargs: Any) -> Any:
    try:
        recorded = __spec__.loader_state[7070707]
    except (AttributeError, LookupError, TypeError):  # the module was loaded again, and has another spec
        recorded = "7070708"
    try:
        return recorded(*args, **kwargs)
    except BaseException as error:  # the recorder's frame was the one between this and what the function did
        trace = error.__traceback__
        trace = trace and trace.tb_next
        raise error.with_traceback(trace and trace.tb_next)  # noqa: B904  # it is the same error


def redirect(function: FunctionType, make: Callable[[Function], Function], patches: Patches) -> None:
    """Let calls of `function` run `make(twin)`, `twin` being a second function that does what `function` did.

    The code looks its target up by a global name, and not among its constants, for dynamo can follow that.  So that
    no name is seen that was not there, it is what a module's `__spec__` has for its loader: nothing, for one in Python.
    A module that is loaded again gets another; then a constant does.
    """
    twin = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__annotations__ = function.__annotations__
    twin.__qualname__, twin.__module__ = function.__qualname__, function.__module__
    twin.__dict__.update(function.__dict__)
    spec = function.__globals__["__spec__"]
    before = () if spec.loader_state is None else spec.loader_state
    recorder = make(twin)
    patches.replace(spec, "loader_state", (*before, recorder))
    if "__signature__" not in function.__dict__ and "__wrapped__" not in function.__dict__:
        patches.replace(function, "__signature__", inspect.signature(function))
    patches.replace(function, "__code__", _leading_to(recorder, len(before), function.__code__))


def _leading_to(recorder: Function, number: int, code: CodeType) -> CodeType:
    """The code of `_through` in the place of `code`, calling `recorder`, which has that number; its source is that of
    `code`."""
    changes = {name: getattr(code, name) for name in ("co_filename", "co_firstlineno", "co_name", "co_freevars")}
    if sys.version_info >= (3, 11):
        changes |= {"co_qualname": code.co_qualname, "co_linetable": one_line(len(_through.__code__.co_code) // 2)}
    own = {_NUMBER: number, _RECORDER: recorder}
    constants = (own.get(value, value) for value in _through.__code__.co_consts)
    return _through.__code__.replace(**changes, co_consts=(*constants, OURS))


def redirect_in_c(function: Any, make: Callable[[Any], Function]) -> bool:
    """The same for a function written in C.

    False where there is no native core, or one built before it could do this, or the function is no such.
    """
    lead = getattr(native.core, "redirect", None)
    if lead is None or type(function) is not BuiltinFunctionType:
        return False
    try:
        lead(function, make)
    except TypeError:  # laid out in a way that the core does not know
        return False
    return True


def restore_in_c(function: Any) -> None:
    """End what `redirect_in_c` began."""
    assert native.core is not None
    native.core.restore(function)


class RecordedMethod:
    """A method in C: `torch.Tensor.add` is what it was, `x.add` is recorded while somebody listens."""

    __slots__ = ("_original", "_recorded", "_watch")

    def __init__(self, original: Any, recorded: Function, watch: Watch) -> None:
        self._original, self._recorded, self._watch = original, recorded, watch

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None or self._watch.recorder is None or self._watch.busy:
            return self._original.__get__(instance, owner)
        return MethodType(self._recorded, instance)
