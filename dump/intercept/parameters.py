"""Gradients of a module's own parameters, as autograd delivers them to the leaves of its graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..record.entries import Emission
from ..record.recorder import StepRecorder
from . import autograd
from .calls import OpenCall
from .watch import Watch, backward_name


@dataclass(slots=True, eq=False)
class _Arriving:
    """The gradients of one module's parameters that have come so far, out of `expected`; `name` is the module's call.

    Each backward makes a record of its own; what stays incomplete is recorded at the end of the step.  The call itself
    is let go, and with it what it read.
    """

    name: str
    recorder: StepRecorder
    expected: int
    gradients: dict[str, list[Any]] = field(default_factory=dict)

    def take(self, key: str, gradient: torch.Tensor) -> None:
        if key in self.gradients:  # a second backward, in which not all of them came the first time
            self.finish()
        recorder, base = self.recorder, self._base
        self.gradients[key] = [recorder.read(gradient, f"{base}.{key}")]
        if len(self.gradients) == self.expected:
            self.finish()

    def finish(self) -> None:
        if self.gradients:
            recorder, base = self.recorder, self._base
            body, self.gradients = self.gradients, {}
            owner = backward_name(self.name)
            if not recorder.selection.took(owner):
                return
            recorder.emit(Emission(f"{base}.{recorder.number(base)}", body, owner, None))

    @property
    def _base(self) -> str:
        return f"{self.name.rpartition('.forward.')[0]}.parameters_grad"


class ParameterGradients:
    """Hooks on the accumulators of a step's leaves; a parameter shared by modules belongs to the first."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._handles: dict[int, Any] = {}

    def follow(self, call: OpenCall, own: Mapping[str, torch.Tensor], leaves: Sequence[Any]) -> None:
        """Record the gradients of the parameters `own` of the module that made `call`."""
        if not call.recorder.writes_backward:
            return
        keys = {id(parameter): key for key, parameter in own.items()}
        nodes = {
            node: keys[id(node.variable)]
            for node in leaves
            if id(node.variable) in keys and not self._is_followed(node.variable)
        }
        if nodes:
            arriving = _Arriving(call.name, call.recorder, len(nodes))
            self._watch.pending[arriving] = None
            for node, key in nodes.items():
                self._handles[id(node.variable)] = node.register_prehook(self._hook(arriving, key))

    def _is_followed(self, parameter: torch.Tensor) -> bool:
        """Has its accumulator a hook of ours?  The hooks go with the accumulator, which is kept by its graph alone."""
        handle = self._handles.get(id(parameter))
        return handle is not None and handle.hooks_dict_ref() is not None

    def _hook(self, arriving: _Arriving, key: str) -> Callable[[autograd.Gradients], None]:
        def before_accumulating(gradients: autograd.Gradients) -> None:
            gradient = gradients[0]
            if gradient is not None and self._watch.open is arriving.recorder:
                self._watch.guard(lambda: arriving.take(key, gradient))

        return before_accumulating

    def release(self) -> None:
        """Take the hooks off the leaves: under DDP those outlive the step's graph."""
        for handle in self._handles.values():
            handle.remove()
        self._handles.clear()
