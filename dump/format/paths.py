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


def from_here(path: str | os.PathLike[str]) -> Path:
    """`from_home` of `path`, to be found from wherever a script goes."""
    found = from_home(path)
    return found if isinstance(found, RemotePath) else Path(working_folder(), found)


def working_folder() -> str:
    """The working folder; empty where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def as_meant_in(folder: str, path: Path) -> Path:
    """What `path` was when `folder` was the working folder, which a script may have left; as it stands if it did not.

    >>> as_meant_in(working_folder(), Path("runs")).as_posix(), as_meant_in("/home/me", Path("runs")).as_posix()
    ('runs', '/home/me/runs')
    """
    return path if folder == working_folder() else Path(folder, path)
