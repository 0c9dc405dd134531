"""Calls in the name of who called: a warning that a function of torch gives is told of the user's line, once for each.

Python takes a warning's place from the frame that lies on top, or some levels below it, and whether it was given before
from the globals there.  With a frame of ours on top all warnings would come from one line of this package.  So calls go
through a function that has the caller's file, line, name and globals.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, TypeAlias

from ..record.stack import OURS, bears_another_name
from .tracebacks import holds_a_mode_of_ours, without_ours

Function: TypeAlias = "Callable[..., Any]"

_CALL: CodeType = (lambda function, /, *args, **kwargs: function(*args, **kwargs)).__code__.replace(co_consts=(OURS,))
_MOST = 1 << 13
_NO_COLUMNS = 0x80 | (13 << 3)
"""Opens an entry of a line table (CPython 3.11 and later) that says nothing of columns."""
_ALL_COLUMNS = 0x80 | (14 << 3)
"""And one that says from which to which."""

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
    while link is not None and not bears_another_name(link.tb_frame.f_code):
        link = link.tb_next
    rest = link.tb_next if link is not None else trace and trace.tb_next
    return without_ours(rest) if holds_a_mode_of_ours(rest) else rest


def as_if_it_were(original: Any, stand_in: Any) -> Any:
    """`stand_in`, which from now on has the name and the signature of `original`, a function in Python that ends in a
    call; in a traceback it is that function, at that call.  As it is, where `original` is no such function."""
    if not isinstance(original, FunctionType):
        return stand_in
    code = original.__code__
    line = max(line for *_, line in code.co_lines() if line is not None)
    stand_in.__code__ = _standing_at(stand_in.__code__, code, line, _columns_of(code, line))
    stand_in.__name__, stand_in.__qualname__ = original.__name__, original.__qualname__
    stand_in.__module__, stand_in.__doc__ = original.__module__, original.__doc__
    stand_in.__annotations__ = dict(original.__annotations__)
    stand_in.__signature__ = inspect.signature(original)
    return stand_in


def _columns_of(code: CodeType, line: int) -> tuple[int, int] | None:
    """Of the expressions on that line, without the statement that they are part of, where the longest is."""
    if sys.version_info < (3, 11):
        return None
    found = {
        (start, end)
        for first, last, start, end in code.co_positions()
        if first == last == line and start is not None and end is not None
    }
    longest = sorted(found, key=lambda columns: columns[0] - columns[1])
    return longest[1] if len(longest) > 1 else None


def forget() -> None:
    """Let go of the code and globals of callers."""
    _doubles.clear()


def _double(frame: FrameType) -> Function:
    return FunctionType(_standing_at(_CALL, frame.f_code, frame.f_lineno), frame.f_globals)


def _standing_at(code: CodeType, other: CodeType, line: int, columns: tuple[int, int] | None = None) -> CodeType:
    """`code`, which seems to be `other`, and to lie on that line of it, between those columns."""
    changes: dict[str, Any] = {"co_filename": other.co_filename, "co_firstlineno": line, "co_name": other.co_name}
    if sys.version_info >= (3, 11):
        table = one_line(len(code.co_code) // 2, columns)
        changes |= {"co_qualname": other.co_qualname, "co_linetable": table}
    return code.replace(**changes)


def one_line(units: int, columns: tuple[int, int] | None = None) -> bytes:
    """The table of a code of so many units of two bytes that lie on its first line, between those columns."""
    form, place = _NO_COLUMNS, b"\0"
    if columns is not None:
        form, place = _ALL_COLUMNS, b"\0\0" + b"".join(_number(column + 1) for column in columns)
    entries = (min(8, units - start) for start in range(0, units, 8))
    return b"".join(bytes([form | (length - 1)]) + place for length in entries)


def _number(value: int) -> bytes:
    """As line tables hold numbers: six bits a byte, the lowest first, and a seventh where more come."""
    low, rest = value & 63, value >> 6
    return bytes([low | 64]) + _number(rest) if rest else bytes([low])
