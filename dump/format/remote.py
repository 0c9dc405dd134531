"""Dumps in other places than this machine's file system: `s3://bucket/run`, `ssh://host/run`, `memory://run`.

A `RemotePath` is a path like another to whoever reads a dump: it says what lies where, and opens files for reading.  A
file is asked for when it is read, by ranges, and nothing is kept on disk.  What knows the places is fsspec.
"""

from __future__ import annotations

import inspect
import io
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dump.format.errors import ConfigError

if TYPE_CHECKING:
    _Plain = Path
else:
    _Plain = type(Path())

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}(.*)", re.ASCII | re.DOTALL)
_BLOCK = 1 << 24
_AHEAD = 1 << 20
"""Bytes that are asked for at once, of a part of a file and of one that is read from its start."""


def is_url(path: str) -> bool:
    """Does a path as a user gave it, or as `pathlib` has written it, name another place?

    >>> is_url("s3://bucket/run"), is_url("s3:/bucket/run"), is_url("C:/run"), is_url("run/step0")
    (True, True, False, False)
    """
    return _URL.fullmatch(path) is not None


class _Opened(io.RawIOBase):
    """A file of fsspec's as Python's own are: that of some places does not say where it is when it is told to go."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class RemotePath(_Plain):
    """A path below a URL.  Its methods raise OSError where the place cannot be reached, and ConfigError where nothing
    that knows such places is installed."""

    def __str__(self) -> str:
        found = _URL.fullmatch(super().__str__())
        return f"{found[1]}://{found[2].lstrip('/')}" if found else super().__str__()

    def __fspath__(self) -> str:
        return str(self)

    def _inner(self) -> str:
        """As its place calls it, without scheme and machine."""
        return str(_place(self)._strip_protocol(str(self)))

    def exists(self, **_: bool) -> bool:
        with _as_os_error(self):
            return bool(_place(self).exists(self._inner()))

    def is_dir(self, **_: bool) -> bool:
        with _as_os_error(self):
            return bool(_place(self).isdir(self._inner()))

    def is_file(self, **_: bool) -> bool:
        with _as_os_error(self):
            return bool(_place(self).isfile(self._inner()))

    def iterdir(self) -> Iterator[RemotePath]:  # type: ignore[override]
        with _as_os_error(self):
            names = [str(name).rstrip("/").rpartition("/")[2] for name in _place(self).ls(self._inner(), detail=False)]
        for name in names:
            if name and name != self.name:
                yield self / name

    def glob(self, pattern: str, **_: Any) -> Iterator[RemotePath]:  # type: ignore[override]
        with _as_os_error(self):
            found = _place(self).glob(f"{self._inner()}/{pattern}")
        depth = pattern.count("/") + 1
        for name in found:
            yield self.joinpath(*str(name).split("/")[-depth:])

    def stat(self, **_: bool) -> os.stat_result:
        with _as_os_error(self):
            size = int(_place(self).size(self._inner()) or 0)
        return os.stat_result((0o100444, 0, 0, 0, 0, 0, size, 0, 0, 0))

    def resolve(self, strict: bool = False) -> RemotePath:
        if strict and not self.exists():
            raise FileNotFoundError(f"{self}: no such file")
        return self

    def open(self, mode: str = "r", *_: Any, **__: Any) -> IO[Any]:  # type: ignore[override]
        """For reading bytes alone."""
        if mode != "rb":
            raise OSError(f"{self}: only read from here")
        with _as_os_error(self):
            return io.BufferedReader(_Opened(_place(self).open(self._inner(), "rb")), _AHEAD)

    def mapped(self, first: int = 0, last: int | None = None) -> mmap.mmap:
        """The file's bytes, or those from `first` up to `last`, in memory of their own.

        Raises OSError, and ValueError where there are none or fewer.
        """
        whole = self.stat().st_size
        size = (whole if last is None else last) - first
        if size <= 0 or first + size > whole:
            raise ValueError(f"{self}: empty, or shorter")
        memory = mmap.mmap(-1, size)
        with _as_os_error(self):
            for start in range(0, size, _BLOCK):
                end = min(size, start + _BLOCK)
                memory[start:end] = self._range(first + start, first + end)
        return memory

    def _range(self, start: int, end: int) -> bytes:
        place = _place(self)
        if "start" in inspect.signature(getattr(place, "_cat_file", place.cat_file)).parameters:
            return bytes(place.cat_file(self._inner(), start=start, end=end))
        with place.open(self._inner(), "rb") as file:  # a place that hands out whole files alone at once
            file.seek(start)
            return bytes(file.read(end - start))


def _place(path: RemotePath) -> Any:
    """What reads the bucket or the machine, with its user and port, that a path names: fsspec keeps one for each
    thread and process, as connections must not be shared."""
    scheme, _, rest = str(path).partition("://")
    host = rest.partition("/")[0]
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(f"{scheme}://{host}/")[0]
    except ImportError as error:
        raise ConfigError(f"{scheme}:// is read by packages that are not installed: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{scheme}:// is no place that fsspec knows: {error}") from error


@contextmanager
def _as_os_error(path: RemotePath) -> Iterator[None]:
    """Clients of these places raise errors of their own."""
    try:
        yield
    except (OSError, ConfigError):
        raise
    except Exception as error:
        raise OSError(f"{path}: {type(error).__name__}: {error}") from error
