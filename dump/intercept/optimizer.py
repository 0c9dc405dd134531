"""Optimizer steps, by torch's global step hooks: gradients and old parameters in, new parameters out.

A step is one call in the record (`Optimizer.AdamW.0.forward`), so that a wrong constant shows where it acts and not as
parameters that differ a step later.  The operators inside a step are not recorded one by one, unless the step has a
closure, which runs the model again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import optimizer as torch_optimizer

from ..record import stack
from ..record.recorder import Emission
from .modules import ModuleTree
from .watch import Watch


class OptimizerSteps:
    """The global hooks.  `after_step(optimizer)` is told of every finished step, recorded or not."""

    def __init__(
        self, watch: Watch, modules: ModuleTree, after_step: Callable[[torch.optim.Optimizer], None] | None = None
    ) -> None:
        self._watch = watch
        self._tree = modules
        self._after_step = after_step
        self._handles: list[Any] = []
        self._started: dict[int, tuple[str, dict[str, Any], stack.RawStack | None]] = {}

    def install(self) -> None:
        self._handles = [
            torch_optimizer.register_optimizer_step_pre_hook(self._before),
            torch_optimizer.register_optimizer_step_post_hook(self._after),
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._started.clear()

    def _before(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._watch.listening():
            return
        self._watch.guard(lambda: self._begin(optimizer))
        has_closure = kwargs.get("closure") is not None or any(callable(a) for a in args if a is not optimizer)
        self._watch.muted = not has_closure

    def _after(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._watch.muted = False
        if id(optimizer) in self._started:
            self._watch.guard(lambda: self._end(optimizer))
        if self._after_step is not None:
            self._after_step(optimizer)

    def _parameters(self, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        """Every parameter that has a gradient, under its name in the model or its place in the optimizer."""
        found: dict[str, torch.Tensor] = {}
        for group_number, group in enumerate(optimizer.param_groups):
            for index, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    name = self._tree.parameter_name(parameter) or f"group{group_number}.{index}"
                    found[name] = parameter
        return found

    def _begin(self, optimizer: torch.optim.Optimizer) -> None:
        recorder = self._watch.recorder
        assert recorder is not None
        key = f"Optimizer.{type(optimizer).__name__}"
        name = f"{key}.{recorder.number(key)}.forward"
        if not recorder.wanted(name):
            return
        parameters = self._parameters(optimizer)
        body: dict[str, Any] = {"input_args": []}
        if recorder.keeps("forward", "input"):
            gradients = {key: parameter.grad for key, parameter in parameters.items()}
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                # DDP's reducer writes gradients from C++, past the version counter.
                for gradient in gradients.values():
                    if gradient is not None:
                        recorder.touch(gradient)
            body["input_kwargs"] = {
                "grad": recorder.read(gradients, f"{name}.input.grad"),
                "param": recorder.read(parameters, f"{name}.input.param"),
                "group": {
                    str(number): _settings(group) for number, group in enumerate(optimizer.param_groups)
                },
            }
        self._started[id(optimizer)] = (name, body, recorder.take_stack())

    def _end(self, optimizer: torch.optim.Optimizer) -> None:
        recorder = self._watch.recorder
        assert recorder is not None
        name, body, taken = self._started.pop(id(optimizer))
        if recorder.keeps("forward", "output"):
            parameters = self._parameters(optimizer)
            for parameter in parameters.values():
                if parameter.is_inference():
                    recorder.touch(parameter)
            body["output"] = [recorder.wrote(parameters, f"{name}.output.0")]
        body["is_recompute"] = False
        recorder.emit(Emission(name, body, self._watch.owner, taken))


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's plain settings (lr, betas, eps, ...), so that a differing constant can be named."""
    plain: dict[str, Any] = {}
    for key, value in group.items():
        if key == "params":
            continue
        if isinstance(value, (bool, int, float, str, tuple)) or value is None:
            plain[key] = value
        elif isinstance(value, torch.Tensor) and value.numel() == 1 and value.device.type == "cpu":
            plain[key] = value.item()
    return plain


class LiveOptimizers:
    """Which optimizers a script has, so that a step can be told to end when all of them have stepped.

    A run with two optimizers (a GAN) steps both in one iteration.  One that steps a second time before the others
    have stepped shows that the others are idle, and ends the step too.
    """

    def __init__(self) -> None:
        self._stepped: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()
        self._known: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()
        self._idle: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()

    def made(self, optimizer: torch.optim.Optimizer) -> None:
        self._known.add(optimizer)

    def ends_step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Called after each step of an optimizer: is the training step over?"""
        self._known.add(optimizer)
        self._idle.discard(optimizer)
        again = optimizer in self._stepped
        self._stepped.add(optimizer)
        missing = [other for other in self._known if other not in self._stepped and other not in self._idle]
        if again:
            for other in missing:
                self._idle.add(other)
            missing = []
        if missing:
            return False
        self._stepped = weakref.WeakSet()
        return True
