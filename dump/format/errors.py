"""Everything that can be wrong with what the user handed in, as a small tree.

    AccError                  one clear line for the user; the command line turns it into exit code 2
    ├── ConfigError           a configuration file, a flag or an argument
    ├── DumpError             a dump that cannot be read
    │   ├── DumpNotFound      there is none where one was expected
    │   ├── DumpCorrupt       there is one, but its bytes are not a dump
    │   └── TensorFileError   one tensor file of a dump is missing, short, foreign or outside its folder
    ├── IncomparableError     two dumps that cannot be laid side by side
    ├── OutputError           the place for the results cannot be written
    ├── ResultError           a result that was written cannot be read
    └── SelfCheckFailed       a run from which nothing can be said about recording

A message says what was expected, what was found, and what to do.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import PurePath
from types import TracebackType
from typing import NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class AccError(Exception):
    """Base of all errors that are the input's fault, never ours."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows."""
        return [_line(self)]


class ConfigError(AccError):
    """A configuration file, a flag or an argument does not say what it must."""


class DumpError(AccError):
    """A dump that cannot be read."""


class DumpNotFound(DumpError):
    """No dump lies where one was expected."""


class DumpCorrupt(DumpError):
    """A file of the dump holds bytes that are not what docs/format.md describes."""


class TensorFileError(DumpError):
    """A tensor file is missing, short, foreign, or lies outside its dump."""


def refuse(path: PurePath, complaint: str) -> NoReturn:
    """TensorFileError: the file, then what was expected, what was found, and what to do."""
    # What a damaged file holds may reach the complaint, line breaks included.
    raise TensorFileError(f"{path}: {' '.join(complaint.split())}")


class IncomparableError(AccError):
    """Two dumps that cannot be laid side by side (different modes, hashes, world sizes)."""


class OutputError(AccError):
    """Results cannot be written where they should go."""


class ResultError(AccError):
    """The files of a comparison are missing, foreign, or of an earlier version."""


class SelfCheckFailed(AccError):
    """The script fails alone, does not repeat itself, or computes nothing that could be checked."""


def told_in_one_line(function: Callable[P, T]) -> Callable[P, T]:
    """For what scripts call: an AccError that leaves `function`, and that the script does not catch, ends Python with
    its line and no traceback."""

    @functools.wraps(function)
    def telling(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except AccError:
            if sys.excepthook not in _hooks:
                _hooks.append(_hook(sys.excepthook))
                sys.excepthook = _hooks[-1]
            raise

    return telling


def _hook(before: Callable[..., object]) -> Callable[..., object]:
    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, AccError):
            print(_line(error), file=sys.stderr)
        else:
            before(kind, error, trace)

    return hook


_hooks: list[Callable[..., object]] = []


def _line(error: AccError) -> str:
    return f"acc: error: {error}"
