"""What the interceptors share: is anybody listening, whose module are we in, and what went wrong on our side.

`busy` keeps our own work, and calls inside a recorded call, out of the record.  State is not thread-local: on
a device, backward runs on a thread of autograd's own.  One thread of the user's is recorded, the one that trains:
others (loaders, prefetchers) are left alone, since the order of their calls is chance.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from enum import IntEnum
from types import FrameType
from typing import ParamSpec, Protocol, TypeVar

import torch
import torch.utils.checkpoint

from ..older_torch import is_compiling
from ..record.recorder import StepRecorder
from ..torch_internals import (
    compile_state,
    current_node,
    custom_op_file,
    dispatch_mode,
    enable_events,
    fake_mode_key,
    graph_task,
    is_excluded,
    profiler_is_on,
    tracing_state,
    views_key,
    without_overrides,
)
from .points import in_short, point_of
from .signals import is_from_a_handler

P = ParamSpec("P")
T = TypeVar("T")

_CUSTOM_OP_NODE = "GeneratedBackwardFor_"


class Progress(IntEnum):
    """How far a thread has come on the way to training: which of two is the training thread."""

    nothing = 0
    calls_model = 1
    builds_graph = 2
    steps_optimizer = 3


class Unfinished(Protocol):
    """A record that waits for gradients."""

    def finish(self) -> None: ...


class Watch:
    """The one object behind all patches and hooks of a session.

    A call is recorded where a `recorder` is there and nothing of this holds: `busy` inside a recorded call or
    in our own work; `muted` while an optimizer steps; `gated` outside the modules that alone were asked for;
    `setting_up` while an unmodified script builds its model.  `open` is the recorder of the step, paused or not: it
    takes the gradients of the calls that were recorded.  With `finds_thread` the training thread is the one that has
    come furthest, else the one that says `begin`; `elsewhere` counts calls of models on others.  `collectives` are
    those that the call at hand ran.  `look_again` is called as a step begins and while the model is built: the script
    may have imported more of torch since.  `said` is the message of the last operator that failed under the audit.
    `tell` hears of the first failure of each kind.
    """

    def __init__(self, tell: Callable[[str], None] = lambda _: None, *, finds_thread: bool = False) -> None:
        self._tell = tell
        self._told: set[str] = set()
        self.recorder: StepRecorder | None = None
        self.open: StepRecorder | None = None
        self.busy = False
        self.muted = False
        self.gated = False
        self.setting_up = False
        self.modules: list[str | None] = []
        self.failures: dict[str, int] = {}
        self.pending: dict[Unfinished, None] = {}
        self.elsewhere = 0
        self.on_new_thread: Callable[[], None] = lambda: None
        self.look_again: Callable[[], None] = lambda: None
        self.said = ""
        self.is_set_up = False
        self._finds_thread = finds_thread
        self.collectives: list[dict[str, object]] = []
        self._thread = threading.get_ident()
        self._progress = Progress.nothing

    def listening(self) -> bool:
        """Should a call that begins now be recorded?  Where that cannot be told, no."""
        if self.recorder is None or self.busy or self.muted or self.gated or self.setting_up:
            return False
        try:
            if graph_task() == -1:
                return threading.get_ident() == self._thread and not _is_reading_code()
            return not _is_reading_code() and not _runs_kernel_in_backward()
        except Exception as error:
            self.failed(error, __file__)
            return False

    def is_on(self) -> bool:
        """The same, whoever makes the call: the script, or an operator whose kernel is written in Python."""
        if self.recorder is None or self.busy or self.muted or self.gated or self.setting_up:
            return False
        return self.is_our_thread() and not _is_reading_code()

    def is_our_thread(self) -> bool:
        """The training thread, or one on which autograd runs the backward pass."""
        return threading.get_ident() == self._thread or graph_task() != -1

    def claim(self, progress: Progress) -> bool:
        """The thread that calls this has come so far: is it the training thread?"""
        if self.is_our_thread():
            self._progress = max(self._progress, progress)
            return True
        if not self._finds_thread or progress <= self._progress:
            return False
        self._thread, self._progress = threading.get_ident(), progress
        self.on_new_thread()
        return True

    def end_setup(self) -> None:
        """From here on the script does what it was written for."""
        self.setting_up = False
        self.is_set_up = True

    def begin(self, recorder: StepRecorder) -> None:
        """Listen; unless it was found, the thread that calls this is the training thread.

        What the stand-ins ask torch before they know whether to record is asked once here: where this torch answers
        otherwise than others do, that is raised here and not in the user's calls.
        """
        in_backward()
        _is_reading_code()
        if not self._finds_thread:
            self._thread = threading.get_ident()
        self.look_again()
        self.recorder = self.open = recorder

    def pause(self) -> None:
        """Listen no more until `begin`, but for the gradients of what was recorded."""
        self.recorder = None

    def give_up(self) -> None:
        """Listen no more in this step."""
        self.recorder = self.open = None

    def flush(self, recorder: StepRecorder) -> None:
        """Hand `recorder` every record that still waits for gradients, at the end of its step."""
        self.open = recorder
        for unfinished in list(self.pending):
            self.guard(unfinished.finish)
        self.pending.clear()
        self.give_up()

    def forget(self) -> None:
        """Drop all that is open, in a child process that has inherited it."""
        self.give_up()
        self.busy = self.muted = self.gated = self.setting_up = self.is_set_up = False
        self._thread, self._progress = threading.get_ident(), Progress.nothing
        self.modules.clear()
        self.pending.clear()

    @property
    def owner(self) -> str | None:
        """The module call that encloses the present one."""
        return self.modules[-1] if self.modules else None

    def within(self, name: str) -> tuple[str, ...]:
        """The module calls around the call `name`, innermost last."""
        return tuple(dict.fromkeys(module for module in self.modules if module is not None and module != name))

    def guard(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Run our own work, `act` of these arguments, unseen by any `__torch_function__` or profiler of the user's.

        This is the one edge between us and the user's step: whatever fails here is counted and named in the
        header, and the training goes on.
        """
        outer, self.busy = self.busy, True
        try:
            with without_overrides():
                is_heard = getattr(torch.autograd.profiler, profiler_is_on, False)
                return _unheard(act, *args, **kwargs) if is_heard else act(*args, **kwargs)
        except Exception as error:
            self.failed(error, sys._getframe(1).f_code.co_filename)
            return None
        finally:
            self.busy = outer

    def attempt(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Keep account of the user's step, or decide whether something is to be recorded; None where that fails.

        Unlike `guard` it leaves `busy` alone, and overrides too: `act` calls nothing of torch's that has any.
        """
        try:
            return act(*args, **kwargs)
        except Exception as error:
            self.failed(error, sys._getframe(1).f_code.co_filename)
            return None

    def failed(self, error: Exception, file: str) -> None:
        """Something of ours in `file` failed, and the call goes on without it: count it, and say the first.

        Raises nothing, not even where there is no room left on the stack, but what a signal handler of the script's
        raised meanwhile.
        """
        try:
            is_theirs = is_from_a_handler(error)
        except Exception:
            is_theirs = False
        if is_theirs:
            raise error
        with contextlib.suppress(Exception):
            point, reason = point_of(file), in_short(error)
            text = f"{point}: {reason}" if point else reason
            self.failures[text] = self.failures.get(text, 0) + 1
            if point not in self._told:
                self._told.add(point)
                self._tell(text)

    def take_elsewhere(self) -> int:
        """How many calls of models there were on other threads since the last step."""
        taken, self.elsewhere = self.elsewhere, 0
        return taken

    def take_failures(self) -> dict[str, int]:
        """What failed since the last step, and how often."""
        taken, self.failures = self.failures, {}
        return taken


def _unheard(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what a profiler is not to hear of."""
    enable_events(False)
    try:
        return act(*args, **kwargs)
    finally:
        enable_events(True)


def _is_reading_code() -> bool:
    """Do torch.jit, torch.compile or torch.export run the user's code to see what it does, or make other code of it?"""
    return (
        tracing_state() is not None
        or dispatch_mode(fake_mode_key) is not None
        or is_compiling()
        or compile_state.__dict__.get("tracing_context") is not None  # a tenth of the time that getattr takes
    )


def _runs_kernel_in_backward() -> bool:
    """Does an operator that autograd calls make this call, as part of its own work?

    In forward such calls are made inside a recorded one.  In backward it is a kernel in Python (`torch.library`), below
    autograd in the dispatcher, or the backward of a `torch.library.custom_op`.
    """
    if is_excluded(views_key):
        return True
    node = current_node()
    if node is None or not type(node).__name__.startswith(_CUSTOM_OP_NODE):
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file == custom_op_file:
            return True
        if file == torch.utils.checkpoint.__file__:  # what it runs anew is the script's
            return False
        frame = frame.f_back
    return False


def in_backward() -> bool:
    """Does this thread run a backward pass now?"""
    return bool(graph_task() != -1)


def recomputing() -> bool:
    """Is a forward call made now a recomputation inside backward (activation checkpointing)?"""
    return in_backward() and torch.is_grad_enabled()


def backward_name(forward: str) -> str:
    """`Module.fc.Linear.forward.0` -> `Module.fc.Linear.backward.0`, `Torch.add.3.forward` likewise."""
    head, dot, number = forward.rpartition(".")
    if number == "forward":
        return f"{head}{dot}backward"
    return f"{head.removesuffix('.forward')}.backward.{number}"
