"""What goes through torch.distributed: the tensors of each collective before and after it, over all calls of a step.

Python calls alone are seen; DDP and FSDP reduce gradients from within torch.  A call that runs on is measured when it
is waited for.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch

from ... import torch_internals
from ...format.monitor_files import CC
from ...intercept.patching import Patches
from ...record import stack
from ..config import MonitorConfig
from ..rows import Label, Value
from ..sums import Measured, settle
from .base import Collector, Site, register

OPERATIONS = (
    *("send", "recv", "isend", "irecv", "batch_isend_irecv", "broadcast", "all_reduce", "reduce", "scatter"),
    *("reduce_scatter", torch_internals.scatter_base, "reduce_scatter_tensor", "all_gather", "gather"),
    *(torch_internals.gather_base, "all_gather_into_tensor", "all_to_all", "all_to_all_single"),
)


@register("collectives")
class Collectives(Collector):
    key = "cc_distribution"
    kinds = (CC,)

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._settings = site.config.cc_distribution
        self._lines = [re.compile(pattern) for pattern in self._settings.cc_codeline]
        self._patches = Patches()
        self._is_inside = False
        self._calls: dict[str, list[Measured]] = {}
        self._running: dict[int, tuple[Any, Callable[[], None]]] = {}
        self._logged: dict[str, set[str]] = {}

    @classmethod
    def wanted(cls, config: MonitorConfig) -> bool:
        return config.cc_distribution.enable and torch.distributed.is_available()

    def attach(self) -> None:
        distributed = torch.distributed
        for name in OPERATIONS:
            original = getattr(distributed, name, None)
            if callable(original):
                replacement = self._around(name, original)
                self._patches.replace(distributed, name, replacement)
                if vars(distributed.distributed_c10d).get(name) is original:
                    self._patches.replace(distributed.distributed_c10d, name, replacement)
        self._follow_waiting()

    def detach(self) -> None:
        self._patches.restore()
        self._calls.clear()
        self._running.clear()

    def before_step(self, optimizer: Any) -> None:
        """What was gathered since the last step, each operation's calls taken together."""
        if self._settings.cc_log_only:
            return
        settle([measured for calls in self._calls.values() for measured in calls])
        for name, calls in self._calls.items():
            self.site.show(Label(CC, 0, name), together(calls))
        self._calls.clear()

    def end_step(self) -> None:
        if self._settings.cc_log_only and self._logged:
            for name, stacks in sorted(self._logged.items()):
                for number, lines in enumerate(sorted(stacks)):
                    print(f"acc monitor: {name} called from ({number})\n{lines}", file=sys.stderr)
            print("acc monitor: the script ends here, as cc_log_only asks for", file=sys.stderr, flush=True)
            raise SystemExit(0)
        self._calls.clear()

    def _around(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def collective(*args: Any, **kwargs: Any) -> Any:
            site = self.site
            if self._is_inside or not site.recording or not site.guard(lambda: self._is_wanted(name)):
                return original(*args, **kwargs)
            tensors = _tensors((*args, *kwargs.values()))
            if self._settings.cc_pre_hook:
                site.guard(lambda: self._saw(f"{name}.pre", tensors))
            self._is_inside = True
            try:
                result = original(*args, **kwargs)
            finally:
                self._is_inside = False
            self._finish(name, tensors, result)
            return result

        collective.__name__ = name
        collective.__doc__ = original.__doc__
        return collective

    def _finish(self, name: str, tensors: list[torch.Tensor], result: Any) -> None:
        works = result if isinstance(result, list) else [result]
        running = [work for work in works if isinstance(work, torch.distributed.Work)]

        def measure() -> None:
            self.site.guard(lambda: self._saw(f"{name}.post", tensors))

        if running:
            self._running[id(running[-1])] = (running[-1], measure)
        else:
            measure()

    def _follow_waiting(self) -> None:
        original = torch.distributed.Work.wait

        def wait(work: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(work, *args, **kwargs)
            _, measure = self._running.pop(id(work), (None, None))
            if measure is not None:
                measure()
            return result

        self._patches.replace(torch.distributed.Work, "wait", wait)

    def _is_wanted(self, name: str) -> bool:
        """Is the call made from a wanted line?  With `cc_log_only` note the line, and measure nothing."""
        if not self._lines and not self._settings.cc_log_only:
            return True
        lines = stack.render(stack.take())
        if self._settings.cc_log_only:
            self._logged.setdefault(name, set()).add("\n".join(lines))
            return False
        places = [re.sub(r"^File (.*?), line (\d+), .*", r"\1[\2]", line, flags=re.DOTALL) for line in lines]
        return any(pattern.search(place) for pattern in self._lines for place in places)

    def _saw(self, name: str, tensors: list[torch.Tensor]) -> None:
        for index, measured in enumerate(self.site.measurer.measure(tensors)):
            self._calls.setdefault(f"{name}_{index}", []).append(measured)


def _tensors(values: Iterable[Any]) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += [tensor for item in value if isinstance(tensor := getattr(item, "tensor", item), torch.Tensor)]
    return found


def together(calls: list[Measured]) -> Measured:
    """One set of numbers for several tensors, as if they were one: extremes over all, the norm of all elements,
    mean and zeros weighted by size, NaN added up.  Shape and dtype are the last one's, a sketch there is none."""
    if len(calls) == 1:
        return calls[0]
    sizes = [float(torch.Size(call.shape).numel()) for call in calls]
    last = calls[-1]
    merged = Measured(last.shape, last.dtype)
    merges: dict[str, Callable[[list[Any]], Value]] = {
        "norm": lambda found: sum(number**2 for number in found) ** 0.5,
        "min": min,
        "max": max,
        "nans": sum,
        "mean": lambda found: sum(n * size for n, size in zip(found, sizes, strict=True)) / (sum(sizes) or 1.0),
    }
    merges["zeros"] = merges["mean"]
    for op, merge in merges.items():
        found = [call.numbers.get(op) for call in calls]
        if all(isinstance(number, (int, float)) for number in found):
            merged.numbers[op] = merge(found)
    return merged
