"""Where an unmodified script's steps begin and end, and where its set-up is over.

In training an optimizer step ends a step; where there is no optimizer, the next call of the model does.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ..older_torch import grad_scaler
from .modules import has_parameters
from .patching import Patches
from .points import Point
from .watch import Watch
from .weak_table import WeakCollection


class LiveOptimizers:
    """Which optimizers a script has, so that a step can be told to end when all of them have stepped.

    A run with two optimizers (a GAN) steps both in one iteration.  One that steps a second time before the
    others have stepped shows that the others are idle, and ends the step too.
    """

    def __init__(self) -> None:
        self._stepped: WeakCollection[torch.optim.Optimizer] = WeakCollection()
        self._known: WeakCollection[torch.optim.Optimizer] = WeakCollection()
        self._idle: WeakCollection[torch.optim.Optimizer] = WeakCollection()
        self.any_made = False

    def made(self, optimizer: torch.optim.Optimizer) -> None:
        self._known.add(optimizer)
        self.any_made = True

    def ends_step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Called after each step of an optimizer: is the training step over?"""
        self.made(optimizer)
        self._idle.discard(optimizer)
        again = optimizer in self._stepped
        self._stepped.add(optimizer)
        missing = [other for other in self._known if other not in self._stepped and other not in self._idle]
        if again:
            for other in missing:
                self._idle.add(other)
        elif missing:
            return False
        self._stepped.clear()
        return True


class StepFinder:
    """Calls `next_step` between the steps of a script that does not say where they are."""

    def __init__(self, watch: Watch, next_step: Callable[[], None]) -> None:
        self._watch = watch
        self._next_step = next_step
        self._optimizers = LiveOptimizers()
        self._model: weakref.ref[torch.nn.Module] | None = None
        self._optimizer_steps = 0

    @property
    def is_within_step(self) -> bool:
        """Has a step begun that nothing has ended?  What is called once optimizers have stepped is not training."""
        return self._model is not None and not (self._optimizers.any_made and self._optimizer_steps)

    def points(self) -> Iterator[Point]:
        yield Point("where a script's set-up ends", self._follow_modules)
        yield Point("which optimizers a script has", self._follow_optimizers)
        yield Point("steps that a gradient scaler skips", self._follow_scalers)

    def begin_again(self) -> None:
        """In a forked child: models and optimizers that the parent trained say nothing of what is trained here."""
        self._optimizers, self._model, self._optimizer_steps = LiveOptimizers(), None, 0

    def outermost(self, module: torch.nn.Module) -> None:
        """The script calls `module`, not from within another."""
        self._watch.end_setup()
        model = None if self._model is None else self._model()
        if model is None:
            if has_parameters(module):
                self._model = weakref.ref(module)
        elif module is model and not self._optimizers.any_made:
            self._next_step()

    def stepped(self, optimizer: torch.optim.Optimizer) -> None:
        """`optimizer` has stepped, or would have but for a gradient that overflowed."""
        self._optimizer_steps += 1
        if self._optimizers.ends_step(optimizer):
            self._next_step()

    def _follow_modules(self, patches: Patches) -> None:
        """While a script builds its model, how weights are drawn is not of interest, only what they are."""
        original = torch.nn.Module.__init__

        @functools.wraps(original)
        def __init__(module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            self._watch.setting_up = not self._watch.is_set_up
            original(module, *args, **kwargs)

        patches.replace(torch.nn.Module, "__init__", __init__)

    def _follow_optimizers(self, patches: Patches) -> None:
        original = torch.optim.Optimizer.__init__

        @functools.wraps(original)
        def __init__(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(optimizer, *args, **kwargs)
            self._watch.attempt(self._optimizers.made, optimizer)

        patches.replace(torch.optim.Optimizer, "__init__", __init__)

    def _follow_scalers(self, patches: Patches) -> None:
        """A scaler skips the optimizer when a gradient overflowed; the training step is over all the same."""
        scalers = grad_scaler()
        original = scalers.step

        @functools.wraps(original)
        def step(scaler: Any, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
            before = self._optimizer_steps
            result = original(scaler, optimizer, *args, **kwargs)
            if self._optimizer_steps == before and isinstance(optimizer, torch.optim.Optimizer):
                self._watch.attempt(self.stepped, optimizer)
            return result

        patches.replace(scalers, "step", step)
