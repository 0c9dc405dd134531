"""Paths as users give them: `~` is their home, `s3://bucket/run` another place."""

from __future__ import annotations

import os
from pathlib import Path

from dump.format.remote import RemotePath, is_url


def from_home(path: str | os.PathLike[str]) -> Path:
    """`path` with a leading `~` or `~name` replaced; as it stands where there is no such home.

    A URL becomes a `RemotePath`, unless a file here has that very name.
    """
    text = os.fspath(path)
    if is_url(text) and not os.path.lexists(text):
        return RemotePath(text)
    return Path(os.path.expanduser(text))
