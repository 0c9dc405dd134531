"""Inputs and outputs of modules, and the gradients of both.

Gradients are taken by hooks on the module's own autograd nodes (`dump.intercept.autograd`): nothing is inserted
into the graph, as a full backward hook would, so the run stays what it was to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from ...format.monitor_files import ACTV, ACTV_GRAD
from ...intercept import autograd
from ...intercept.watch import P, recomputing
from ...older_torch import is_compiling
from ..config import MonitorConfig
from ..forward_hooks import ForwardHook
from ..rows import Label
from ..scope import WatchedModule
from .base import Collector, Site, register

_MOST_NODES = 100_000  # of a module's graph; a larger one is the model's, and its inputs are data


@register("activations")
class Activations(Collector):
    key = "xy_distribution"
    kinds = (ACTV, ACTV_GRAD)

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._handles: list[Any] = []
        self._forward = not site.config.backward_only
        self._backward = not site.config.forward_only
        self._open: dict[int, list[autograd.Before | None]] = {}

    @classmethod
    def wanted(cls, config: MonitorConfig) -> bool:
        return config.xy_distribution and not (config.forward_only and config.backward_only)

    def attach(self) -> None:
        for watched in self.site.scope.modules:
            module = watched.module
            if self._backward:
                self._handles.append(ForwardHook(module, self._begin(watched), before=True))
            self._handles.append(ForwardHook(module, self._end(watched), before=False))

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._open.clear()

    def end_step(self) -> None:
        self._open.clear()

    def _watches(self, module: torch.nn.Module) -> bool:
        """Training alone, each call once, and nothing that torch.compile is reading: its graph would break."""
        return self.site.recording and module.training and not recomputing()

    def _begin(self, watched: WatchedModule) -> Callable[..., None]:
        opened = self._open.setdefault(id(watched.module), [])

        def before(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if is_compiling() or not self._watches(module):
                return
            opened.append(self.site.guard(lambda: autograd.before_call(_inputs(args, kwargs))))

        return before

    def _end(self, watched: WatchedModule) -> Callable[..., None]:
        opened = self._open.setdefault(id(watched.module), [])

        def after(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if is_compiling() or not self._watches(module):
                return
            begun = opened.pop() if opened else None
            self.site.guard(lambda: self._saw(watched, _inputs(args, kwargs), _outputs(output), begun))

        return after

    def _saw(
        self,
        watched: WatchedModule,
        inputs: list[torch.Tensor],
        outputs: list[torch.Tensor],
        begun: autograd.Before | None,
    ) -> None:
        micro_step = self.site.micro_step(watched.vpp_stage)
        if self._forward:
            for side, tensors in (("input", inputs), ("output", outputs)):
                for index, measured in enumerate(self.site.measurer.measure(tensors)):
                    name = f"{watched.name}.{_numbered(side, index, len(tensors))}"
                    self.site.show(Label(ACTV, watched.vpp_stage, name, micro_step), measured)
        if begun is None:
            return
        border = autograd.find_border(begun, outputs, _MOST_NODES)
        if border is not None:
            sizes = (len(outputs), len(inputs))
            pending = _GradientsOfModule(
                crossing=border.crossing(), sizes=sizes, site=self.site, watched=watched, micro_step=micro_step
            )
            autograd.attach(border, pending)


class _GradientsOfModule(autograd.Pending, gc=False, eq=False, kw_only=True):
    """The gradients of a module call: backward reads those of outputs and writes those of inputs."""

    site: Site
    watched: WatchedModule
    micro_step: int

    def take(self, place: str, gradient: torch.Tensor) -> bool:
        read_or_written, _, index = place.partition(".")
        side, count = ("output", self.sizes[0]) if read_or_written == "input" else ("input", self.sizes[1])
        (measured,) = self.site.measurer.measure([gradient], divisor=self.site.loss_scale())
        name = f"{self.watched.name}.{_numbered(side, int(index), count)}"
        self.site.show(Label(ACTV_GRAD, self.watched.vpp_stage, name, self.micro_step), measured)
        return True

    def done(self, read: list[Any], written: list[Any]) -> None:
        """Each was shown when it came."""

    def run(self, act: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        if self.site.recording:
            self.site.guard(partial(act, *args, **kwargs))


def _numbered(side: str, index: int, count: int) -> str:
    """`input` where there is one tensor, else `input_0`, `input_1`, as msprobe has it."""
    return side if count == 1 else f"{side}_{index}"


def _inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The tensors among a module's own arguments; those inside containers are not its inputs in msprobe either."""
    return [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]


def _outputs(output: Any) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return [value for value in output if isinstance(value, torch.Tensor)]
    return []
