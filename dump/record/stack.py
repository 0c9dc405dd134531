"""The caller's source lines, taken cheaply: code objects and line numbers now, text when written."""

from __future__ import annotations

import linecache
import os
import sys
from types import CodeType, FrameType
from typing import TypeAlias

RawStack: TypeAlias = "tuple[tuple[CodeType, int], ...]"

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LAUNCHERS = ("<frozen runpy>", "runpy.py")


def take() -> RawStack:
    """The stack of the user's thread, innermost frame first, without our own frames."""
    frames: list[tuple[CodeType, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_OURS):
            frames.append((code, frame.f_lineno))
        frame = frame.f_back
    return tuple(frames)


def render(stack: RawStack) -> list[str]:
    """Lines as msprobe writes them: `File <path>, line <n>, in <function>, \\n <source>`."""
    lines: list[str] = []
    for code, number in stack:
        if code.co_filename.endswith(_LAUNCHERS):
            break
        source = linecache.getline(code.co_filename, number).strip()
        lines.append(f"File {code.co_filename}, line {number}, in {code.co_name}, \n {source}")
    return lines
