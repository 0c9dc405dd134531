"""What `acc dump` says while a script runs, the script's children included."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..write.limits import size_text

if TYPE_CHECKING:
    from ..config import DumpConfig
    from ..write.writer import Written


def say(text: str) -> None:
    """On stderr: stdout is the script's."""
    print(f"acc dump: {text}", file=sys.stderr, flush=True)


def step_is_written(config: DumpConfig, number: int, written: Written) -> None:
    """Tell of a step that is on disk, and do with it what `config` asks for."""
    from .. import after_step

    amounts = f"{written.calls:,} calls, {written.tensors:,} tensors, {size_text(written.nbytes)}"
    say(f"step {number}: {amounts} in {written.folder}")
    after_step.finish(config, number, written, say)
