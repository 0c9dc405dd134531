"""Which steps are recorded where recording stays on for weeks: every N-th, as many as a share of the time allows."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import DumpConfig

_REMEMBERED = 31
"""Steps that were not recorded, whose median stands for the time of a step."""


class Sampling:
    """Picks steps for one session, and counts those that it left out.

    `every` picks by number: the same steps of every run.  `budget` is a share of the run's time.  The first step is
    recorded, and its cost is held against steps that are not; a further one is, once what recording has cost so far and
    what the last step cost are within that share of the time that the steps so far would have taken alone.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._bare: deque[float] = deque(maxlen=_REMEMBERED)
        self._recorded: list[float] = []
        self._steps = 0
        self._since = clock()
        self._choice: tuple[int, bool] | None = None
        self.left_out = 0

    def picks(self, config: DumpConfig, step: int) -> bool:
        """Is a step that is wanted to be recorded?  The same answer however often it is asked within a step."""
        if self._choice is None or self._choice[0] != step:
            picked = step % config.every == 0 and (config.budget is None or self._affords(config.budget))
            self._choice = step, picked
        return self._choice[1]

    def ended(self, *, recorded: bool) -> None:
        """A step is over, which began when the last one ended."""
        now = self._clock()
        (self._recorded if recorded else self._bare).append(now - self._since)
        self._since = now
        self._steps += 1
        self.left_out += self._choice is not None and not self._choice[1]
        self._choice = None

    def _affords(self, budget: float) -> bool:
        if not self._recorded:
            return True
        if not self._bare:
            return False
        alone = statistics.median(self._bare)
        spent = sum(max(0.0, took - alone) for took in self._recorded)
        return spent + max(0.0, self._recorded[-1] - alone) <= budget * alone * (self._steps + 1)

    def header(self, config: DumpConfig) -> dict[str, object]:
        """For the header of a step: how it was picked, and how many wanted steps before it were left out."""
        if config.every == 1 and config.budget is None:
            return {}
        return {"sampling": {"every": config.every, "budget": config.budget, "steps_left_out": self.left_out}}

    def sentence(self, config: DumpConfig) -> str:
        """What was left out, in words; "" where nothing was."""
        if not self.left_out:
            return ""
        asked = [f"every {config.every}"] if config.every > 1 else []
        asked += [f"budget {config.budget:.3g} of the time"] if config.budget is not None else []
        return f"left out by sampling ({', '.join(asked)}): {self.left_out:,} steps"
