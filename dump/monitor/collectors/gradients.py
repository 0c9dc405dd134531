"""Weight gradients, as a rank's own backward left them and as the optimizer reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ...format.monitor_files import GRAD_REDUCED, GRAD_UNREDUCED
from ...older_torch import is_compiling
from ...torch_internals import at_the_end_of_backward
from ..rows import Label
from ..scope import WatchedParameter
from .base import Collector, Site, gradient_of, parameters_of, register, show_parameters
from .sharded import is_fsdp2


@register("grad_unreduced")
class UnreducedGradients(Collector):
    """Measured when a backward pass is over, all its gradients as one batch.

    Only where other ranks could write to a gradient by then, each is measured as soon as it has been accumulated.
    That costs twice as much on a host: what runs between two kernels finds the caches full of their data.
    """

    key = "wg_distribution"
    kinds = (GRAD_UNREDUCED,)

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._handles: list[Any] = []
        self._nodes: list[Any] = []  # a hook on a node lives as long as the node is held
        self._micro_steps: dict[WatchedParameter, int] = {}
        self._batch: list[tuple[WatchedParameter, int]] = []

    def attach(self) -> None:
        sharded = any(is_fsdp2(module) for model in self.site.scope.models for module in model.modules())
        for watched in self.site.scope.parameters:
            if not watched.parameter.is_leaf or (sharded and hasattr(watched.parameter, "to_local")):
                continue  # FSDP 2 calls such hooks with what is reduced already
            if self.site.prefers_main_grad and hasattr(watched.parameter, "main_grad"):
                # Megatron adds to main_grad in a hook on this node, put there before ours.
                node = _accumulator(watched.parameter)
                self._nodes.append(node)
                self._handles.append(node.register_hook(self._hook(watched)))
            else:
                parameter: Any = watched.parameter
                self._handles.append(parameter.register_post_accumulate_grad_hook(self._hook(watched)))

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._nodes.clear()
        self.end_step()

    def end_step(self) -> None:
        self._micro_steps.clear()
        self._batch.clear()

    def _hook(self, watched: WatchedParameter) -> Callable[..., None]:
        site = self.site

        def accumulated(*_: Any) -> None:
            if site.recording and not is_compiling():
                self._saw(watched)

        return accumulated

    def _saw(self, watched: WatchedParameter) -> None:
        micro_step = self._micro_steps.get(watched, 0)
        self._micro_steps[watched] = micro_step + 1
        site = self.site
        is_last = site.grad_acc_steps is None or (micro_step + 1) % site.grad_acc_steps == 0
        if not (is_last or site.config.monitor_mbs_grad):
            return
        if not self._batch:  # asked once a pass
            if _has_other_ranks():
                site.guard(lambda: self._show([(watched, micro_step)]))
                return
            at_the_end_of_backward(lambda: site.guard(self._pass_is_over))
        self._batch.append((watched, micro_step))

    def _pass_is_over(self) -> None:
        batch, self._batch = self._batch, []
        self._show(batch)

    def _show(self, batch: list[tuple[WatchedParameter, int]]) -> None:
        site = self.site
        present = [
            (watched, micro_step, gradient)
            for watched, micro_step in batch
            if (gradient := gradient_of(watched, prefers_main_grad=site.prefers_main_grad)) is not None
        ]
        measured = site.measurer.measure([gradient for _, _, gradient in present], divisor=site.loss_scale())
        for (watched, micro_step, _), numbers in zip(present, measured, strict=True):
            place = micro_step if site.config.monitor_mbs_grad else None
            site.show(Label(GRAD_UNREDUCED, watched.vpp_stage, watched.name, place), numbers)


@register("grad_reduced")
class ReducedGradients(Collector):
    """Measured in one batch when the optimizer is about to read them."""

    key = "wg_distribution"
    kinds = (GRAD_REDUCED,)

    def before_step(self, optimizer: Any) -> None:
        site = self.site
        found = [
            (watched, gradient)
            for watched in parameters_of(optimizer, site)
            if not watched.elsewhere
            and (gradient := gradient_of(watched, prefers_main_grad=site.prefers_main_grad)) is not None
        ]
        show_parameters(site, GRAD_REDUCED, found, divisor=_scale_left(optimizer))


def _scale_left(optimizer: Any) -> float:
    """A GradScaler leaves the gradients of a fused optimizer scaled, and tells the optimizer by how much."""
    scale = getattr(optimizer, "grad_scale", None)
    return float(scale) if isinstance(scale, torch.Tensor) else 1.0


def _accumulator(parameter: torch.nn.Parameter) -> Any:
    """The node that accumulates the gradient of a leaf."""
    with torch.enable_grad():
        node: Any = parameter.expand_as(parameter).grad_fn
    return node.next_functions[0][0]


def _has_other_ranks() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
