"""The caller's source lines, taken cheaply: code and places in it now, lines and text when written."""

from __future__ import annotations

import linecache
import os
import sys
from types import CodeType, FrameType
from typing import TypeAlias

RawStack: TypeAlias = "tuple[tuple[CodeType, int], ...]"
"""Innermost frame first: its code, and the offset of the instruction.  Finding its line takes longer."""

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_OUR_LAUNCHERS = (_OURS + "launch.py", _OURS + "cli.py")
_WORKLOAD = _OURS + "workload.py"
_LAUNCHERS = ("<frozen runpy>", f"{os.sep}runpy.py")


def take() -> RawStack:
    """The stack of the present thread, from the caller outwards."""
    frames: list[tuple[CodeType, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        frames.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(frames)


def render(stack: RawStack) -> list[str]:
    """Lines as msprobe writes them: `File <path>, line <n>, in <function>, \\n <source>`.

    Frames of this package are left out, but for the built-in workload, which stands for a user's script.  A script
    that a launcher runs ends at the launcher: below it lies nothing of the user's.
    """
    lines: list[str] = []
    for code, offset in stack:
        path = code.co_filename
        if path.endswith(_LAUNCHERS) or path in _OUR_LAUNCHERS:
            break
        if not path.startswith(_OURS) or path == _WORKLOAD:
            number = _line(code, offset)
            source = linecache.getline(path, number).strip()
            lines.append(f"File {path}, line {number}, in {code.co_name}, \n {source}")
    return lines


def _line(code: CodeType, offset: int) -> int:
    for start, end, number in code.co_lines():
        if start <= offset < end and number is not None:
            return number
    return code.co_firstlineno
