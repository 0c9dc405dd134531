"""`acc monitor`: a monitored run that finds the models and optimizers of an unmodified script by itself.

The first outermost module called that has something to train is a model; what an optimizer is made for is trained.
`torch.nn.Module.__call__` is replaced only until every trained parameter is found in a model, and never while a model
runs, so that torch.compile reads the code it would read without us.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import torch
from torch.nn.parameter import is_lazy
from torch.optim import optimizer as torch_optimizer

from ..intercept.callers import as_if_it_were
from ..intercept.patching import Patches
from ..intercept.scripted_code import keep_untraced
from ..intercept.steps import LiveOptimizers
from ..intercept.watch import in_backward
from ..intercept.weak_table import WeakCollection
from ..older_torch import is_compiling
from ..torch_internals import without_overrides
from .config import MonitorConfig
from .output import output_root
from .run import Run, say
from .scope import is_watched

_running: list[Discovery] = []


def give_way() -> None:
    """The script watches the run itself: whatever watches it from outside in this process ends."""
    for found in list(_running):
        found.gave_way = True
        found.close()
        say("the script makes a TrainerMon: it watches the run from here on, by its own settings")


class Discovery:
    """Has the methods that `dump.launch` asks for: `install`, `start`, `close`."""

    def __init__(self, config: MonitorConfig, *, grad_acc_steps: int | None = None) -> None:
        self._config = config
        self._grad_acc_steps = grad_acc_steps
        self._root = output_root()
        self.run: Run | None = None
        self.gave_way = False
        self._patches = Patches()
        self._looking = Patches()
        self._optimizers = LiveOptimizers()
        self._known: WeakCollection[torch.optim.Optimizer] = WeakCollection()
        self._models: list[torch.nn.Module] = []
        self._named: set[int] = set()
        self._open: list[torch.optim.Optimizer] = []
        self._handles: list[Any] = []
        self._is_looking = False

    def install(self) -> None:
        _running.append(self)
        self._follow_new_optimizers()
        self._handles = [
            torch_optimizer.register_optimizer_step_pre_hook(self._before),
            torch_optimizer.register_optimizer_step_post_hook(self._after),
        ]
        self._look_for_models()

    def start(self) -> None:
        """The script begins."""

    def close(self, *, complete: bool = True) -> None:
        """Put torch back, and close the files."""
        if self in _running:
            _running.remove(self)
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._looking.restore()
        self._patches.restore()
        if self.run is not None:
            self.run.close()

    @property
    def folder(self) -> Path | None:
        return None if self.run is None else self.run.folder

    # ---- models

    def _look_for_models(self) -> None:
        if self._is_looking:
            return
        self._is_looking = True
        original = torch.nn.Module.__call__

        def __call__(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            if is_compiling() or in_backward():
                return original(module, *args, **kwargs)
            try:
                with self._looking.suspended():
                    lazy = any(map(is_lazy, module.parameters()))
                    with without_overrides():
                        self._outermost(module)
                    output = original(module, *args, **kwargs)
                    if lazy:
                        with without_overrides():
                            self._outermost(module)  # by now it has its parameters
                    return output
            finally:
                if self._all_found():
                    self._is_looking = False
                    self._looking.restore()

        self._looking.replace(torch.nn.Module, "__call__", as_if_it_were(original, __call__))

    def _outermost(self, module: torch.nn.Module) -> None:
        """A module is called from outside all others."""
        self._open.clear()
        own = {id(parameter) for parameter in module.parameters() if is_watched(parameter)}
        if not own or own <= self._named:
            return
        inner = {id(member) for member in module.modules()}
        self._models = [model for model in self._models if id(model) not in inner and not self._is_left(model)]
        self._models.append(module)
        self._named = {id(each) for model in self._models for each in model.parameters() if is_watched(each)}
        if self.run is None:
            self.run = Run(
                self._config,
                grad_acc_steps=self._grad_acc_steps,
                on_skipped=self._step_is_over,
                root=self._root,
            )
        self.run.optimizers = self._known
        self.run.watch(self._models)

    def _trained(self) -> set[int]:
        return {
            id(parameter)
            for optimizer in self._known
            for group in optimizer.param_groups
            for parameter in group["params"]
        }

    def _all_found(self) -> bool:
        """Is every parameter that an optimizer trains in a model that was found?"""
        trained = self._trained()
        return bool(trained) and trained <= self._named

    def _is_left(self, model: torch.nn.Module) -> bool:
        """Has the script trained this model and given up its optimizer?  We must not be what keeps it alive."""
        has_stepped = self.run is not None and not self.run.is_first_step
        return has_stepped and self._trained().isdisjoint(id(parameter) for parameter in model.parameters())

    # ---- optimizers

    def _follow_new_optimizers(self) -> None:
        original = torch.optim.Optimizer.__init__

        @functools.wraps(original)
        def __init__(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(optimizer, *args, **kwargs)
            self._meet(optimizer)

        self._patches.replace(torch.optim.Optimizer, "__init__", __init__)

    def _meet(self, optimizer: torch.optim.Optimizer) -> None:
        if optimizer not in self._known:
            self._known.add(optimizer)
            self._optimizers.made(optimizer)
            if not self._all_found():
                self._look_for_models()

    @keep_untraced
    def _before(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._meet(optimizer)
        if self.run is not None and not any(each is optimizer for each in self._open):
            self.run.before_optimizer(optimizer)
        self._open.append(optimizer)

    @keep_untraced
    def _after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if self._open and self._open[-1] is optimizer:
            self._open.pop()
        if self.run is None or any(each is optimizer for each in self._open):
            return  # a subclass whose step calls its parent's has one inside the other
        self.run.after_optimizer(optimizer)
        self._step_is_over(optimizer)

    def _step_is_over(self, optimizer: Any) -> None:
        """An optimizer has stepped, or a GradScaler made it skip; with several the step ends with the last."""
        if self.run is not None and self._optimizers.ends_step(optimizer):
            self.run.finish_step()

    def tell(self) -> None:
        """What came of it, on stderr."""
        if self.run is None and self.gave_way:
            return
        if self.run is None:
            say("nothing was recorded: no module with something to train was called")
        elif self.folder is not None:
            say(f"{self.run.step} steps; {self.folder.absolute()}")
        sys.stderr.flush()
