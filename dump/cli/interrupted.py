"""A script that was interrupted ends as it does under Python alone: by the signal, so that a shell's loop ends too."""

from __future__ import annotations

import sys
from typing import NoReturn


class Interrupted(int):
    """The exit status of a script that nobody kept from being interrupted.

    >>> INTERRUPTED == 130 and not isinstance(130, Interrupted)  # a script may well exit with that number
    True
    """


INTERRUPTED = Interrupted(130)
"""As a shell counts it: 128 and the number of the signal."""


def end_interrupted() -> NoReturn:
    """Let Python end the process as it ends one that was interrupted; what there was to be shown was."""
    sys.excepthook = lambda *_: None
    raise KeyboardInterrupt
