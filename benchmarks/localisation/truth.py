"""What really happened: the recorded calls in which a planted fault fired, found while the run is recorded.

The recorder's own begin and end of a call are watched, so the names are the recorder's, whatever the scripts become.
In backward, the autograd node that runs is traced back by its sequence number to the forward call that made it.
Lines of a script marked `# planted: VARIANT` give the calls that they make.

Everything goes to `truth.jsonl` beside the dump, a line an event.
"""

from __future__ import annotations

import functools
import json
import linecache
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.localisation.events import Event
from benchmarks.localisation.launches import bytes_of
from dump.intercept import calls, collectives, optimizer
from dump.intercept.watch import backward_name

_sequence_number = torch._C._autograd._get_sequence_nr
_current_node: Callable[[], Any] = torch._C._current_autograd_node  # type: ignore[attr-defined]
_ACCUMULATES = "AccumulateGrad"
_MARK = "# planted: "


@dataclass(slots=True)
class _Span:
    """A recorded call, as the numbers of the autograd nodes made in it.  `inner` counts the API calls in a module;
    `is_again` of one that checkpointing runs again while backward is on, until `runs` says that it has ended: what it
    saves last may end it by an exception, of which the recorder hears nothing."""

    name: str
    step: int
    first: int
    last: int = -1
    parent: _Span | None = None
    inner: int = 0
    is_again: bool = False
    runs: Callable[[], bool] = lambda: True


