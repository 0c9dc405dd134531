"""Calls in the name of who called: a warning that a function of torch gives is told of the user's line, once for each.

Python takes a warning's place from the frame that lies on top, or some levels below it, and whether it was given before
from the globals there.  With a frame of ours on top all warnings would come from one line of this package.  So calls go
through a function that has the caller's file, line, name and globals.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, TypeAlias

from ..record.stack import OURS, bears_another_name

Function: TypeAlias = "Callable[..., Any]"

_CALL: CodeType = (lambda function, /, *args, **kwargs: function(*args, **kwargs)).__code__.replace(co_consts=(OURS,))
_MOST = 1 << 13
_NO_COLUMNS = 0x80 | (13 << 3)
"""Opens an entry of a line table (CPython 3.11 and later) that says nothing of columns."""

_doubles: dict[tuple[int, int], tuple[FrameType | CodeType, Function]] = {}


def in_the_name_of(frames_up: int, function: Function) -> Function:
    """`function`, called from where the caller of this, or one so many frames above it, stands; as it is where no such
    frame is, as where it is all that a thread runs."""
    try:
        frame = sys._getframe(1 + frames_up)
    except ValueError:
        return function
    code = frame.f_code
    key = id(code), frame.f_lasti
    found = _doubles.get(key)
    if found is None or found[1].__globals__ is not frame.f_globals:
        if len(_doubles) >= _MOST:
            _doubles.clear()
        found = _doubles[key] = code, _double(frame)
    return functools.partial(found[1], function)


def beyond(trace: TracebackType | None) -> TracebackType | None:
    """Of a traceback that begins in a function of ours, what lies beyond the call in the caller's name; where none was
    made, beyond that function."""
    link = trace
    while link is not None:
        if bears_another_name(link.tb_frame.f_code):
            return link.tb_next
        link = link.tb_next
    return trace and trace.tb_next


def forget() -> None:
    """Let go of the code and globals of callers."""
    _doubles.clear()


def _double(frame: FrameType) -> Function:
    changes: dict[str, Any] = {
        "co_filename": frame.f_code.co_filename,
        "co_firstlineno": frame.f_lineno,
        "co_name": frame.f_code.co_name,
    }
    if sys.version_info >= (3, 11):
        changes |= {"co_qualname": frame.f_code.co_qualname, "co_linetable": one_line(len(_CALL.co_code) // 2)}
    return FunctionType(_CALL.replace(**changes), frame.f_globals)


def one_line(units: int) -> bytes:
    """The table of a code of so many units of two bytes that lie on its first line."""
    entries = (min(8, units - start) for start in range(0, units, 8))
    return b"".join(bytes([_NO_COLUMNS | (length - 1), 0]) for length in entries)
