"""A result appears under its name whole or not at all, and never in place of something else."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from dump.format.errors import OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; after the block it is there under its own name.

    The folder is made where it is missing.  Whatever goes wrong, nothing stays behind.

    Raises:
        OutputError: `path` exists (before, or made by someone else meanwhile), or cannot be written.
    """
    if os.path.lexists(path):
        raise _exists(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        _publish(draft, path)
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "free some space there or choose" if error.errno in _FULL else "choose"
        raise OutputError(f"cannot write {path}: {reason}; {remedy} another folder with -o") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _publish(draft: Path, path: Path) -> None:
    # A hard link fails where the name is taken, which a rename does not; some file systems have no links.
    try:
        os.link(draft, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:
        os.replace(draft, path)


def _exists(path: Path) -> OutputError:
    return OutputError(f"{path} exists already and is not overwritten; move it away or choose another folder")
