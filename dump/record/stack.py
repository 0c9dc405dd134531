"""The caller's source lines, taken cheaply: code and places in it now, lines and text when written."""

from __future__ import annotations

import functools
import linecache
import os
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, TypeAlias

from .. import native

RawStack: TypeAlias = "tuple[Any, ...]"
"""Innermost frame first: its code, then the offset of the instruction.  Finding its line takes longer.

One flat tuple: Python's collector comes after so many objects, and a pair for each frame is most of a small call's.
"""

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_OUR_LAUNCHERS = tuple(_OURS + os.path.join("cli", name) for name in ("launch.py", "command.py"))
_WORKLOAD = _OURS + "workload.py"
_LAUNCHERS = ("<frozen runpy>", f"{os.sep}runpy.py")
_KEPT_FRAMES = 1 << 13

OURS = "acc"
"""The last constant of code of ours that bears another's file and name."""


def take() -> RawStack:
    """The stack of the present thread, from the caller outwards."""
    return _read_along(sys._getframe(1), _CALLER, _PLACE)


def _in_python(frame: FrameType | None, *_: object) -> RawStack:
    frames: list[Any] = []
    while frame is not None:
        frames += (frame.f_code, frame.f_lasti)
        frame = frame.f_back
    return tuple(frames)


_CALLER: Any = FrameType.f_back
_PLACE: tuple[Any, ...] = (FrameType.f_code, FrameType.f_lasti)
_read_along: Callable[..., RawStack] = getattr(native.core, "read_along", _in_python)  # one built before has none


def key(stack: RawStack) -> tuple[object, ...]:
    """Equal for equal stacks as long as both are kept.  To hash the code itself takes ten times as long."""
    return (*map(id, stack[::2]), *stack[1::2])


def render(stack: RawStack) -> list[str]:
    """Lines as msprobe writes them: `File <path>, line <n>, in <function>, \\n <source>`.

    Frames of this package are left out, but for the built-in workload, which stands for a user's script.  A script
    that a launcher runs ends at the launcher: below it lies nothing of the user's.
    """
    lines: list[str] = []
    for code, offset in zip(stack[::2], stack[1::2], strict=True):
        path = code.co_filename
        if path.endswith(_LAUNCHERS) or is_launcher(code):
            break
        if not is_ours(code) or path == _WORKLOAD:
            lines.append(_text(code, offset))
    return lines


def is_ours(code: CodeType) -> bool:
    """Is it code of this package, whatever file it seems to come from?"""
    return is_file_of_ours(code.co_filename) or bears_another_name(code)


def is_launcher(code: CodeType) -> bool:
    """Does a script that the command runs end there?"""
    return is_launchers_file(code.co_filename)


def is_launchers_file(path: str) -> bool:
    return path in _OUR_LAUNCHERS


def is_file_of_ours(path: str) -> bool:
    return path.startswith(_OURS)


def bears_another_name(code: CodeType) -> bool:
    """Is it code of this package that has another's file and name?"""
    return code.co_consts[-1:] == (OURS,)


@functools.lru_cache(_KEPT_FRAMES)
def _text(code: CodeType, offset: int) -> str:
    number = _line(code, offset)
    source = linecache.getline(code.co_filename, number).strip()
    return f"File {code.co_filename}, line {number}, in {code.co_name}, \n {source}"


def _line(code: CodeType, offset: int) -> int:
    for start, end, number in code.co_lines():
        if start <= offset < end and number is not None:
            return number
    return code.co_firstlineno
