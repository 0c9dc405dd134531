"""Values that a script hands in to be recorded under a name of its own."""

from __future__ import annotations

from typing import Any

from ..record import tree
from ..record.entries import Emission
from . import autograd, calls
from .watch import Watch


def record(watch: Watch, variable: Any, name: str, *, backward: bool) -> None:
    """Record any value as `Saved.{name}.{n}`; the gradients of its tensors follow when backward comes."""
    recorder = watch.recorder
    if recorder is None:
        return
    key = f"Saved.{name}"
    call = f"{key}.{recorder.number(key)}"
    owner = watch.owner

    def write() -> None:
        listed = list(variable) if isinstance(variable, (list, tuple)) else [variable]
        body: dict[str, Any] = {"input_args": [], "input_kwargs": {}}
        body["output"] = recorder.wrote(listed, f"{call}.forward.output")
        recorder.emit(Emission(f"{call}.forward", body, owner, recorder.take_stack()))
        tensors = tree.tensors_of(variable)
        border = autograd.output_border(tensors)
        if backward and border.outputs:
            sizes = (len(tensors), 0)
            calls.follow_border(watch, border, recorder, name=f"{call}.backward", owner=None, sizes=sizes, within=None)

    watch.guard(write)
