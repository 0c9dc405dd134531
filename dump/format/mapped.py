"""The files that a dump names, checked and mapped into memory: bare names of regular files in their own folder."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

from dump.format.errors import TensorFileError, refuse
from dump.format.packs import Extent
from dump.format.remote import RemotePath

_LONGEST_NAME = 255
"""Characters of a file's name; no file system takes more."""

_AHEAD = 32 << 20


def inside(folder: Path, data_name: str) -> Path:
    """The file of that bare name in `folder`.  Raises TensorFileError."""
    is_long = len(data_name) > _LONGEST_NAME
    if data_name in {"", ".", ".."} or is_long or not data_name.isprintable() or {"/", "\\"} & set(data_name):
        shown = f"{data_name[:80]!r} and {len(data_name) - 80} characters more" if is_long else repr(data_name)
        raise TensorFileError(f"{folder}: expected the bare name of a tensor file, found {shown}; record again")
    named = folder / data_name
    if _is_no_link(folder, stat.S_IFDIR) and _is_no_link(named, stat.S_IFREG):
        return named  # lies where it says: nothing to follow
    try:
        home = folder.resolve(strict=True)
        path = named.resolve(strict=True)
    except FileNotFoundError:
        raise TensorFileError(
            f"{named}: expected a tensor file, found none; copy the whole dump, or record again"
        ) from None
    except (OSError, RuntimeError) as error:
        refuse(
            named,
            f"expected a tensor file, found a path that leads nowhere ({error}); record again",
        )
    if not home.is_relative_to(folder.parent.resolve()):
        refuse(folder, f"expected a folder of the dump, found a link to {home}; copy the folder there")
    if not path.is_relative_to(home):
        refuse(
            named,
            f"expected a file in its own folder, found a link to {path}; copy the file there",
        )
    if not path.is_file():
        refuse(path, "expected a tensor file, found no regular file; record again")
    return path


def _is_no_link(path: Path, kind: int) -> bool:
    """Is it there, a thing of that kind by itself?"""
    try:
        return stat.S_IFMT(os.lstat(path).st_mode) == kind
    except (OSError, ValueError):
        return False


def mapped(path: Path) -> mmap.mmap:
    """All bytes of a file.  Raises TensorFileError."""
    try:
        if isinstance(path, RemotePath):
            return path.mapped()
        with path.open("rb") as file:
            return _asked_for(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError:  # what cannot be mapped: there is nothing
        refuse(path, "expected a tensor, found an empty file; record again")
    except OSError as error:
        refuse(path, f"expected a readable file, found {error.strerror or error}; check its permissions")


def _asked_for(content: mmap.mmap) -> mmap.mmap:
    """The same, with its first bytes on their way from the disk: page by page they would come at half of its pace."""
    if hasattr(mmap, "MADV_WILLNEED"):
        content.madvise(mmap.MADV_WILLNEED, 0, min(len(content), _AHEAD))
    return content


def mapped_part(path: Path, part: Extent) -> memoryview:
    """Bytes of a pack file, and no more of it than the pages that they lie in.  Raises TensorFileError."""
    length = part.end - part.start
    if length <= 0:
        refuse(path, f"expected bytes of a tensor, found {part.start} up to {part.end}; record again")
    skipped = part.start % mmap.ALLOCATIONGRANULARITY
    try:
        if isinstance(path, RemotePath):
            return memoryview(path.mapped(part.start, part.end))
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), skipped + length, access=mmap.ACCESS_READ, offset=part.start - skipped)
        return memoryview(_asked_for(content))[skipped:]
    except (ValueError, OverflowError):  # beyond its end
        refuse(path, f"expected a tensor in bytes {part.start} up to {part.end}, found a shorter file; record again")
    except OSError as error:
        refuse(path, f"expected a readable file, found {error.strerror or error}; check its permissions")
