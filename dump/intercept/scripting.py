"""torch.jit knows torch's functions by identity: while it compiles, our stand-ins step back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch.jit import _builtins

from .patching import Patches

Function: TypeAlias = "Callable[..., Any]"


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
