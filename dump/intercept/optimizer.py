"""Optimizer steps, by torch's global step hooks: gradients and old parameters in, new parameters out.

A step is one call in the record (`Optimizer.AdamW.0.forward`), so that a wrong constant shows where it acts
and not as parameters that differ a step later.  The operators inside a step are not recorded one by one,
unless the step has a closure, which runs the model again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch.optim import optimizer as torch_optimizer

from ..record import stack
from ..record.recorder import Emission, StepRecorder
from .modules import ModuleTree
from .watch import Watch


@dataclass(frozen=True, slots=True)
class _OpenStep:
    """An optimizer step that has begun; `recorder` is None where it is not recorded.  `frame` is torch's, that
    runs it."""

    frame: FrameType
    optimizer: torch.optim.Optimizer
    mutes: bool
    recorder: StepRecorder | None
    name: str
    body: dict[str, Any]
    stack: stack.RawStack | None


class OptimizerSteps:
    """The global hooks.  `after_step(optimizer)` is told of every finished step, recorded or not."""

    def __init__(
        self,
        watch: Watch,
        modules: ModuleTree,
        *,
        after_step: Callable[[torch.optim.Optimizer], None] | None = None,
    ) -> None:
        self._watch = watch
        self._tree = modules
        self._after_step = after_step
        self._handles: list[Any] = []
        self._open: list[_OpenStep] = []

    def install(self) -> None:
        self._handles = [
            torch_optimizer.register_optimizer_step_pre_hook(self._before),
            torch_optimizer.register_optimizer_step_post_hook(self._after),
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.forget()

    def forget(self) -> None:
        self._open.clear()
        self._watch.muted = False

    def _before(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.drop_those_that_raised()
        has_closure = kwargs.get("closure") is not None or any(callable(argument) for argument in args[1:])
        begun = None
        if self._watch.listening() and not self._is_open(optimizer):
            begun = self._watch.guard(lambda: self._begin(optimizer))
        recorder, name, body, taken = begun or (None, "", {}, None)
        frame = sys._getframe(1)
        self._open.append(_OpenStep(frame, optimizer, not has_closure, recorder, name, body, taken))
        self._watch.muted = any(step.mutes for step in self._open)

    def _after(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.drop_those_that_raised()
        if not self._is_open(optimizer):
            return  # it began before we were there
        step = self._open.pop()
        self._watch.muted = any(outer.mutes for outer in self._open)
        if step.recorder is not None and step.recorder is self._watch.recorder:
            self._watch.guard(lambda: self._end(step))
        if self._after_step is not None and not self._is_open(optimizer):
            self._after_step(optimizer)

    def _is_open(self, optimizer: torch.optim.Optimizer) -> bool:
        """Is `optimizer` within a step?  A subclass whose `step` calls its parent's has one inside the other."""
        return any(step.optimizer is optimizer for step in self._open)

    def drop_those_that_raised(self) -> None:
        """torch tells of no step that raised: its frame is gone."""
        if not self._open:
            return
        running: set[int] = set()
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            running.add(id(frame))
            frame = frame.f_back
        self._open = [step for step in self._open if id(step.frame) in running]
        self._watch.muted = any(step.mutes for step in self._open)

    def _parameters(self, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        """Every parameter that has a gradient, under its name in the model or its place in the optimizer."""
        names = self._tree.parameter_names()
        return {
            names.get(id(parameter), f"group{number}.{index}"): parameter
            for number, group in enumerate(optimizer.param_groups)
            for index, parameter in enumerate(group["params"])
            if parameter.grad is not None
        }

    def _begin(
        self, optimizer: torch.optim.Optimizer
    ) -> tuple[StepRecorder, str, dict[str, Any], stack.RawStack | None] | None:
        recorder = self._watch.recorder
        assert recorder is not None
        key = f"Optimizer.{type(optimizer).__name__}"
        name = f"{key}.{recorder.number(key)}.forward"
        if not recorder.selection.wants(name):
            return None
        body: dict[str, Any] = {}
        if recorder.keeps("forward", "input"):
            parameters = self._parameters(optimizer)
            gradients = {key: parameter.grad for key, parameter in parameters.items()}
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                for gradient in gradients.values():
                    if gradient is not None:
                        recorder.touch(gradient)  # DDP's reducer writes past the version counter
            body["input_args"] = []
            body["input_kwargs"] = {
                "grad": recorder.read(gradients, f"{name}.input.grad"),
                "param": recorder.read(parameters, f"{name}.input.param"),
                "group": {str(number): _settings(group) for number, group in enumerate(optimizer.param_groups)},
            }
        return recorder, name, body, recorder.take_stack()

    def _end(self, step: _OpenStep) -> None:
        recorder, name, body = step.recorder, step.name, step.body
        assert recorder is not None
        if recorder.keeps("forward", "output"):
            parameters = self._parameters(step.optimizer)
            for parameter in parameters.values():
                recorder.touch(parameter)  # fused kernels move no version counter
            body["output"] = [recorder.wrote(parameters, f"{name}.output.0")]
        if body:
            body["is_recompute"] = False
            recorder.emit(Emission(name, body, self._watch.owner, step.stack))


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's plain settings (lr, betas, eps, ...), so that a differing constant can be named."""
    plain: dict[str, Any] = {}
    for key, value in group.items():
        if key == "params":
            continue
        if isinstance(value, tuple):
            plain[key] = list(value)
        elif isinstance(value, (bool, int, float, str)) or value is None:
            plain[key] = value
        elif isinstance(value, torch.Tensor) and value.numel() == 1 and value.device.type == "cpu":
            plain[key] = value.item()
    return plain
