"""Unreduced gradients under FSDP, whose parameters never see a whole gradient.

Both versions of FSDP keep a unit's gradient for the length of one function: one function of the first and one
of the second reduce it.  They are replaced while the collector is attached; neither is public, so where one
is missing that is said, and the reduced gradients are recorded all the same.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from ... import torch_internals
from ...format.monitor_files import GRAD_UNREDUCED
from ...format.names import without_wrappers
from ...intercept.patching import Patches
from ..config import MonitorConfig
from ..rows import Label
from ..scope import WatchedParameter
from .base import Collector, Site, register


@register("grad_unreduced_sharded")
class ShardedGradients(Collector):
    key = "wg_distribution"
    kinds = (GRAD_UNREDUCED,)

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._patches = Patches()
        self._micro_steps: Counter[int] = Counter()
        self._by_identity: dict[int, WatchedParameter] = {}
        self._by_path: dict[str, WatchedParameter] = {}

    @classmethod
    def wanted(cls, config: MonitorConfig) -> bool:
        return config.wg_distribution and torch.distributed.is_available()

    def attach(self) -> None:
        parameters = self.site.scope.parameters
        self._by_identity = {id(watched.parameter): watched for watched in parameters}
        self._by_path = {without_wrappers(watched.path): watched for watched in parameters}
        if any(_is_fsdp1(module) for model in self.site.scope.models for module in model.modules()):
            self._replace("fsdp1_runtime", torch_internals.fsdp1_reduce, self._around_post_backward)
        if any(is_fsdp2(module) for model in self.site.scope.models for module in model.modules()):
            self._replace("fsdp2_group", "foreach_reduce", self._around_foreach_reduce)

    def detach(self) -> None:
        self._patches.restore()
        self.end_step()

    def end_step(self) -> None:
        self._micro_steps.clear()

    def _replace(self, module: str, name: str, around: Any) -> None:
        owner = getattr(torch_internals, module)
        original = getattr(owner, name, None)
        if original is None:
            self.site.guard(lambda: _missing(module, name))
        else:
            self._patches.replace(owner, name, around(original))

    def _around_post_backward(self, original: Any) -> Any:
        def post_backward(state: Any, handle: Any, *rest: Any) -> Any:
            if self.site.recording:
                self.site.guard(lambda: self._flat(handle))
            return original(state, handle, *rest)

        return post_backward

    def _around_foreach_reduce(self, original: Any) -> Any:
        def foreach_reduce(fsdp_params: Any, unsharded_grads: Any, *rest: Any, **named: Any) -> Any:
            if self.site.recording:
                self.site.guard(lambda: self._listed(fsdp_params, unsharded_grads))
            return original(fsdp_params, unsharded_grads, *rest, **named)

        return foreach_reduce

    def _flat(self, handle: Any) -> None:
        """FSDP 1: one flat gradient (n,) of a unit, of which each parameter has a stretch; padding lies between."""
        flat = handle.flat_param
        if flat.grad is None:
            return
        found = []
        stretches = zip(torch_internals.flat_offsets(handle), torch_internals.flat_padding(flat), strict=True)
        offsets = [stretch for stretch, is_padding in stretches if not is_padding]
        parameters, shapes = torch_internals.flat_parameters(flat), torch_internals.flat_shapes(flat)
        for parameter, (start, end), shape in zip(parameters, offsets, shapes, strict=True):
            watched = self._by_identity.get(id(parameter))
            if watched is not None:
                found.append((watched, flat.grad[start : end + 1].view(shape)))
        self._show(id(flat), found)

    def _listed(self, fsdp_params: Any, gradients: Any) -> None:
        """FSDP 2: a unit's gradients as a list beside its parameters."""
        found = []
        for parameter, gradient in zip(fsdp_params, gradients, strict=True):
            watched = self._by_path.get(without_wrappers(torch_internals.fsdp2_parameter_name(parameter) or ""))
            if watched is not None:
                found.append((watched, gradient))
        self._show(id(fsdp_params[0]), found)

    def _show(self, unit: int, found: list[tuple[WatchedParameter, torch.Tensor]]) -> None:
        site = self.site
        micro_step = self._micro_steps[unit]
        self._micro_steps[unit] += 1
        is_last = site.grad_acc_steps is None or (micro_step + 1) % site.grad_acc_steps == 0
        if not (is_last or site.config.monitor_mbs_grad):
            return
        measured = site.measurer.measure([gradient for _, gradient in found], divisor=site.loss_scale())
        for (watched, _), numbers in zip(found, measured, strict=True):
            place = micro_step if site.config.monitor_mbs_grad else None
            site.show(Label(GRAD_UNREDUCED, watched.vpp_stage, watched.name, place), numbers)


def _is_fsdp1(module: torch.nn.Module) -> bool:
    return type(module).__name__ == "FullyShardedDataParallel"


def is_fsdp2(module: torch.nn.Module) -> bool:
    """Has `fully_shard` been applied to this module?  It changes the module's class to one of its own."""
    return any(base.__name__ == "FSDPModule" for base in type(module).__mro__)


def _missing(module: str, name: str) -> None:
    raise AttributeError(f"this torch has no {name} ({module}), so unreduced gradients under FSDP are not recorded")
