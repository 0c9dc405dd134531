"""What the exit codes of the comparing commands say."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

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
