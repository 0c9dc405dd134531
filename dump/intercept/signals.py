"""What a signal handler of the script's raises while we work: it is the script's, not ours."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from ..format.errors import AccError


@contextlib.contextmanager
def unless_ours(tell: Callable[[Exception], None]) -> Iterator[None]:
    """What a block raises is raised if it is meant for the user or the script's own; else `tell` hears of it."""
    try:
        yield
    except AccError:
        raise
    except Exception as error:
        if is_from_a_handler(error):
            raise
        tell(error)


def is_from_a_handler(error: BaseException) -> bool:
    """Was `error` raised by a signal handler, which Python runs between any two instructions of the main thread?"""
    if threading.get_ident() != threading.main_thread().ident:
        return False
    codes = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()}
    link = error.__traceback__
    while link is not None:
        if link.tb_frame.f_code in codes:
            return True
        link = link.tb_next
    return False


def _code_of(handler: Any) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    handler = getattr(handler, "__func__", handler)
    called = handler if hasattr(handler, "__code__") or not callable(handler) else type(handler).__call__
    found = getattr(called, "__code__", None)
    return found if isinstance(found, CodeType) else None
