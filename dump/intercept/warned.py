"""Warnings that Python code gives some frames above the line that it means, as `stacklevel` says.

A function that torch calls for a recorded one counts frames of ours among those of the run.  `warnings.warn` stays the
object that it is and counts those of the run alone: any level means the line that it means without a recording.
"""

from __future__ import annotations

import operator
import sys
import warnings
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any, TypeAlias

from ..record.stack import is_launcher, is_ours
from .in_place import redirect_in_c, restore_in_c
from .patching import Patches
from .scripted_code import keep_uncompiled

Function: TypeAlias = "Callable[..., Any]"

_PASSED_OVER = ("importlib", "_bootstrap")
"""What the file of a frame has in its name that Python passes over, and from which it passes over none."""
_BEYOND = (1 << 31) - 1


class Warned:
    """Lets `warnings.warn` count the frames of the run alone, where the native core can lead it elsewhere."""

    def __init__(self) -> None:
        self._is_led = False

    def install(self, _: Patches) -> None:
        if not self._is_led:
            self._is_led = redirect_in_c(warnings.warn, _counting)

    def remove(self) -> None:
        if self._is_led:
            self._is_led = False
            restore_in_c(warnings.warn)


def _counting(original: Function) -> Function:
    def warn(*args: Any, **kwargs: Any) -> Any:
        try:
            args, kwargs = _counted(sys._getframe(1), *args, **kwargs)
        except Exception:  # what it cannot be called with; it says so itself
            return original(*args, **kwargs)
        return original(*args, **kwargs)

    assert isinstance(warn, FunctionType)
    warn.__code__ = warn.__code__.replace(co_filename="".join((warn.__code__.co_filename, *_PASSED_OVER)))
    keep_uncompiled(warn.__code__)
    return warn


def _counted(
    frame: FrameType,
    message: Any,
    category: Any = None,
    stacklevel: int = 1,
    source: Any = None,
    *,
    skip_file_prefixes: tuple[str, ...] = (),
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments for a call from a frame of ours above `frame`, itself one from which Python passes over none."""
    level = operator.index(stacklevel)
    if skip_file_prefixes:
        level = max(2, level)
    passes_over = level > 0 and not _is_passed_over(frame.f_code)
    above, here = 2, frame
    while level > 1:
        if here.f_back is None or is_launcher(here.f_back.f_code):
            above = _BEYOND
            break
        here, above = here.f_back, above + 1
        code = here.f_code
        is_counted = not (passes_over and (_is_passed_over(code) or code.co_filename.startswith(skip_file_prefixes)))
        level -= is_counted and not is_ours(code)
    return (message, category, above, source), {}


def _is_passed_over(code: CodeType) -> bool:
    return all(part in code.co_filename for part in _PASSED_OVER)
