"""What a collector is, and what it may ask of the run around it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import torch

from ...format.monitor_files import Kind
from ..config import MonitorConfig
from ..framework_optimizers import gradient_held_elsewhere
from ..rows import Label, Value
from ..scope import Scope, WatchedParameter
from ..sums import Measured, Measurer

T = TypeVar("T")
C = TypeVar("C", bound="type[Collector]")


class Site(Protocol):
    """The run, as its collectors see it."""

    config: MonitorConfig
    measurer: Measurer
    scope: Scope
    optimizers: Collection[Any]
    grad_acc_steps: int | None
    prefers_main_grad: bool

    @property
    def recording(self) -> bool:
        """Is the present step one that is wanted?"""

    @property
    def is_first_step(self) -> bool:
        """Has the run's optimizer not stepped yet?"""

    def guard(self, act: Callable[[], T]) -> T | None:
        """Do our own work; what fails in it is said once and never reaches the training."""

    def show(self, label: Label, measured: Measured, *extra: Value) -> None:
        """Put numbers into the present step; the same label again replaces them.  `extra` are the kind's own."""

    def loss_scale(self) -> float:
        """What a GradScaler has multiplied the loss by; 1.0 without one."""

    def micro_step(self, vpp_stage: int) -> int:
        """How many micro batches of the present step the model chunk has begun, less one."""


class Collector:
    """Watches one thing.  Each method does nothing unless overridden.

    `attach` hangs hooks, `detach` takes every one of them off again.  `before_step` and `after_step` are called
    around each optimizer step that is wanted, `end_step` when the training step is over, wanted or not.
    """

    key: ClassVar[str]
    kinds: ClassVar[tuple[Kind, ...]]

    def __init__(self, site: Site) -> None:
        self.site = site

    @classmethod
    def wanted(cls, config: MonitorConfig) -> bool:
        return bool(getattr(config, cls.key))

    def attach(self) -> None:
        pass

    def detach(self) -> None:
        pass

    def before_step(self, optimizer: Any) -> None:
        pass

    def after_step(self, optimizer: Any) -> None:
        pass

    def end_step(self) -> None:
        pass


COLLECTORS: dict[str, type[Collector]] = {}


def register(name: str) -> Callable[[C], C]:
    """Class decorator: make a collector known.  Raises ValueError at a name that is taken."""

    def add(collector: C) -> C:
        if name in COLLECTORS:
            raise ValueError(f"a collector named {name!r} is registered already")
        COLLECTORS[name] = collector
        return collector

    return add


def show_parameters(
    site: Site, kind: Kind, found: Sequence[tuple[WatchedParameter, torch.Tensor]], *, divisor: float = 1.0
) -> None:
    """Measure one tensor for each parameter as one batch, and put the numbers into the step."""
    measured = site.measurer.measure([tensor for _, tensor in found], divisor=divisor)
    for (watched, _), numbers in zip(found, measured, strict=True):
        site.show(Label(kind, watched.vpp_stage, watched.name), numbers)


def gradient_of(watched: WatchedParameter, *, prefers_main_grad: bool) -> torch.Tensor | None:
    """The gradient as the optimizer will read it: Megatron keeps it in `main_grad`, DeepSpeed out of sight."""
    found = getattr(watched.parameter, "main_grad", None) if prefers_main_grad else None
    gradient = watched.parameter.grad if found is None else found
    if isinstance(gradient, torch.Tensor):
        return gradient
    return gradient_held_elsewhere(watched.parameter)


def parameters_of(optimizer: Any, site: Site) -> Sequence[WatchedParameter]:
    """The watched parameters that `optimizer` updates: all of them while it is the only one."""
    if len(site.optimizers) < 2:
        return site.scope.parameters
    own = {id(parameter) for group in getattr(optimizer, "param_groups", ()) for parameter in group["params"]}
    return [watched for watched in site.scope.parameters if id(watched.parameter) in own]
