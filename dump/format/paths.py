"""Paths as users give them: `~` is their home."""

from __future__ import annotations

import os
from pathlib import Path


def from_home(path: str | os.PathLike[str]) -> Path:
    """`path` with a leading `~` or `~name` replaced; as it stands where there is no such home."""
    return Path(os.path.expanduser(path))
