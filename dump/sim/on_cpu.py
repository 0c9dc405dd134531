"""The stand-in for the simulated NPU where torch has no device that is written in Python (before 2.10).

The device is the CPU, under its own name; what is simulated are the faults.  They are planted in the CPU's kernels by a
dispatch mode, which sees every operator below autograd, forward and backward, on the thread that plants them: that is
where the device's own kernels would be asked, under the same names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from dump.sim import faults
from dump.sim.operators import Plan, plan_of
from dump.torch_internals import TorchDispatchMode, dispatch_modes, pop_dispatch_mode, push_dispatch_mode, schema

NAME = "CPU as a simulated NPU"
"""What headers call the device."""

_planted: list[Any] = []


def is_planted() -> bool:
    """Does the CPU stand in for an NPU now?"""
    return bool(_planted)


@contextlib.contextmanager
def planted() -> Iterator[None]:
    """Let the faults in force (`faults.inject`) hit the CPU's kernels on this thread, within."""
    mode = _Kernels()
    _planted.append(mode)
    push_dispatch_mode(mode)  # past `__enter__`, after which torch.compile would compile nothing
    try:
        yield
    finally:
        _planted.remove(mode)
        modes = dispatch_modes()
        if mode in modes:
            for _ in modes:
                pop_dispatch_mode()
            for other in modes:
                if other is not mode:
                    push_dispatch_mode(other)


class _Kernels(TorchDispatchMode):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self._plans: dict[Any, Plan] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if not faults.ACTIVE or schema(func).name not in faults.ACTIVE:
            return func(*args, **keywords)
        plan = self._plans.get(func)
        if plan is None:
            plan = self._plans[func] = plan_of(func)
        return faults.launch(plan, func, list(args), keywords)
