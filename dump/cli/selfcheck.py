"""`acc dump --self-check`: does recording change the run?  Two fresh processes, one seed, the bits compared.

The script runs once alone and once recorded, each time under a probe (`cli.probe`) that writes digests of what
it computes to a log.  Where the logs differ, the script runs alone once more: a run that does not repeat itself
says nothing about the recording.  This side of it needs no torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..format.errors import OutputError, SelfCheckFailed

if TYPE_CHECKING:
    from ..config import DumpConfig
    from .probe import Probe

ALONE, RECORDED = "alone", "recorded"
_LAST_WORDS = 8
_HIGHEST_PORT = 65_535
_ROOT = str(Path(__file__).resolve().parent.parent.parent)
_START = (
    "import sys; sys.path[:] = [place for place in sys.path if place]; sys.path.append(sys.argv.pop(1));"
    " from dump.cli import main, selfcheck; sys.exit(selfcheck.side(main, *sys.argv[1:4], sys.argv[4:]))"
)


@dataclass(frozen=True, slots=True)
class Role:
    """Which of the runs this process is: where its log and its dump go."""

    side: str
    log: Path
    dump: Path


role: Role | None = None
"""Set in a process that was started by `check`."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run: its exit status, its log's lines by kind, what kept it from being recorded, and the
    last that it printed."""

    status: int
    seen: tuple[tuple[str, str], ...]
    unchecked: Counter[str]
    calls: int
    failure: str
    words: str


def check(arguments: Sequence[str], config: DumpConfig) -> int:
    """Run what `arguments` (those of `acc dump`) ask for, alone and recorded; 0 where all bits agree, else 1.

    Prints the verdict on stderr.  Raises SelfCheckFailed where there is none.
    """
    shape = f"level {config.level}, {config.task if config.task == 'tensor' else config.summary_mode}"
    rank = os.environ.get("RANK")
    several = int(os.environ.get("WORLD_SIZE", "1") or "1") > 1
    label = f"rank {rank}: " if several else ""
    with _own_folder(Path(config.dump_path).absolute().parent) as folder:
        _say(f"{label}running the script alone")
        alone = _run(ALONE, Path(folder), 0, arguments)
        _say(f"{label}running it recorded ({shape})")
        recorded = _run(RECORDED, Path(folder), 1, arguments)
        differ = first_difference(alone, recorded)
        # All ranks must make the same runs, whatever each of them finds.
        again = _run(ALONE, Path(folder), 2, arguments) if differ or several else alone
    _refuse(alone, recorded, again, differ)
    left_out = "".join(f"; not checked: {what} ({number:,})" for what, number in alone.unchecked.items())
    if differ:
        _say(f"{label}the bits DIFFER with and without recording ({shape}): {differ}{left_out}")
        return 1
    _say(f"{label}the bits agree with and without recording ({shape}): {_amounts(alone)}{left_out}")
    return 0


def first_difference(one: Run, other: Run) -> str:
    """Where two runs part, in words; "" where they do not."""
    for number, (ours, theirs) in enumerate(zip_longest(one.seen, other.seen)):
        if ours is None or theirs is None:
            return f"the {'recorded' if ours is None else 'unrecorded'} run goes on after {number:,} equal checks"
        if ours != theirs:
            if ours[0] == theirs[0]:
                return f"first in {ours[0]}"
            return f"first where one run has {ours[0]} and the other {theirs[0]}"
    if one.status != other.status:
        return f"exit status {one.status} alone, {other.status} recorded"
    return ""


def _refuse(alone: Run, recorded: Run, again: Run, differ: str) -> None:
    refused = alone.words.partition("acc: error: ")[2]
    if not alone.seen and refused:
        raise SelfCheckFailed(f"self-check: {refused}")
    if not alone.seen:
        raise SelfCheckFailed(
            "self-check: nothing to compare: the script ran no backward, no optimizer step and no module"
            f" (exit status {alone.status}).{alone.words}"
        )
    if recorded.failure:
        raise SelfCheckFailed(f"self-check: the run could not be recorded: {recorded.failure}")
    varies = first_difference(alone, again)
    if varies:
        raise SelfCheckFailed(
            "self-check: the script does not repeat itself: two runs without recording part too,"
            f" {varies}. Try --deterministic, and seeds inside the script."
        )
    if not recorded.calls and not differ:
        raise SelfCheckFailed(
            f"self-check: nothing was recorded, so nothing was checked (exit status {recorded.status})."
            f" Give a --step that the script reaches.{recorded.words}"
        )


def _amounts(run: Run) -> str:
    """`2 steps: 2 losses, 24 gradients, ...`, of what was compared."""
    counts: Counter[str] = Counter(label.split(": ", 1)[1].split(" of ")[0] for label, _ in run.seen)
    steps = len({label.split(": ", 1)[0] for label, _ in run.seen if ": optimizer state" in label or ": loss" in label})
    amounts = ", ".join(f"{number:,} {_plural(what, number)}" for what, number in counts.items())
    ended = f"; both runs ended with status {run.status}" if run.status else ""
    return f"{amounts} in {steps} {_plural('step', steps)}{ended}" if steps else f"{amounts}{ended}"


def _plural(word: str, number: int) -> str:
    if number == 1:
        return word
    return f"{word}es" if word.endswith("s") else f"{word}s"


# ---- one run


def _run(side: str, folder: Path, number: int, arguments: Sequence[str]) -> Run:
    log, words = folder / f"{number}.log", folder / f"{number}.txt"
    log.touch()
    environment = {**os.environ, "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"), **_meeting_place(number)}
    command = [sys.executable, "-c", _START, _ROOT, side, str(log), str(folder / f"dump{number}"), *arguments]
    with words.open("wb") as said:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, env=environment, check=False
        )
    return read_run(log, done.returncode, words.read_text(encoding="utf-8", errors="replace"))


def _meeting_place(number: int) -> dict[str, str]:
    """Where the ranks of this run find each other: a port for each run, so that none meets what another left."""
    port = os.environ.get("MASTER_PORT", "")
    if not port.isdecimal():
        return {}
    other = int(port) + 1 + number
    return {
        "MASTER_PORT": str(other if other <= _HIGHEST_PORT else int(port) - 1 - number),
        "TORCHELASTIC_USE_AGENT_STORE": "False",  # that store is torchrun's, and serves one run
    }


def read_run(log: Path, status: int, printed: str) -> Run:
    """A run from its log.  A last line that was cut is left out."""
    seen: list[tuple[str, str]] = []
    unchecked: Counter[str] = Counter()
    calls, failure = 0, ""
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if "digest" in entry:
            seen.append((f"step {entry['step']}: {entry['what']} of {entry['name']}", entry["digest"]))
        elif "unchecked" in entry:
            unchecked[entry["unchecked"]] += 1
        else:
            calls += entry.get("recorded", 0)
            failure = entry.get("failure", failure)
    tail = printed.strip().splitlines()[-_LAST_WORDS:]
    words = f" It last printed: {' | '.join(line.strip() for line in tail)}" if tail and status else ""
    return Run(status, tuple(seen), unchecked, calls, failure, words)


def side(command: Callable[[Sequence[str]], int], name: str, log: str, dump: str, arguments: Sequence[str]) -> int:
    """The entry of a process that `check` starts; `command` is `acc dump`."""
    global role
    role = Role(name, Path(log), Path(dump))
    return command(arguments)


def perform(execute: Callable[[], None], config: DumpConfig, *, mine: Role) -> int:
    """Run `execute` under a probe, recorded or not as `mine` says; its exit status."""
    from ..session import Session
    from . import launch
    from .probe import Probe

    last = max(config.step) if config.step else None
    if mine.side == ALONE:
        probe = Probe(mine.log, last_step=last, aside=lambda act: act())
        return launch.bare(lambda: _watched(probe, execute))
    session = Session(
        replace(config, dump_path=mine.dump),
        finds_steps=True,
        on_step=lambda _, written: probe.note(recorded=written.calls),
    )
    probe = Probe(mine.log, last_step=last, aside=session.aside)
    try:
        return launch.recorded(lambda: _watched(probe, execute), session)
    finally:
        if session.failure is not None:
            probe.note(failure=str(session.failure))


def _watched(probe: Probe, execute: Callable[[], None]) -> None:
    with probe.watching():
        execute()


def _own_folder(place: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix=".acc_self_check_", dir=place, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"{place}: cannot be written ({error.strerror}). Give another dump_path.") from error


def _say(text: str) -> None:
    print(f"acc dump: self-check: {text}", file=sys.stderr, flush=True)
