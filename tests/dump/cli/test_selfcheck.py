"""`acc dump --self-check`: verdicts from logs, and the whole command on scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dump.cli import selfcheck
from dump.cli.selfcheck import Run, first_difference, read_run
from dump.config import DumpConfig
from dump.format.errors import SelfCheckFailed

ROOT = Path(selfcheck.__file__).parents[2]


def _run(*seen: tuple[str, str], status: int = 0, calls: int = 1, failure: str = "", words: str = "") -> Run:
    return Run(status, seen, Counter(), calls, failure, words)


ONE, TWO = ("step 0: loss of backward.0", "a"), ("step 0: gradient of fc.weight", "b")
DIFFERENCES = [
    (_run(ONE, TWO), _run(ONE, TWO), ""),
    (_run(ONE, TWO), _run(ONE, (TWO[0], "c")), "first in step 0: gradient of fc.weight"),
    (_run(ONE, TWO), _run(ONE), "the unrecorded run goes on after 1 equal checks"),
    (_run(ONE), _run(ONE, TWO), "the recorded run goes on after 1 equal checks"),
    (_run(ONE), _run(TWO), f"first where one run has {ONE[0]} and the other {TWO[0]}"),
    (_run(ONE), _run(ONE, status=1), "exit status 0 alone, 1 recorded"),
]


@pytest.mark.parametrize(("alone", "recorded", "text"), DIFFERENCES)
def test_where_two_runs_part(alone: Run, recorded: Run, text: str) -> None:
    assert first_difference(alone, recorded) == text


def test_a_log_that_was_cut_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    entry = {"step": 1, "what": "loss", "name": "backward.0", "digest": "a"}
    lines = [entry, {"recorded": 7}, {"unchecked": "gradient (x)"}, {"failure": "disk full"}]
    log.write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 2, "wh')
    run = read_run(log, 3, "one\n\ntwo\n")
    assert run.seen == (("step 1: loss of backward.0", "a"),)
    assert (run.status, run.calls, run.failure, dict(run.unchecked)) == (3, 7, "disk full", {"gradient (x)": 1})
    assert run.words.endswith("two")


VERDICTS = [
    ([_run(ONE), _run(ONE)], 0, "the bits agree"),
    ([_run(ONE), _run((ONE[0], "b")), _run(ONE)], 1, "the bits DIFFER"),
    ([_run(ONE), _run((ONE[0], "b")), _run((ONE[0], "c"))], 2, "does not repeat itself"),
    ([_run(), _run()], 2, "nothing to compare"),
    ([_run(words=" It last printed: acc: error: x.py: no such script."), _run()], 2, "x.py: no such script"),
    ([_run(ONE), _run(ONE, calls=0)], 2, "nothing was recorded"),
    ([_run(ONE), _run(failure="disk full"), _run(ONE)], 2, "could not be recorded: disk full"),
    ([_run(ONE, status=3), _run(ONE, status=3)], 0, "both runs ended with status 3"),
]


@pytest.mark.parametrize(("runs", "status", "text"), VERDICTS, ids=[row[2] for row in VERDICTS])
def test_the_verdict_and_its_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    runs: list[Run],
    status: int,
    text: str,
) -> None:
    """The runs are given; what they decide is under test.  The third is asked for only where it is needed."""
    left = list(runs)
    monkeypatch.setattr(selfcheck, "_run", lambda *_: left.pop(0))
    config = DumpConfig(dump_path=tmp_path / "dump")
    if status == 2:
        with pytest.raises(SelfCheckFailed, match=text):
            selfcheck.check([], config)
    else:
        assert selfcheck.check([], config) == status
        assert text in capsys.readouterr().err.splitlines()[-1]
    assert not left
    assert list(tmp_path.iterdir()) == []


TRAIN = """
import sys, torch
model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(), torch.nn.Linear(4, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
for step in range(9):
    loss = model(torch.randn(8, 2)).sum()
    seen = "add" in vars(torch.Tensor)
    loss = loss * (2 if seen and "notices" in sys.argv else 1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ([], 0, "the bits agree with and without recording (level mix, tensor): 2 outputs, 2 losses, 12 gradients"),
        (["notices"], 1, "the bits DIFFER with and without recording (level mix, tensor): first in step 0: loss of"),
    ],
    ids=["agrees", "differs"],
)
def test_the_command(tmp_path: Path, arguments: list[str], status: int, text: str) -> None:
    """A script that knows of recording, and computes otherwise then, is found out."""
    (tmp_path / "train.py").write_text(TRAIN)
    options = ["--self-check", "--level", "mix", "--task", "tensor", "--step", "0-1"]
    done = subprocess.run(
        [sys.executable, "-m", "dump", *options, "train.py", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert text in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]
