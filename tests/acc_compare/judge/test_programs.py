"""Two dumps that share few calls and no file are told to be two programs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from acc_compare.judge.programs import two_programs
from acc_compare.model import ComparedShare
from acc_compare.report.i18n import text
from dump.format.schema import Dump


def dump(make: Any, command: Any, *frames: str) -> Dump:
    made: Dump = make.Run(environment={"command": command} if command else {}).dump()
    return replace(made, stacks={"Torch.f.0.forward": frames})


SHARE = ComparedShare(6, 16, 10, 9, missing=10)
HALF = replace(SHARE, missing=6)
OWN, OTHER = "File /a/own.py, line 1, in f, \n x", "File /a/other.py, line 1, in f, \n x"
LIBRARY = "File /env/lib/python3.11/site-packages/torch/nn/modules/linear.py, line 1, in forward, \n x"


@pytest.mark.parametrize(
    ("coverage", "npu", "bench", "is_told"),
    [
        (SHARE, (["/a/own.py"],), (["/b/other.py"],), True),
        (HALF, (["/a/own.py"],), (["/b/other.py"],), False),
        (SHARE, (["/a/own.py"],), (["/b/own.py"],), False),
        (SHARE, (None, OWN, LIBRARY), (None, OTHER, LIBRARY), True),
        (SHARE, (["/a/train.py"], OWN), (["/a/start.py"], OWN), False),
        (SHARE, (None, LIBRARY), (None, OTHER), False),
        (SHARE, (["-m", "pkg.train"],), (["/a/x.py"],), False),
        (SHARE, (5,), ([3],), False),
    ],
)
def test_few_calls_and_no_file_in_common(
    coverage: ComparedShare, npu: Any, bench: Any, is_told: bool, make: Any
) -> None:
    note = two_programs(dump(make, *npu), dump(make, *bench), coverage)
    assert (note is not None) == is_told
    if note is not None:
        assert "fewer than half of the calls have a counterpart, and the files are own.py" in text(note)
