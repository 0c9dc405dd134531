"""Optimizer steps, by torch's global step hooks: gradients and old parameters in, new parameters out.

A step is one call in the record (`Optimizer.AdamW.0.forward`), so that a wrong constant shows where it acts
and not as parameters that differ a step later.  The operators inside a step are not recorded one by one.

`step(closure)` is one call too.  What the closure runs is recorded as what it is, and what the step reads are the
gradients and parameters that it finds when the closure returns for the first time.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch.optim import optimizer as torch_optimizer

from ..record import reading, stack, tree
from ..record.entries import Emission
from ..record.recorder import StepRecorder
from .modules import ModuleTree
from .patching import Patches
from .points import release
from .scripted_code import keep_untraced
from .watch import Progress, Watch

_DYNAMO_KEEPS_HOOKS = (2, 4)


@dataclass(slots=True)
class _OpenStep:
    """An optimizer step that has begun; `recorder` is None where it is not recorded.  `frame` is torch's, that
    runs it; `mutes` except while its closure runs.  `own` are the parameters that this rank itself updates, where
    an optimizer inside this one has some of them."""

    frame: FrameType
    optimizer: torch.optim.Optimizer
    recorder: StepRecorder | None
    name: str
    stack: stack.RawStack | None
    body: dict[str, Any] | None = None
    mutes: bool = True
    own: list[str] | None = None


class _Closure:
    """The closure of a step, run within `around`; to all who look, the closure itself."""

    def __init__(self, closure: Callable[..., Any], around: Callable[[], AbstractContextManager[None]]) -> None:
        self.__wrapped__ = closure
        self._around = around

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self._around():
            return self.__wrapped__(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # a copy that is being made has none yet
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)


class OptimizerSteps:
    """The global hooks.  `after_step(optimizer)` is told of every finished step; with `records` it is recorded too."""

    def __init__(
        self,
        watch: Watch,
        modules: ModuleTree,
        *,
        records: bool = True,
        after_step: Callable[[torch.optim.Optimizer], None] | None = None,
    ) -> None:
        self._watch = watch
        self._tree = modules
        self._records = records
        self._after_step = after_step
        self._handles: list[Any] = []
        self._open: list[_OpenStep] = []

    def install(self, patches: Patches) -> None:
        """Hook every step."""
        if release(torch.__version__) < _DYNAMO_KEEPS_HOOKS:
            _keep_hooks(patches)
        self._handles.append(torch_optimizer.register_optimizer_step_pre_hook(self._before))
        self._handles.append(torch_optimizer.register_optimizer_step_post_hook(self._after))

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.forget()

    def forget(self) -> None:
        self._open.clear()
        self._watch.muted = False

    @keep_untraced
    def _before(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        return self._watch.attempt(self._begun, sys._getframe(1), optimizer, args, kwargs)

    def _begun(
        self, frame: FrameType, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The step that runs in `frame` has begun; the arguments that it is to have instead of its own, if any."""
        self.drop_those_that_raised()
        closure = kwargs.get("closure") or next(filter(callable, args[1:]), None)
        self._watch.claim(Progress.steps_optimizer)
        if closure is not None:
            self._watch.end_setup()
        begun = None
        if self._records and self._watch.listening() and not self._is_open(optimizer):
            begun = self._watch.guard(lambda: self._begin(optimizer))
        if self._open and self._open[-1].recorder is not None:
            self._watch.guard(lambda: self._note_own(self._open[-1], optimizer))
        step = _OpenStep(frame, optimizer, *(begun or (None, "", None)))
        self._open.append(step)
        self._watch.collectives = []
        self._mute()
        if closure is None or isinstance(closure, _Closure):  # the latter where a step calls its parent's
            self._look(step)
            return None
        followed = _Closure(closure, lambda: self._closure_of(step))
        if "closure" in kwargs:
            return args, {**kwargs, "closure": followed}
        return tuple(followed if arg is closure else arg for arg in args), kwargs

    @contextmanager
    def _closure_of(self, step: _OpenStep) -> Iterator[None]:
        muting = [outer for outer in self._open if outer.mutes]
        for outer in muting:
            outer.mutes = False
        self._mute()
        yield  # where the closure raises, so does the step: there is nothing left to mute
        for outer in muting:
            outer.mutes = True
        self._mute()
        self._watch.attempt(self._look, step)

    def _mute(self) -> None:
        self._watch.muted = any(step.mutes for step in self._open)

    def _look(self, step: _OpenStep) -> None:
        """What `step` reads, once."""
        recorder = step.recorder
        if step.body is None and recorder is not None and recorder is self._watch.recorder:
            step.body = self._watch.guard(lambda: self._read(recorder, step)) or {}

    @keep_untraced
    def _after(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._watch.attempt(self._done, optimizer)

    def _done(self, optimizer: torch.optim.Optimizer) -> None:
        self.drop_those_that_raised()
        if not self._is_open(optimizer):
            return  # it began before we were there
        step = self._open.pop()
        self._mute()
        if step.recorder is not None and step.recorder is self._watch.recorder:
            self._watch.guard(lambda: self._end(step))
        if self._after_step is not None and not self._is_open(optimizer):
            self._after_step(optimizer)

    def _is_open(self, optimizer: torch.optim.Optimizer) -> bool:
        """Is `optimizer` within a step?  A subclass whose `step` calls its parent's has one inside the other."""
        return any(step.optimizer is optimizer for step in self._open)

    def drop_those_that_raised(self) -> None:
        """torch tells of no step that raised: its frame is gone."""
        if not self._open:
            return
        running: set[int] = set()
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            running.add(id(frame))
            frame = frame.f_back
        self._open = [step for step in self._open if id(step.frame) in running]
        self._mute()

    def _parameters(self, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        """Those that have a gradient."""
        every = self._tree.parameters_of(optimizer)
        return {name: parameter for name, parameter in every.items() if reading.gradient_of(parameter) is not None}

    def _note_own(self, outer: _OpenStep, inner: torch.optim.Optimizer) -> None:
        """An optimizer whose state is dealt out among ranks runs one that has this rank's parameters alone; the others'
        come from other ranks."""
        every, own = self._parameters(outer.optimizer), list(self._parameters(inner))
        if set(own) < set(every):
            outer.own = [*(outer.own or ()), *own]

    def _begin(self, optimizer: torch.optim.Optimizer) -> tuple[StepRecorder, str, stack.RawStack | None] | None:
        recorder = self._watch.recorder
        assert recorder is not None
        key = f"Optimizer.{type(optimizer).__name__}"
        name = f"{key}.{recorder.number(key)}.forward"
        return (recorder, name, recorder.take_stack()) if recorder.selection.wants(name) else None

    def _read(self, recorder: StepRecorder, step: _OpenStep) -> dict[str, Any]:
        """The gradients, the parameters that have one, and the settings."""
        if not recorder.reads_forward:
            return {}
        parameters = self._parameters(step.optimizer)
        groups: list[dict[str, Any]] = tree.own(step.optimizer, "param_groups")
        gradients = {key: reading.gradient_of(parameter) for key, parameter in parameters.items()}
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for gradient in gradients.values():
                if gradient is not None:
                    recorder.touch_unsettled(gradient)  # reducers write past the version counter
        return {
            "input_args": [],
            "input_kwargs": {
                "grad": recorder.read(gradients, f"{step.name}.input.grad"),
                "param": recorder.read(parameters, f"{step.name}.input.param"),
                "group": {str(number): _settings(group) for number, group in enumerate(groups)},
            },
        }

    def _end(self, step: _OpenStep) -> None:
        recorder, name, body = step.recorder, step.name, dict(step.body or {})
        assert recorder is not None
        if recorder.writes_forward:
            parameters = self._parameters(step.optimizer)
            for parameter in parameters.values():
                recorder.touch(parameter)  # fused kernels move no version counter
            body["output"] = [recorder.wrote(parameters, f"{name}.output.0")]
        if step.own is not None and "input_kwargs" in body:
            body["input_kwargs"]["own"] = step.own
        if body:
            body["is_recompute"] = False
            if self._watch.collectives:
                body["collectives"] = self._watch.collectives
            recorder.emit(Emission(name, body, self._watch.owner, step.stack))


def _keep_hooks(patches: Patches) -> None:
    """Where dynamo takes the hooks from torch's own optimizers, once, as the first torch.compile runs: it takes one
    layer off each `step` that is marked `hooked` and marks them all.  The layer that it finds is ours."""
    code = torch.optim.Optimizer.profile_hook_step(torch.optim.Optimizer.step).__code__
    for kind in {value for value in vars(torch.optim).values() if isinstance(value, type)}:
        step: Any = vars(kind).get("step")
        if step is None or kind is torch.optim.Optimizer or not issubclass(kind, torch.optim.Optimizer):
            continue
        if getattr(step, "__code__", None) is not code:
            is_taken = hasattr(step, "hooked")
            step = torch.optim.Optimizer.profile_hook_step(step)
            step.hooked = True
            if not is_taken:
                kind.step = step  # type: ignore[method-assign]  # as torch does when the first of a kind is made
        patches.replace(kind, "step", _with_a_layer(step))


def _with_a_layer(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def layer(*args: Any, **kwargs: Any) -> Any:
        return step(*args, **kwargs)

    return layer


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's plain settings (lr, betas, eps, ...), so that a differing constant can be named."""
    plain: dict[str, Any] = {}
    for key, value in group.items():
        if key == "params":
            continue
        if isinstance(value, tuple):
            plain[key] = list(value)
        elif isinstance(value, (bool, int, float, str)) or value is None:
            plain[key] = value
        elif isinstance(value, torch.Tensor) and reading.count_of(value) == 1 and reading.is_on_host(value):
            plain[key] = reading.number_in(value)
    return plain
