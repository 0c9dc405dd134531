"""What is done with the files of a step once they are closed, where the settings ask for it."""

from __future__ import annotations

from collections.abc import Callable

from .config import DumpConfig
from .format import debug_file
from .format.errors import AccError
from .format.layout import DEBUG_FILE
from .format.nonfinite import first_made
from .format.reader import decoded_records, read_dump
from .write.writer import Written

_NAMES = {"nan": "NaN", "inf": "infinity"}


def finish(config: DumpConfig, number: int, written: Written, say: Callable[[str], None]) -> None:
    """Write debug.json at level debug; say where the first NaN was made for the task `nan_check`.

    What goes wrong is said, and the run goes on.
    """
    try:
        if config.level == "debug":
            header, records = decoded_records(written.folder)
            (written.folder / DEBUG_FILE).write_text(debug_file.text_of(header, records), encoding="utf-8")
        if config.checks_finite:
            found = first_made(read_dump(written.folder))
            for made in found:
                line = f" ({made.stack[0].strip()})" if made.stack else ""
                came = "is" if not made.is_exchange else "may have come from another rank:"
                say(f"step {number}: the first {_NAMES[made.kind]} {came} {made.argument} of {made.call}{line}")
            if not found:
                say(f"step {number}: no call made a NaN or an infinity")
    except (AccError, OSError) as error:
        say(f"error: {error} What follows a step was not done.")
