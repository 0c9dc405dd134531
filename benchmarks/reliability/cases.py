"""What can happen to a recorded run: each case makes it happen and returns a line of the table."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.reliability.killed import kill
from benchmarks.reliability.running import ENVIRONMENT, Left, Ran, left, recorded, run, train
from dump.format.layout import find_dumps
from dump.format.reader import read_dump

MODES = {
    "statistics": {"task": "statistics"},
    "md5": {"statistics": {"summary_mode": "md5"}},
    "tensor": {"task": "tensor"},
}
DISK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what happened, how often, what was kept, what the user reads, whether the training went on.

    `failure` says what was not as promised; "" where all was.
    """

    what: str
    times: int
    kept: str
    reads: str
    goes_on: str
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a case may write, how many kills are wanted, and the losses of the training that nobody disturbs."""

    folder: Path
    kills: int
    losses: tuple[str, ...]


Case = Callable[[Setting], list[Row]]


def killed(setting: Setting) -> list[Row]:
    rows = []
    for name, settings in MODES.items():
        what, folder = f"SIGKILL at a random moment, {name}", setting.folder / name
        folder.mkdir()
        try:
            found = kill(folder, settings, kills=setting.kills)
        except AssertionError as error:
            rows.append(Row(what, setting.kills, "", "", "", failure=f"not held: {str(error)[:300]}"))
            continue
        empty = sum(length == 0 for length in found.lengths)
        cut = setting.kills - empty - found.closed
        kept = f"{found.closed} whole, {cut} opened and marked incomplete with every finished line, {empty} before the"
        kept += f" first line; {sum(found.lengths):,} calls of {found.whole} each"
        kept += f", {found.files:,} tensor files named, all whole" if name == "tensor" else ""
        rows.append(Row(what, setting.kills, kept, "nothing: the process is gone", "no, it was killed"))
    return rows


def terminated(setting: Setting) -> list[Row]:
    return [_signalled(setting, "SIGTERM in step 5", signal.SIGTERM, whole=5)]


def interrupted(setting: Setting) -> list[Row]:
    return [_signalled(setting, "Ctrl-C (SIGINT) in step 5", signal.SIGINT, whole=5)]


def raised(setting: Setting) -> list[Row]:
    folder = setting.folder / "raised"
    ran = run(recorded(folder, mishap=["raise"]))
    return [_row("an exception in the training script at step 4", ran, left(folder), setting, whole=4, goes_on=False)]


def forked(setting: Setting) -> list[Row]:
    folder = setting.folder / "forked"
    ran = run(recorded(folder, mishap=["fork"]))
    return [_row("os._exit in a child forked at step 4", ran, left(folder), setting, whole=10)]


def disk_full(setting: Setting) -> list[Row]:
    with _small_disk(setting.folder / "disk") as (folder, how, before):
        ran = run(recorded(folder / "dump"), before=before)
        return [_row(f"disk full ({how})", ran, left(folder / "dump"), setting, whole=1)]


def removed(setting: Setting) -> list[Row]:
    """What was written before step 4 goes with the folder; the error is told at the step's end."""
    rows = []
    for task in ("tensor", "statistics"):
        folder = setting.folder / task
        ran = run(recorded(folder, "--task", task, mishap=["remove", str(folder)]))
        row = _row(f"the dump's folder removed within step 4, {task}", ran, left(folder), setting, whole=0)
        told = any("error:" in line for line in ran.said)
        rows.append(row if told else replace(row, failure="not told"))
    return rows


def hook_failed(setting: Setting) -> list[Row]:
    folder = setting.folder / "hook"
    ran = run(recorded(folder, mishap=["hook"]))
    row = _row("an error inside a hook of the recorder, at step 4", ran, left(folder), setting, whole=10)
    told = [read_dump(place.path).header.coverage or {} for place in find_dumps(folder) if place.step == 4]
    named = bool(told) and "planted in the recorder" in str(told[0].get("failed"))
    return [row if named else replace(row, failure="the header does not name it")]


def one_path(setting: Setting) -> list[Row]:
    """Both start at once: without a rank each has a folder of its own, with one rank only the first records."""
    alone = _together("two processes given one path", setting, [{}, {}], folders=2)
    same = {"RANK": "0"}
    return [alone, _together("two processes given one path and one rank", setting, [same, same], folders=1)]


