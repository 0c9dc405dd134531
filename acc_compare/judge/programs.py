"""Do two dumps come of one program?"""

from __future__ import annotations

from pathlib import PurePath

from acc_compare.judge.evidence import some
from acc_compare.messages import Message, say
from acc_compare.model import ComparedShare
from acc_compare.stacks import own_files
from dump.format.schema import Dump

_FEW = 0.5
"""The part of the calls that two sides of one program share at least."""


def two_programs(npu: Dump, bench: Dump, coverage: ComparedShare) -> Message | None:
    """That the sides share few calls and no file of the user's, so that what differs says little; None where they may
    well be one program."""
    if coverage.share >= _FEW:
        return None
    sides = _files(npu), _files(bench)
    if not all(sides) or sides[0] & sides[1]:
        return None
    ours, theirs = (some(sorted(side)) for side in sides)
    return say("note.two_programs", npu=ours, bench=theirs)  # no share, which each step has another of


def _files(dump: Dump) -> set[str]:
    """Names of the user's own files, of the script and of all that stands in stacks."""
    command = (dump.header.environment or {}).get("command")
    script = command[0] if isinstance(command, list) and command else None
    named = {script} if isinstance(script, str) and script.endswith(".py") else set()
    paths = named.union(*map(own_files, set(dump.stacks.values())))
    return {PurePath(path.replace("\\", "/")).name for path in paths if path.isprintable()}
