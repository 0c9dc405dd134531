"""What `acc dump` says while a script runs, the script's children included."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..write.limits import size_text

if TYPE_CHECKING:
    from ..config import DumpConfig
    from ..write.writer import Written


def say(text: str) -> None:
    """On stderr: stdout is the script's."""
    print(f"acc dump: {text}", file=sys.stderr, flush=True)


def step_teller(config: Callable[[], DumpConfig]) -> Callable[[int, Written], None]:
    """What tells of a step that is on disk, and does with it what the settings in force ask for."""
    from .. import after_step  # now: the script's own `dump` may stand in our place later on

    def tell(number: int, written: Written) -> None:
        amounts = f"{written.calls:,} calls, {written.tensors:,} tensors, {size_text(written.nbytes)}"
        say(f"step {number}: {amounts} in {written.folder}")
        after_step.finish(config(), number, written, say)

    return tell
