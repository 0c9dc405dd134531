"""Stacks that torch writes down while a call is recorded: on the nodes of graphs, and in the words of anomaly mode.

Where the user's code stands is what they are for; frames of ours lie between the call and what it runs, and below the
script where the command runs it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, FunctionType
from typing import Any, TypeAlias

import torch.fx.traceback

from .. import torch_internals
from ..record.stack import is_file_of_ours, is_launcher, is_launchers_file, is_ours
from .in_place import redirect
from .patching import Patches

Function: TypeAlias = "Callable[..., Any]"
Line: TypeAlias = "dict[str, Any]"
"""A frame in words: its `filename`, `line` and `name`."""


def install(patches: Patches) -> None:
    """Leave our frames out of what torch writes down."""
    for function, make in ((torch.fx.traceback.format_stack, _formatted), (torch_internals.symbolized, _symbolized)):
        if isinstance(function, FunctionType):
            redirect(function, make, patches)


def _formatted(original: Function) -> Function:
    @functools.wraps(original)
    def format_stack() -> list[str]:
        lines: list[str] = original()
        frames = [*_frames()][::-1]
        if len(lines) != len(frames):  # those of a graph's node in their place
            return lines
        launched = [number for number, frame in enumerate(frames) if is_launcher(frame.f_code)]
        start = launched[-1] + 1 if launched else 0
        return [line for line, frame in zip(lines[start:], frames[start:], strict=True) if not is_ours(frame.f_code)]

    return format_stack


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _symbolized(original: Function) -> Function:
    @functools.wraps(original)
    def extract(tb: Sequence[Line], skip: int) -> Any:
        return original(_theirs(tb[skip:]), 0)

    return extract


def _theirs(lines: Sequence[Line]) -> list[Line]:
    """Lines, the innermost first, without those of ours; beside these lies one that repeats the caller's, and where a
    function in Python is recorded one that repeats its own."""
    theirs: list[Line] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if is_launchers_file(line["filename"]):
            break
        if not is_file_of_ours(line["filename"]):
            theirs.append(line)
            continue
        while number < len(lines) and is_file_of_ours(lines[number]["filename"]):
            number += 1
        following = lines[number : number + 2]
        if theirs and theirs[-1] in following:
            theirs.pop()
        if theirs and following and _function(theirs[-1]) == _function(following[0]):
            number += 1
    return theirs


def _function(line: Line) -> tuple[str, str]:
    return line["filename"], line["name"]
