"""Code that torch compiles or runs without asking Python for each operator: scripted functions and modules, graphs.

torch.jit knows torch's functions by identity, so while it compiles, our stand-ins step back.  What runs inside scripted
code is not recorded one by one; it is counted, so that it is said and not passed over.  What torch.jit.trace writes
down is named as it is alone.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType, FunctionType
from typing import Any, TypeAlias, TypeVar

import torch

from .. import torch_internals
from ..record.stack import is_ours
from ..torch_internals import compiled_so_far
from .in_place import redirect, redirect_in_c, restore_in_c
from .patching import Patches
from .points import Point
from .watch import Watch

Function: TypeAlias = "Callable[..., Any]"
Kept = TypeVar("Kept", bound=Function)


class ScriptedCode:
    """Counts the calls of scripted code that are made while a step is recorded.

    What an operator under a dispatch mode raises reaches torch.jit without its message; the error of the call gets it
    back.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._led: list[Any] = []
        self._scripted: dict[str, int] = {}
        self._compiled_before = (0, 0)

    def points(self, *, came_first: bool) -> Iterator[Point]:
        """`came_first` says that nothing of the script has run yet: what is compiled by now is not the script's."""
        self._compiled_before = compiled_so_far() if came_first else (0, 0)
        yield Point("calls of scripted functions", lambda patches: self._follow(torch.jit.ScriptFunction, patches))
        yield Point(
            "calls of scripted modules",
            lambda patches: self._follow(torch_internals.ScriptMethod, patches),
            needs=("ScriptMethod",),
        )

    def remove(self) -> None:
        while self._led:
            restore_in_c(self._led.pop())

    def take(self) -> Mapping[str, object]:
        """`scripted`: calls of scripted code since the last time, by name.  `compiled`: what torch.compile has
        made graphs of so far, whether they ran in this step or not.  Each is left out where there is nothing to say."""
        scripted, self._scripted = self._scripted, {}
        found: dict[str, object] = {"scripted": scripted} if scripted else {}
        graphs, operators = (now - then for now, then in zip(compiled_so_far(), self._compiled_before, strict=True))
        if graphs > 0:
            found["compiled"] = {"graphs": graphs, "operators": operators}
        return found

    def _follow(self, owner: Any, patches: Patches) -> None:
        function = getattr(vars(owner)["__call__"], "__func__", None)
        if redirect_in_c(function, self._counting):
            self._led.append(function)
        else:
            patches.replace(owner, "__call__", functools.wraps(owner.__call__)(self._counting(owner.__call__)))

    def _counting(self, original: Function) -> Function:
        watch = self._watch

        def called(*args: Any, **kwargs: Any) -> Any:
            if watch.listening():
                watch.attempt(self._count, args[0])
            watch.said = ""
            try:
                return original(*args, **kwargs)
            except RuntimeError as error:
                watch.attempt(_say_again, error, watch.said)
                raise

        return called

    def _count(self, code: Any) -> None:
        name = torch_internals.scripted_type(code.owner).name() if hasattr(code, "owner") else code.name
        self._scripted[str(name)] = self._scripted.get(str(name), 0) + 1


def _say_again(error: RuntimeError, said: str) -> None:
    text = error.args[0] if error.args else ""
    head, says_nothing, end = text.rpartition(_SAYS_NOTHING) if type(text) is str else ("", "", "")
    if said and says_nothing and not end.strip():
        error.args = (f"{head}{says_nothing}{said}{end}", *error.args[1:])


def name_original(stand_in: Any, original: Function) -> None:
    """Tell the compilers, in the words that each of them knows, which function `stand_in` stands for.

    dynamo then traces the original, and torch.jit compiles the source of a Python one.
    """
    stand_in.__dict__[torch_internals.traced_original] = original
    if hasattr(original, "__code__"):
        stand_in.__dict__[torch_internals.script_stand_in] = True
        stand_in.__dict__[torch_internals.scripted_original] = original


