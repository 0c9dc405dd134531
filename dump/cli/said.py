"""What `acc dump` says while a script runs, the script's children included."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..write.limits import amounts_text

if TYPE_CHECKING:
    from ..config import DumpConfig
    from ..write.writer import Written


_stderr: TextIO | None = None
"""Where it goes while a script runs, which may have put something else in the place of `sys.stderr`, to read it."""


@contextlib.contextmanager
def to_this_stderr() -> Iterator[None]:
    """Within, `say` writes to what `sys.stderr` is now."""
    global _stderr
    before, _stderr = _stderr, sys.stderr
    try:
        yield
    finally:
        _stderr = before


def say(text: str) -> None:
    """On stderr: stdout is the script's.  Not at all where the script has closed it."""
    file = _stderr or sys.stderr
    with contextlib.suppress(ValueError, OSError):
        if file is not None:  # by its own method: a script may have put something in the place of `print`
            file.write(f"acc dump: {text}\n")
            file.flush()


def step_teller(config: Callable[[], DumpConfig]) -> Callable[[int, Written], None]:
    """What tells of a step that is on disk, and does with it what the settings in force ask for."""
    from .. import after_step  # now: the script's own `dump` may stand in our place later on

    def tell(number: int, written: Written) -> None:
        amounts = amounts_text(written.calls, written.tensors, written.nbytes)
        settings = config()
        short = Path(settings.dump_path, *written.folder.parts[-2:])
        folder = short if Path(settings.place, short) == written.folder else written.folder
        say(f"step {number}: {amounts} in {folder}")
        after_step.finish(settings, number, written, say)

    return tell
