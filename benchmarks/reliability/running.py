"""Start a recorded training, disturb it, and look at what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dump.format.errors import AccError
from dump.format.layout import find_dumps
from dump.format.reader import read_dump
from dump.format.tensors import read_tensor

ROOT = Path(__file__).resolve().parents[2]
TRAIN = Path(__file__).with_name("train.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Ran:
    """How a process ended, and what it printed."""

    status: int
    losses: tuple[str, ...]
    said: tuple[str, ...]
    """The lines on stderr that are ours."""


@dataclass(frozen=True, slots=True)
class Left:
    """What lies below a dump's path: how many steps are whole, how many are marked incomplete, the calls in all of
    them; `files` tensor files are named and were read; `wrong` says what could not be."""

    whole: int = 0
    cut: int = 0
    calls: int = 0
    files: int = 0
    wrong: tuple[str, ...] = field(default=())


def train(*mishap: str) -> list[str]:
    """The command of the training alone."""
    return [sys.executable, str(TRAIN), *mishap]


def recorded(folder: Path, *flags: str, mishap: Sequence[str] = ()) -> list[str]:
    """The command of the training under `acc dump`, every step as whole tensors, into `folder`."""
    options = ["--task", "tensor", "--step", "all", "-o", str(folder), *flags]
    return [sys.executable, "-m", "dump", *options, str(TRAIN), *mishap]


def run(command: Sequence[str], *, before: Callable[[], None] | None = None, stop: signal.Signals | None = None) -> Ran:
    """Run to the end; with `stop` that signal is sent in the midst of step 5.  `before` acts in the new process."""
    process = subprocess.Popen(
        list(command),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=before,
    )
    losses: list[str] = []
    assert process.stdout is not None
    if stop is not None:
        for line in process.stdout:
            losses.append(line.strip())
            if line.startswith("waiting"):
                process.send_signal(stop)
                break
    out, err = process.communicate(timeout=_SECONDS)
    losses += out.split("\n")
    return Ran(
        process.returncode,
        tuple(line for line in losses if line[:1].isdigit()),
        tuple(line for line in err.splitlines() if line.startswith("acc")),
    )


def left(root: Path) -> Left:
    """Open every dump below `root`, and every tensor file that one names."""
    whole = cut = calls = files = 0
    wrong: list[str] = []
    try:
        places = list(find_dumps(root))
    except AccError:
        return Left()
    for place in places:
        try:
            dump = read_dump(place.path)
        except AccError as error:
            wrong.append(str(error))
            continue
        whole, cut = whole + (dump.incomplete is None), cut + (dump.incomplete is not None)
        calls += len(dump.calls)
        names = {tensor.data_name for call in dump.calls for _, tensor in call.tensors() if tensor.data_name}
        for name in names:
            try:
                read_tensor(dump.path / "dump_tensor_data", name)
            except AccError as error:
                wrong.append(str(error))
        files += len(names)
    return Left(whole, cut, calls, files, tuple(wrong))