def rank_killed(setting: Setting) -> list[Row]:
    """Under torchrun, which then ends the other; and started one by one, where the other goes on."""
    folder = setting.folder / "torchrun"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ran = subprocess.run(
        [*launcher, *recorded(folder, mishap=["kill"])[1:]],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    told = [line.strip() for line in ran.stderr.splitlines() if "SIGKILL" in line or "exitcode" in line]
    found = left(folder)
    bad = "" if found.whole >= 10 and not found.wrong else "a step is lost"
    what = "one rank of two killed in step 5 (torchrun, gloo)"
    rows = [Row(what, 1, _kept(found), f"of torchrun: {told[-1]}" if told else "nothing", "torchrun ends all", bad)]
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    ranks = [{**meeting, "RANK": str(rank)} for rank in range(2)]
    what = "one rank of two killed in step 5 (gloo, started one by one)"
    return [*rows, _together(what, setting, ranks, folders=2, mishap="kill")]


def _together(
    what: str, setting: Setting, environments: list[dict[str, str]], *, folders: int, mishap: str = ""
) -> Row:
    """Two recordings at once, into one path.  Those that live must have all losses and, where each has a folder,
    all steps."""
    folder = setting.folder / what.replace(" ", "_")
    command = recorded(folder, mishap=[mishap] if mishap else [])
    pair = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**ENVIRONMENT, **own})
        for own in environments
    ]
    ends = [process.communicate(timeout=120) for process in pair]
    survivors = [index for index, process in enumerate(pair) if process.returncode >= 0]
    losses = [tuple(line for line in ends[index][0].splitlines() if line[:1].isdigit()) for index in survivors]
    found = left(folder)
    seen = {place.path.name for place in find_dumps(folder)}
    bad = list(found.wrong[:1])
    went_on = sum(each == setting.losses for each in losses)
    refused = sum(each == () for each in losses)
    if went_on + refused != len(survivors) or not went_on:
        bad.append("losses differ")
    if len(seen) != folders or found.whole < (10 if folders == 1 or mishap else 20):
        bad.append(f"{found.whole} whole steps in {len(seen)} folders")
    last = [_last([line for line in err.splitlines() if line.startswith("acc")]) for _, err in ends]
    errors = [line for line in last if "error:" in line]
    reads = ([*errors, last[0]][0]).replace(str(setting.folder), "")
    goes_on = f"{went_on} of {len(pair)}: all losses equal to the bit"
    goes_on += f"; {refused} was refused before its first line" if refused else ""
    kept = f"{_kept(found)}, in {len(seen)} folder{'s' if len(seen) > 1 else ''}"
    return Row(what, 1, kept, reads, goes_on, "; ".join(bad))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def max_bytes(setting: Setting) -> list[Row]:
    folder = setting.folder / "max_bytes"
    ran = run(recorded(folder, "--max-bytes", "8MB"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    row = _row(f"--max-bytes 8MB ({size:,} bytes written)", ran, left(folder), setting, whole=1)
    return [row if size <= 8_000_000 else replace(row, failure="more than the limit")]


def max_steps(setting: Setting) -> list[Row]:
    folder = setting.folder / "max_steps"
    ran = run(recorded(folder, "--max-steps", "3"))
    return [_row("--max-steps 3", ran, left(folder), setting, whole=3, most=3)]


CASES: dict[str, Case] = {
    "killed": killed,
    "terminated": terminated,
    "interrupted": interrupted,
    "raised": raised,
    "forked": forked,
    "disk_full": disk_full,
    "removed": removed,
    "hook_failed": hook_failed,
    "one_path": one_path,
    "rank_killed": rank_killed,
    "max_bytes": max_bytes,
    "max_steps": max_steps,
}


def undisturbed() -> tuple[str, ...]:
    """The losses of the training alone."""
    return run(train()).losses


def _signalled(setting: Setting, what: str, number: signal.Signals, *, whole: int) -> Row:
    folder = setting.folder / number.name
    ran = run(recorded(folder, mishap=["wait"]), stop=number)
    return _row(what, ran, left(folder), setting, whole=whole, goes_on=False)


def _row(
    what: str, ran: Ran, found: Left, setting: Setting, *, whole: int, goes_on: bool = True, most: int | None = None
) -> Row:
    """A line; a failure where fewer than `whole` steps are whole, a file is not, or the losses are others."""
    equal = ran.losses == setting.losses[: len(ran.losses)]
    ended = len(ran.losses) == len(setting.losses)
    bad = list(found.wrong[:1])
    if found.whole < whole or (most is not None and found.whole > most):
        bad.append(f"{found.whole} whole steps, {whole} expected")
    if not equal or ended != goes_on:
        bad.append(f"{len(ran.losses)} losses, equal: {equal}")
    went = f"yes, {len(ran.losses)} losses equal to the bit" if ended else f"no (status {ran.status})"
    return Row(what, 1, _kept(found), _last(ran.said).replace(str(setting.folder), ""), went, "; ".join(bad))


def _kept(found: Left) -> str:
    return (
        f"{found.whole} steps whole, {found.cut} marked incomplete; {found.calls:,} calls, {found.files:,} files whole"
    )


def _last(said: list[str] | tuple[str, ...]) -> str:
    """The line that tells of it: an error, where recording ended, else the last one."""
    telling = [line for line in said if "error:" in line or "recording ended" in line or "failed:" in line]
    return [*said[-1:], *telling][-1] if said else "nothing of ours"


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[tuple[Path, str, Callable[[], None] | None]]:
    """A folder with little room: a tmpfs where it can be mounted, else no file may grow beyond some bytes."""
    folder.mkdir()
    mounted = False
    if os.geteuid() == 0:
        options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
        mounted = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    try:
        if mounted:
            yield folder, f"a tmpfs of {DISK_BYTES >> 20} MiB", None
        else:
            most = 20_000
            yield (
                folder,
                f"RLIMIT_FSIZE of {most:,} bytes",
                lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
            )
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
