"""Code that torch compiles or runs without asking Python for each operator: scripted functions and modules, graphs.

torch.jit knows torch's functions by identity, so while it compiles, our stand-ins step back.  What runs inside scripted
code is not recorded one by one; it is counted, so that it is said and not passed over.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch.jit import _builtins

from .patching import Patches
from .watch import Watch

Function: TypeAlias = "Callable[..., Any]"


class ScriptedCode:
    """Counts the calls of scripted code that are made while a step is recorded."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._scripted: dict[str, int] = {}
        self._compiled_before = (0, 0)

    def install(self, patches: Patches, *, came_first: bool) -> None:
        """`came_first` says that nothing of the script has run yet: what is compiled by now is not the script's."""
        self._compiled_before = _compiled() if came_first else (0, 0)
        self._follow(torch.jit.ScriptFunction, patches)
        self._follow(torch.jit._script.RecursiveScriptModule, patches)

    def take(self) -> Mapping[str, object]:
        """`scripted`: calls of scripted code since the last time, by name.  `compiled`: what torch.compile has
        made graphs of so far, whether they ran in this step or not.  Each is left out where there is nothing to say."""
        scripted, self._scripted = self._scripted, {}
        found: dict[str, object] = {"scripted": scripted} if scripted else {}
        graphs, operators = (now - then for now, then in zip(_compiled(), self._compiled_before, strict=True))
        if graphs > 0:
            found["compiled"] = {"graphs": graphs, "operators": operators}
        return found

    def _follow(self, owner: Any, patches: Patches) -> None:
        original = owner.__call__
        watch = self._watch

        def __call__(self_: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            if watch.listening():
                self._count(self_)
            return original(self_, *args, **kwargs)

        patches.replace(owner, "__call__", __call__)

    def _count(self, code: Any) -> None:
        name = str(getattr(code, "original_name", "") or getattr(code, "name", "") or type(code).__name__)
        self._scripted[name] = self._scripted.get(name, 0) + 1


def _compiled() -> tuple[int, int]:
    """How many graphs dynamo has made in this process, and how many operators they hold."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    stats: Mapping[str, int] = dynamo.counters["stats"] if dynamo is not None else {}
    return stats.get("unique_graphs", 0), stats.get("calls_captured", 0)


def name_original(stand_in: Any, original: Function) -> None:
    """Tell the compilers, in the words that each of them knows, which function `stand_in` stands for.

    dynamo then traces the original, and torch.jit compiles the source of a Python one.
    """
    stand_in._torchdynamo_inline = original
    if hasattr(original, "__code__"):
        stand_in.__dict__.update(__script_if_tracing_wrapper=True, __original_fn=original)


def let_scripts_compile(originals: Mapping[Function, Function], patches: Patches) -> None:
    """Make torch.jit.script compile as it would without `patches`; `originals` is keyed by stand-in."""
    script = torch.jit.script

    def compiled(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 3:  # names are looked up in the caller's frame, which is one further up now
            kwargs["_frames_up"] = kwargs.get("_frames_up", 0) + 1
        with patches.suspended(), _builtins_known(originals):
            return script(*args, **kwargs)

    for owner in (torch.jit, torch.jit._script, torch.jit._trace):
        patches.replace(owner, "script", compiled)


@contextlib.contextmanager
def _builtins_known(originals: Mapping[Function, Function]) -> Iterator[None]:
    """Let torch.jit take a stand-in that a script imported by name for the builtin it stands for."""
    table: dict[int, str] = _builtins._get_builtin_table()  # type: ignore[no-untyped-call]
    added = {
        id(stand_in): table[id(original)]
        for stand_in, original in originals.items()
        if id(original) in table and id(stand_in) not in table
    }
    table.update(added)
    try:
        yield
    finally:
        for number in added:
            table.pop(number, None)
