"""What a run computes, as digests: losses, gradients, parameters, optimizer states, buffers and generators.

`acc dump --self-check` runs a script with and without recording; both runs write such a log, and the logs are
compared (`cli.selfcheck`).  The probe reads and changes nothing, and works on unmodified scripts: a loss is
what backward starts from, an optimizer's step is a step, and what the outermost module returns counts too.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim import optimizer as torch_optimizer

from ..environment import device
from ..intercept.modules import ModuleTree
from ..intercept.patching import Patches
from ..intercept.steps import StepFinder
from ..intercept.watch import Watch, in_backward
from ..intercept.weak_table import WeakCollection
from ..older_torch import is_dynamo_compiling
from ..record import contents, tree
from ..record.observer import LastStepDone
from ..torch_internals import without_autocast, without_dispatch, without_overrides

Aside = Callable[[Callable[[], None]], object]


class Probe:
    """Appends one JSON line to `log` for each thing that it looks at.

    `last_step` ends the script after that step, by LastStepDone; None lets it run to its end.  `aside` runs what
    a recording in this process must not see.
    """

    def __init__(self, log: Path, *, last_step: int | None, aside: Aside) -> None:
        self._log = log
        self._last_step = last_step
        self._aside = aside
        self._process = os.getpid()
        self._step = 0
        self._depth = 0
        self._tree = ModuleTree()
        self._roots: WeakCollection[torch.nn.Module] = WeakCollection()
        self._finder = StepFinder(Watch(), self._next_step)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at everything that happens within, and at the end at what is left."""
        with Patches() as patches:
            self._follow_modules(patches)
            self._follow_backward(patches)
            for point in self._finder.points():
                point.install(patches)
            handles = [
                torch_optimizer.register_optimizer_step_pre_hook(lambda o, *_: self._look(lambda: self._before(o))),
                torch_optimizer.register_optimizer_step_post_hook(self._after),
            ]
            try:
                yield
            finally:
                for handle in handles:
                    handle.remove()
                self._look(self._everything)

    def note(self, **fields: object) -> None:
        """Append a line; in a forked child, nothing."""
        if os.getpid() == self._process:
            with self._log.open("a", encoding="utf-8") as log:  # each line by itself: a run may end anywhere
                log.write(json.dumps(fields) + "\n")

    # ---- when to look

    def _look(self, act: Callable[[], None]) -> None:
        if os.getpid() == self._process:
            self._aside(lambda: _undisturbed(act))

    def _next_step(self) -> None:
        self._step += 1
        if self._last_step is not None and self._step > self._last_step:
            raise LastStepDone

    def _follow_modules(self, patches: Patches) -> None:
        original = torch.nn.Module.__call__

        def __call__(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            if is_dynamo_compiling() or self._depth or in_backward():
                return original(module, *args, **kwargs)
            self._tree.meet(module)
            self._roots.add(module)
            self._finder.outermost(module)
            self._depth += 1
            try:
                output = original(module, *args, **kwargs)
            finally:
                self._depth -= 1
            name = type(module).__name__
            self._look(
                lambda: self._tensors("output", {f"{name}.{i}": t for i, t in enumerate(tree.tensors_of(output))})
            )
            return output

        patches.replace(torch.nn.Module, "__call__", __call__)

    def _follow_backward(self, patches: Patches) -> None:
        backward, grad = torch.autograd.backward, torch.autograd.grad

        def seen_backward(tensors: Any, *args: Any, **kwargs: Any) -> None:
            roots = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
            self._look(lambda: self._tensors("loss", _numbered("backward", roots)))
            backward(tensors if isinstance(tensors, torch.Tensor) else roots, *args, **kwargs)

        def seen_grad(*args: Any, **kwargs: Any) -> Any:
            found = grad(*args, **kwargs)
            self._look(lambda: self._tensors("gradient", _numbered("torch.autograd.grad", found)))
            return found

        patches.replace(torch.autograd, "backward", seen_backward)
        patches.replace(torch.autograd, "grad", seen_grad)

    def _before(self, optimizer: torch.optim.Optimizer) -> None:
        named = self._tree.parameters_of(optimizer)
        self._tensors("gradient", {name: parameter.grad for name, parameter in named.items()})

    def _after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._look(lambda: self._stepped(optimizer))
        self._finder.stepped(optimizer)

    def _stepped(self, optimizer: torch.optim.Optimizer) -> None:
        named = self._tree.parameters_of(optimizer)
        self._tensors("parameter", dict(named))
        for name, parameter in named.items():
            state = optimizer.state.get(parameter, {})
            self._tensors("optimizer state", {f"{name}.{key}": value for key, value in state.items()})
        self._buffers()
        self._generators()

    def _everything(self) -> None:
        for root in list(self._roots):
            self._tensors("parameter", self._named(root, root.named_parameters()))
        self._buffers()
        self._generators()

    # ---- what to look at

    def _buffers(self) -> None:
        for root in list(self._roots):
            self._tensors("buffer", self._named(root, root.named_buffers()))

    def _named(self, root: torch.nn.Module, found: Iterable[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Tensors of `root` under their names in it, which begin as those of its module calls do."""
        path = self._tree.path(root)
        return {f"{path}.{name}" if path else name: tensor for name, tensor in found}

    def _generators(self) -> None:
        legacy: Any = np.random.get_state(legacy=True)  # the generator that scripts draw from
        states: dict[str, object] = {
            "torch": torch.get_rng_state(),
            "numpy": repr([np.asarray(part).tolist() for part in legacy]),
            "Python": repr(random.getstate()),
        }
        for kind in ("cuda", "npu"):
            states.update(_device_generators(kind))
        self._tensors("generator", states)

    def _tensors(self, what: str, named: dict[str, Any]) -> None:
        for name, value in named.items():
            if value is None:
                continue
            try:
                digest = _digest(value)
            except (RuntimeError, TypeError, ValueError) as error:
                self.note(unchecked=f"{what} ({str(error).splitlines()[0][:100]})")
                continue
            self.note(step=self._step, what=what, name=name, digest=digest)


def _numbered(name: str, tensors: Sequence[torch.Tensor | None]) -> dict[str, Any]:
    return {f"{name}.{index}": tensor for index, tensor in enumerate(tensors)}


def _undisturbed(act: Callable[[], None]) -> None:
    """Run `act` so that no mode, no autocast and no graph takes notice."""
    with (
        device.measuring(),
        without_overrides(),
        without_dispatch(),
        without_autocast(),
        torch.no_grad(),
    ):
        act()


def _digest(value: Any) -> str:
    """The digest of a tensor's bytes, dtype and shape, or of a plain value.  Raises TypeError where there are none."""
    if not isinstance(value, torch.Tensor):
        return hashlib.md5(repr(value).encode(), usedforsecurity=False).hexdigest()
    if callable(local := getattr(value, "to_local", None)):  # a DTensor: this rank's part of it
        value = local()
    if value.layout is not torch.strided or value.is_meta or value.is_quantized or value.is_nested:
        raise TypeError(f"{value.layout} on {value.device.type}, whose bytes cannot be read")
    return f"{contents.digest(contents.borrow(value), 'md5')} {value.dtype} {tuple(value.shape)}"


def _device_generators(kind: str) -> dict[str, object]:
    """The states of a device's generators, where it is in use and has any."""
    module = getattr(torch, kind, None) if kind == "cuda" or "torch_npu" in sys.modules else None
    if module is None or not module.is_available() or not module.is_initialized():
        return {}
    return {f"{kind}:{index}": state for index, state in enumerate(module.get_rng_state_all())}