def let_scripts_compile(originals: Mapping[int, int], patches: Patches) -> None:
    """Make torch.jit.script compile as it would without `patches`; `originals` gives the id of the original for that of
    a stand-in."""
    table: dict[int, str] = torch_internals.builtin_table()
    builtins = {stand_in: table[original] for stand_in, original in originals.items() if original in table}
    for stand_in, name in builtins.items():
        patches.replace(table, stand_in, name)
    script, frames_up = torch.jit.script, torch_internals.frames_up

    @functools.wraps(script)
    def compiled(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 3:  # names are looked up in the caller's frame, which is one further up now
            kwargs[frames_up] = kwargs.get(frames_up, 0) + 1
        with patches.suspended(), _builtins_known(builtins):
            return script(*args, **kwargs)

    for owner in (torch.jit, torch_internals.script_module, torch_internals.trace_module):
        patches.replace(owner, "script", compiled)


def let_traces_name(patches: Patches) -> None:
    """Make torch.jit.trace name a value after the variable of the script's or of torch's that holds it, not of ours."""
    make = torch_internals.trace_names
    if isinstance(make, FunctionType):
        redirect(make, lambda _: _names_past_ours, patches)


def _names_past_ours(frames_up: int = 1) -> Callable[[torch.Tensor], str]:
    """As torch's own: what is made gives the name of a variable, in its caller's frame or so many above it."""

    def name_of(value: torch.Tensor) -> str:
        frame = _theirs(sys._getframe(1))
        for _ in range(frames_up):
            frame = _theirs(frame and frame.f_back)
        found = next((name for name, held in (frame.f_locals if frame else {}).items() if held is value), "")
        return "" if found == "self" else found

    return name_of


def _theirs(frame: FrameType | None) -> FrameType | None:
    while frame is not None and is_ours(frame.f_code):
        frame = frame.f_back
    return frame


def keep_untraced(function: Kept) -> Kept:
    """Let dynamo call `function` where it compiles what calls it, and not look into it."""
    setattr(function, torch_internals.untraceable, True)
    return function


@contextlib.contextmanager
def _builtins_known(builtins: Mapping[int, str]) -> Iterator[None]:
    """Let torch.jit take a stand-in that a script imported by name for the builtin it stands for."""
    table: dict[int, str] = torch_internals.builtin_table()
    added = builtins.keys() - table.keys()
    table.update((number, builtins[number]) for number in added)
    try:
        yield
    finally:
        for number in added:
            table.pop(number, None)


def keep_own_code_uncompiled() -> None:
    """Keep dynamo away from this package: where compiled code runs, dynamo would compile what our stand-ins call.

    That these call nothing of Python's own that is written in Python is their part of it.
    """
    loaded = {name for name in list(sys.modules) if name.startswith(_OURS)}
    if loaded <= _kept:
        return
    _kept.update(loaded)
    for thing in gc.get_objects():
        if type(thing) is FunctionType and _is_ours(thing):
            keep_uncompiled(thing.__code__)


def _is_ours(function: FunctionType) -> bool:
    """Does it stand in a file of ours, or was it made by one, as the methods of a dataclass are?"""
    if function.__code__.co_filename.startswith(_FOLDER):
        return True
    return function.__code__.co_filename == "<string>" and str(function.__globals__.get("__name__")).startswith(_OURS)


def keep_uncompiled(code: CodeType) -> None:
    """Keep dynamo away from `code`, and from what is defined in it."""
    strategy, action = torch_internals.skipping, torch_internals.skipping_action
    torch_internals.skips(code, *([] if strategy is None else [strategy(action.SKIP, action.DEFAULT)]))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            keep_uncompiled(constant)


_SAYS_NOTHING = "\nRuntimeError: "
_kept: set[str] = set()
_OURS = f"{__name__.partition('.')[0]}."
_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
