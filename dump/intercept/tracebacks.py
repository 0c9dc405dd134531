"""Tracebacks without what a recording puts into them: our frames, and what torch runs around a mode of ours and the
operator that it hands on."""

from __future__ import annotations

import os
from types import TracebackType

import torch

from .. import torch_internals
from ..record.stack import is_ours

_AROUND = (torch_internals.compile_file, os.path.join(torch.__path__[0], torch_internals.dynamo_folder, ""))
_OPERATOR = getattr(torch_internals.OpOverload.__call__, "__code__", None)
"""What a mode calls an operator by; while it is recorded, frames of ours are in its place too."""


def without_ours(trace: TracebackType | None) -> TracebackType | None:
    """`trace` with the frames of the run alone."""
    links: list[TracebackType] = []
    while trace is not None:
        links.append(trace)
        trace = trace.tb_next
    theirs: list[TracebackType] = []
    was_ours = False
    for link in links:
        code = link.tb_frame.f_code
        if is_ours(code):
            while theirs and not was_ours and code.co_name == "__torch_dispatch__" and _is_around(theirs[-1]):
                theirs.pop()
            was_ours = True
        elif not (was_ours and code is _OPERATOR):
            theirs.append(link)
            was_ours = False
    made: TracebackType | None = None
    for link in reversed(theirs):
        made = TracebackType(made, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return made


def holds_a_mode_of_ours(trace: TracebackType | None) -> bool:
    """Has an operator been handed on by a dispatch mode of ours?"""
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name == "__torch_dispatch__" and is_ours(code):
            return True
        trace = trace.tb_next
    return False


def _is_around(link: TracebackType) -> bool:
    return link.tb_frame.f_code.co_filename.startswith(_AROUND)
