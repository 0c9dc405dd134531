"""What scripts make for a device that has done its work when the call returns: streams, events, generators.

For the simulated NPU, and for scripts written for CUDA that run on another device: what they ask of a stream is true
at once, so that nothing ever waits, and random numbers are drawn on the host.
"""

from __future__ import annotations

import time
from typing import Any

import torch


class Event:
    """A moment on the device's time line, which is the host's."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self._timed = enable_timing
        self._at: float | None = None

    def record(self, stream: Any = None) -> None:
        self._at = time.perf_counter()

    def wait(self, stream: Any = None) -> None:
        """Nothing is ever pending."""

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        """Nothing is ever pending."""

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to the other.  Raises RuntimeError where one was not recorded or not
        timed.
        """
        if not (self._timed and end_event._timed):
            raise RuntimeError("elapsed_time needs two events made with enable_timing=True")
        if self._at is None or end_event._at is None:
            raise RuntimeError("elapsed_time needs two recorded events")
        return (end_event._at - self._at) * 1000.0


class Stream:
    """A queue of work; there is only one, since every call completes before it returns."""

    def __init__(self, device: Any = None, priority: int = 0, **options: Any) -> None:
        self.priority = priority

    def record_event(self, event: Event | None = None) -> Event:
        recorded = Event() if event is None else event
        recorded.record(self)
        return recorded

    def wait_event(self, event: Event) -> None:
        """Nothing is ever pending."""

    def wait_stream(self, stream: Stream) -> None:
        """Nothing is ever pending."""

    def synchronize(self) -> None:
        """Nothing is ever pending."""

    def query(self) -> bool:
        return True

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None


def drawing_on_the_host(original: type[torch.Generator], kind: str) -> Any:
    """A class to stand for `original`, torch.Generator: one made for a device of `kind` is made for the CPU.

    What it makes are genuine generators, and `isinstance` knows them by either class.
    """

    class Meta(type):
        def __call__(cls, device: Any = "cpu") -> torch.Generator:
            named = isinstance(device, (str, torch.device)) and torch.device(device).type == kind
            return original("cpu" if named else device)

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, original)

    return Meta("Generator", (), {"__module__": "torch", "__doc__": original.__doc__})
