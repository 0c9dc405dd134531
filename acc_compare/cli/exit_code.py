"""What the exit codes of the comparing commands say."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum

import typer

from acc_compare.model import VerdictName


class Exit(IntEnum):
    """What the exit code says."""

    nothing_suspect = 0
    suspect = 1
    not_compared = 2


EXITS: Mapping[VerdictName, Exit] = {
    "same": Exit.nothing_suspect,
    "different": Exit.suspect,
    "incomplete": Exit.not_compared,
}


@contextmanager
def leaving_with(status: Exit) -> Iterator[None]:
    """Print what there is to say, then leave with `status`, also where nobody reads to the end, as `| head` does.

    Raises typer.Exit.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes what is left as it ends
    raise typer.Exit(status)