class Tracer:
    """Knows at any moment which recorded call is running.  `install` watches the recorder of this process."""

    def __init__(self, path: Path, *, rank: int = 0, script: Path | None = None) -> None:
        self._path, self._rank, self._script = path, rank, None if script is None else str(script)
        self._recorders: list[object] = []
        self._open: list[_Span] = []
        self._spans: list[_Span] = []
        self._awaited: list[tuple[str, int, int, bytes | None]] = []
        self._collectives: list[tuple[str, float | None]] = []

    def install(self) -> None:
        """Watch the recorder's calls.  Only for a process that ends with its recording: nothing is put back."""
        begin, finish = calls.begin, calls.finish
        start, end = optimizer.OptimizerSteps._begin, optimizer.OptimizerSteps._end

        @functools.wraps(begin)
        def traced_begin(watch: Any, name: str, **rest: Any) -> Any:
            call = begin(watch, name, **rest)
            if call is not None:
                self._enter(name, call.recorder, call.tensors, runs=lambda: watch.busy)
            return call

        @functools.wraps(finish)
        def traced_finish(watch: Any, call: Any, *args: Any, **rest: Any) -> Any:
            border = finish(watch, call, *args, **rest)
            self._leave(call.name)
            return border

        @functools.wraps(start)
        def traced_start(steps: Any, torch_optimizer: Any) -> Any:
            begun = start(steps, torch_optimizer)
            if begun is not None:
                groups = torch_optimizer.param_groups
                gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
                self._enter(begun[1], begun[0], gradients)
            return begun

        @functools.wraps(end)
        def traced_end(steps: Any, step: Any) -> None:
            end(steps, step)
            self._leave(step.name)

        arrived = collectives.OpenCollective.arrived

        @functools.wraps(arrived)
        def traced_arrival(opened: Any) -> None:
            self._meet(opened.name)
            arrived(opened)

        calls.begin, calls.finish = traced_begin, traced_finish
        collectives.OpenCollective.arrived = traced_arrival  # type: ignore[method-assign]
        optimizer.OptimizerSteps._begin = traced_start  # type: ignore[method-assign]
        optimizer.OptimizerSteps._end = traced_end  # type: ignore[method-assign]

    def fired(self, what: str, effect: float | None = None, *, overwrote: bool = False) -> None:
        """Note that a fault has fired now, in whatever call is running.

        With `overwrote`, it has changed what the call should only have read: what backward needs of it is read by
        the call's own backward.
        """
        step, spans, backward = self._running()
        names = tuple(backward_name(span.name) if backward else span.name for span in spans)
        holder = spans[-2] if len(spans) > 1 else None
        alias = backward_name(holder.name) if holder and backward else holder.name if holder else ""
        if holder is not None and self._holds_others(holder):
            alias = ""
        if effect is not None and not math.isfinite(effect):
            effect = None
        self._write(Event("fired", what, step, self._rank, names, alias, effect))
        if overwrote and names and not backward:
            self._write(Event("reads", what, step, self._rank, (backward_name(names[-1]),)))

    def await_collective(self, what: str, effect: float | None) -> None:
        """Note the collective that hands on next what has just been made wrong: it is recorded when it arrives."""
        self._collectives.append((what, effect))

    def _meet(self, name: str) -> None:
        for what, effect in self._collectives:
            known = effect if effect is None or math.isfinite(effect) else None
            self._write(Event("fired", what, self._step_now(), self._rank, (name,), "", known))
        self._collectives.clear()

    def is_inside(self) -> bool:
        """Is any recorded call running?"""
        return bool(self._running()[1])

    def await_reader(self, what: str, tensor: torch.Tensor, content: bytes | None) -> None:
        """Note the first later call that reads `tensor`'s memory, while it holds `content` if that is given."""
        start = tensor.data_ptr()
        self._awaited.append((what, start, start + tensor.nelement() * tensor.element_size(), content))

    def _running(self) -> tuple[int, list[_Span], bool]:
        node = _current_node()
        if node is None:
            return self._step_now(), list(self._open), False
        if node.name().endswith(_ACCUMULATES):
            return self._step_now(), [], True
        again = [span for span in self._open if span.is_again]
        if again and again[-1].runs():
            return again[-1].step, again, False
        number = node._sequence_nr()
        # Of calls that made the same nodes, the outer one ended last; sorting keeps the order of equals.
        holding = [span for span in reversed(self._spans) if span.first <= number < span.last]
        step = holding[0].step if holding else len(self._recorders) - 1
        return step, sorted(holding, key=lambda span: (span.first, -span.last)), True

    def _holds_others(self, holder: _Span) -> bool:
        return not holder.name.startswith("Module.") or holder.inner > 1

    def _step_now(self) -> int:
        return self._open[-1].step if self._open else len(self._recorders) - 1

    def _enter(
        self, name: str, recorder: object, tensors: list[torch.Tensor], runs: Callable[[], bool] = lambda: True
    ) -> None:
        if not any(recorder is known for known in self._recorders):
            self._recorders.append(recorder)
            self._open.clear()  # no call goes on into another step
            self._awaited.clear()  # by the next step the memory may be another tensor's
        parent = self._open[-1] if self._open else None
        step = next(number for number, known in enumerate(self._recorders) if known is recorder)
        span = _Span(name, step, _sequence_number(), -1, parent, 0, _current_node() is not None, runs)
        if not name.startswith("Module.") and parent is not None:
            parent.inner += 1
        self._open.append(span)
        self._mark(span)
        self._notice_readers(span, tensors)

    def _leave(self, name: str) -> None:
        while self._open:
            span = self._open.pop()
            span.last = _sequence_number()
            self._spans.append(span)
            if span.name.startswith("Module.") and span.parent is not None:
                span.parent.inner += span.inner
            if span.name == name:
                return

    def _mark(self, span: _Span) -> None:
        if self._script is None or span.name.startswith("Module."):
            return
        frame = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != self._script:
            frame = frame.f_back  # type: ignore[assignment]
        if frame is None:
            return
        _, mark, variant = linecache.getline(self._script, frame.f_lineno).partition(_MARK)
        if mark:
            self._write(Event("marked", variant.strip(), span.step, self._rank, (span.name,)))

    def _notice_readers(self, span: _Span, tensors: list[torch.Tensor]) -> None:
        for awaited in list(self._awaited):
            what, start, end, content = awaited
            reads = (tensor for tensor in tensors if tensor.device.type == "cpu" and start <= tensor.data_ptr() < end)
            if any(content is None or bytes_of(tensor) == content for tensor in reads):
                self._awaited.remove(awaited)
                self._write(Event("reads", what, span.step, self._rank, (span.name,)))

    def _write(self, event: Event) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event)) + "\n")


def trace_simulated(tracer: Tracer) -> None:
    """Tell `tracer` each time that a fault of the simulated NPU fires."""
    from dump.sim import fault_kinds

    run = fault_kinds.Launch.run

    def traced(launch: fault_kinds.Launch) -> Any:
        tracer.fired(launch.plan.name)
        return run(launch)

    fault_kinds.Launch.run = traced  # type: ignore[method-assign]
