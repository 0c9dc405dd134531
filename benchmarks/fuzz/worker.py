"""Some cases one after the other, in a process that watches itself: one JSON line a case on stdout."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.fuzz.bounds import MEMORY, SECONDS
from benchmarks.fuzz.mutations import KINDS, prepare

_FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "ctypes.dlopen",
)
_LONGEST_ERROR = 2000


class _Watching:
    """The files opened and the acts forbidden while a case runs, by Python's audit events."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] = ()
        self.output = ""
        self.broken: list[str] = []

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.allowed:
            return
        if event.startswith(_FORBIDDEN):
            self.broken.append(f"{event} {args[:1]!r:.100}")
        elif event == "open" and isinstance(args[0], (str, bytes)):
            path = os.path.realpath(os.fsdecode(args[0]))
            writes = bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if isinstance(args[2], int) else False
            if writes and not path.startswith(self.output):
                self.broken.append(f"wrote {path:.100}")
            if not path.startswith(self.allowed):
                self.broken.append(f"read {path:.100}")


class _TooLongError(BaseException):
    """Out of reach of any handler for Exception."""


def _stop(*_: object) -> None:
    raise _TooLongError


def main() -> None:
    work, start, count = Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3])
    from acc_compare.cli import main as acc

    _warm_up(acc, work)
    watching = _Watching()
    sys.addaudithook(watching)
    signal.signal(signal.SIGALRM, _stop)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    printed = sys.stdout
    tempfile.tempdir = str(work / "case")
    for seed in range(start, start + count):
        kind = KINDS[seed % len(KINDS)]
        case = work / "case"
        npu, bench, mapping = prepare(kind, seed, case)
        arguments = ["compare", str(npu), str(bench), "-o", str(case / "out")]
        arguments += ["--mapping", str(mapping)] if mapping is not None else []
        arguments += ["--fuzzy"] if seed % 5 == 0 else []
        arguments += ["--format", "csv"] if seed % 4 else []
        ending, failure = _tried(acc, arguments, watching, case)
        shutil.rmtree(case)
        print(json.dumps({"kind": kind, "seed": seed, "ending": ending, "failure": failure}), file=printed, flush=True)


def _warm_up(acc: Any, work: Path) -> None:
    """Once with whole dumps, so that every module is there before files are watched."""
    for kind in KINDS[-2:]:
        npu, bench, _ = prepare(kind, -1, work / "warm")
        with _quiet():
            acc(["compare", str(npu), str(bench), "-o", str(work / "warm" / "out")])
        shutil.rmtree(work / "warm")


def _tried(acc: Any, arguments: list[str], watching: _Watching, case: Path) -> tuple[str, str]:
    """(how it ended, why it did not hold)."""
    libraries = (
        *{os.path.realpath(path) for path in (*sys.path, sys.prefix, sys.base_prefix) if path},
        "/usr/share",
        "/proc/self",
        "/dev/null",
    )
    watching.broken, watching.output = [], str(case)
    watching.allowed = (str(case), *libraries)
    signal.alarm(SECONDS)
    try:
        with _quiet() as (out, err):
            code = acc(arguments)
    except _TooLongError:
        return "", f"no end within {SECONDS} s"
    except BaseException:
        lines = traceback.format_exc().splitlines()
        return "", f"{lines[-1]:.300} at {lines[-3].strip() if len(lines) > 2 else ''}"
    finally:
        signal.alarm(0)
        watching.allowed = ()
    if watching.broken:
        return "", "; ".join(watching.broken[:3])
    if code in (0, 1) or (code == 2 and not err.getvalue()):  # INCOMPLETE is a verdict too
        return "verdict", "" if out.getvalue() and not err.getvalue() else f"stderr: {err.getvalue():.300}"
    message = err.getvalue()
    is_clear = (
        code == 2 and message.startswith("acc: error: ") and message.count("\n") == 1 and len(message) < _LONGEST_ERROR
    )
    return "error", "" if is_clear else f"exit code {code}, {message.count(chr(10))} lines: {message:.300}"


@contextlib.contextmanager
def _quiet() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


if __name__ == "__main__":
    main()
