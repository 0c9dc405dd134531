"""`python -m dump` in a folder with a dump.py of the user's own: Python runs that one, and this says so.

Python looks into the present folder first, so nothing of ours would run, and its exit code would be 0.  An installation
therefore comes with a line that Python reads when it starts (`at_start.pth`); it calls `tell` where a process was
asked for a module `dump`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_OURS = ("-s", "-o", "-c", "--task", "--level", "--step", "--summary-mode", "--config", "--dump-path", "--stack")
"""Flags by which it is seen that the recorder was meant."""


_told: list[str] = []  # Python may read the line twice, where a folder has two names


def tell(arguments: Sequence[str]) -> None:
    """Say which dump.py a command line such as `python -m dump -s train.py` runs, where it is not ours.

    Raises nothing: whatever happens here happens before the first line of the user's.
    """
    try:
        at = next(place for place, word in enumerate(arguments) if place and (word == "-m" or word[:1] != "-"))
        if list(arguments[at : at + 2]) != ["-m", "dump"] or not set(arguments[at + 2 :]) & set(_OURS):
            return
        own = next((path for path in ("dump.py", os.path.join("dump", "__main__.py")) if os.path.isfile(path)), None)
        is_ours = os.path.isfile(os.path.join("acc_compare", os.path.basename(__file__)))  # the tree of the sources
        if own is not None and not is_ours:
            instead = " ".join(["python -m acc_compare dump", *arguments[at + 2 :]])
            said = f"acc: note: Python runs ./{own} of this folder, and nothing is recorded. Use: {instead}"
            if not _told:
                _told.append(said)
                print(said, file=sys.stderr)
    except (StopIteration, OSError):
        return
