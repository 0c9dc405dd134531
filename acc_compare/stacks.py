"""Recorded stacks: which of their lines are the user's own."""

from __future__ import annotations

import re
from collections.abc import Sequence

_FRAME = re.compile(
    r'File "?(?P<path>[^"\n]+?)"?, line (?P<line>\d+)(?:, in (?P<function>[^,\s]+))?,?\s*(?P<code>[^\n]*)'
)
_LIBRARY = re.compile(
    r"[\\/](site-packages|dist-packages|python3\.\d+|torchinductor_[^\\/]*)[\\/]|<frozen |"
    r"[\\/]torch(_npu)?[\\/](nn|autograd|optim|utils|cuda|npu|distributed|fx|jit|amp|functional|_\w+|__init__)\b"
)


def script_of(stack: Sequence[str]) -> str:
    """The file that a stack began in: the outermost frame that is the user's own; "" where there is none."""
    for entry in reversed(stack):
        match = None if _LIBRARY.search(entry) else _FRAME.search(entry)
        if match is not None:
            return match["path"].strip()
    return ""


def own_files(stack: Sequence[str]) -> set[str]:
    """The files of the frames that are the user's own."""
    matches = [_FRAME.search(entry) for entry in stack if not _LIBRARY.search(entry)]
    return {match["path"].strip() for match in matches if match is not None}


def own_line(stack: Sequence[str]) -> str:
    """The innermost line of a stack that is the user's own: not Python's, not torch's, not an installed
    package's; where there is none, the innermost.  `path:line in function: code`; "" without a stack."""
    if not stack:
        return ""
    frame = next((entry for entry in stack if not _LIBRARY.search(entry)), stack[0])
    match = _FRAME.search(frame)
    if match is None:
        return " ".join(frame.split())
    where = f"{match['path']}:{match['line']}"
    if match["function"]:
        where += f" in {match['function']}"
    code = match["code"].strip()
    return f"{where}: {code}" if code else where
