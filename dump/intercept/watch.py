"""What the interceptors share: is anybody listening, whose module are we in, and what went wrong on our side.

`busy` keeps our own work, and calls inside a recorded call, out of the record.  State is not thread-local: on a
device, backward runs on a thread of autograd's own.  Threads of the user's (loaders, prefetchers) are left alone,
since the order of their calls is chance.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch

from ..record.recorder import Emission, StepRecorder
from . import autograd

_graph_task = torch._C._current_graph_task_id
_MAX_NODES = 100_000


class Watch:
    """The one object behind all patches and hooks of a session."""

    def __init__(self) -> None:
        self.recorder: StepRecorder | None = None
        self.busy = False
        self.muted = False
        self.gated = False
        self.setting_up = False
        self.modules: list[str | None] = []
        self.backward_wanted = True
        self.failures: dict[str, int] = {}
        self.pending: dict[int, autograd.Pending] = {}
        self._thread = threading.get_ident()

    def listening(self) -> bool:
        """Should a call that begins now be recorded?

        `muted` while an optimizer steps, `gated` outside a module that alone was asked for, `setting_up` until an
        unmodified script first uses its model.
        """
        if self.recorder is None or self.busy or self.muted or self.gated or self.setting_up:
            return False
        if threading.get_ident() != self._thread and _graph_task() == -1:
            return False
        return not torch.compiler.is_compiling()

    def leaves_setup(self, tensors: Iterable[Any]) -> bool:
        """A script's set-up (building the model, drawing its weights) ends with the first outermost module call, or
        with the first call that builds a graph.  Is this such a call?"""
        if self.busy or not torch.is_grad_enabled():
            return False
        if any(isinstance(tensor, torch.Tensor) and tensor.requires_grad for tensor in tensors):
            self.setting_up = False
            return self.listening()
        return False

    def begin_step(self, recorder: StepRecorder) -> None:
        self._thread = threading.get_ident()
        self.recorder = recorder

    def end_step(self) -> None:
        """Close every backward that stays incomplete, then stop listening."""
        for pending in list(self.pending.values()):
            self.guard(pending.finish)
        self.pending.clear()
        self.recorder = None
        self.muted = False

    @property
    def owner(self) -> str | None:
        """The module call that encloses the present one."""
        return self.modules[-1] if self.modules else None

    def guard(self, act: Callable[[], Any]) -> None:
        """Run our own work.  This is the one edge between us and the user's step: whatever fails here is counted
        and named in the header, and the training goes on."""
        if self.recorder is None:
            return
        outer, self.busy = self.busy, True
        try:
            act()
        except Exception as error:
            self.failed(error)
        finally:
            self.busy = outer

    def failed(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        self.failures[text] = self.failures.get(text, 0) + 1

    def recomputing(self) -> bool:
        """Is this forward call a recomputation inside backward (activation checkpointing)?"""
        return _graph_task() != -1 and torch.is_grad_enabled()

    def follow(
        self,
        before: autograd.Before | None,
        outputs: list[torch.Tensor],
        name: str,
        owner: str | None,
    ) -> autograd.Border | None:
        """Record the gradients of the call that made `outputs`, under `name`, when backward comes to it."""
        recorder = self.recorder
        if before is None or recorder is None:
            return None
        border = autograd.find_border(before, outputs, _MAX_NODES)
        if border is None:
            return None
        backward_owner = None if owner is None else backward_name(owner)
        keep_read, keep_written = recorder.keeps("backward", "input"), recorder.keeps("backward", "output")
        if not (keep_read or keep_written):
            return border
        ticket = id(border)

        def take(place: str, gradient: torch.Tensor) -> Any:
            keep = keep_read if place.startswith("input") else keep_written
            if self.recorder is not recorder or not keep:
                return None
            return recorder.read(gradient, f"{name}.{place}")

        def done(read: list[Any], written: list[Any]) -> None:
            self.pending.pop(ticket, None)
            if self.recorder is recorder:
                recorder.emit(Emission(name, {"input": read, "output": written}, backward_owner, None))

        pending = autograd.Pending(border, (len(outputs), len(before.inputs)), take, done)
        self.pending[ticket] = pending
        autograd.attach(border, pending, self.guard)
        return border


def backward_name(forward: str) -> str:
    """`Module.fc.Linear.forward.0` -> `Module.fc.Linear.backward.0`; `Torch.add.3.forward` -> `...3.backward`."""
    head, dot, number = forward.rpartition(".")
    if number == "forward":
        return f"{head}{dot}backward"
    return f"{head.removesuffix('.forward')}.backward.{number}"
