"""What the exit codes of the comparing commands say."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the exit code says."""

    nothing_suspect = 0
    suspect = 1
    not_compared = 2
