"""Loss scaling: what the gradients of a step are multiplied by, and the steps that a GradScaler skips."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from ..intercept.patching import Patches
from ..older_torch import grad_scaler

_SHARDED = "torch.distributed.fsdp.sharded_grad_scaler"


class LossScale:
    """Follows every GradScaler of the process.

    `counted()` gives how many optimizer steps there have been; `skipped(optimizer)` is told where a scaler's
    `step` has passed without one.
    """

    def __init__(self, counted: Callable[[], int], skipped: Callable[[Any], None]) -> None:
        self._counted = counted
        self._skipped = skipped
        self._patches = Patches()
        self._scaler: Any = None
        self._known: float | None = None

    def attach(self) -> None:
        scalers = grad_scaler()
        owners = [scalers]
        sharded = getattr(sys.modules.get(_SHARDED), "ShardedGradScaler", None)
        if sharded is not None:
            owners.append(sharded)
        for owner in owners:
            self._patches.replace(owner, "scale", self._around_scale(owner.scale))
        self._patches.replace(scalers, "step", self._around_step(scalers.step))

    def detach(self) -> None:
        self._patches.restore()
        self.end_step()

    def end_step(self) -> None:
        self._scaler = self._known = None

    def current(self) -> float:
        """The scale of the loss whose backward runs; 1.0 where none was scaled in this step."""
        if self._scaler is None:
            return 1.0
        if self._known is None:
            self._known = float(self._scaler.get_scale())  # on a device the one wait for it, once a step
        return self._known

    def _around_scale(self, original: Any) -> Any:
        @functools.wraps(original)
        def scale(scaler: Any, outputs: Any) -> Any:
            if scaler.is_enabled():
                self._scaler, self._known = scaler, None
            return original(scaler, outputs)

        return scale

    def _around_step(self, original: Any) -> Any:
        @functools.wraps(original)
        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            before = self._counted()
            result = original(scaler, optimizer, *args, **kwargs)
            if self._counted() == before:
                self._skipped(optimizer)
            return result

        return step
