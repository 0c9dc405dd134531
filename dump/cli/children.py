"""Processes that a recorded script starts: those of `multiprocessing` and of `os.fork` are recorded too, all others are
counted.

A forked child has our session as it was, and begins with it anew.  A spawned one, or one of a fork server, is a new
Python: what it unpickles first makes a session there, before it imports the script (`dump.cli.child_start`).  Loaders
of data are left alone.  A child is as in its set-up until it calls a model, so one that only prepares data leaves no
dump.  What each came to stands in a journal, which the parent reads at the end.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing.process
import multiprocessing.spawn
import multiprocessing.util
import os
import pickle
import runpy
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ..config import DumpConfig
from ..config_reload import ReloadableConfig
from ..environment.versions import as_children_say, is_child
from ..format.errors import AccError
from ..intercept.patching import Patches
from ..session import Session
from ..write.limits import amounts_text
from . import launch
from .said import say, step_teller
from .starting import Start, begun

_ROOT = str(Path(__file__).resolve().parents[2])
_START = str(Path(__file__).with_name("child_start.py"))
_COMPILER = os.path.join("torch", "_inductor", "")
_NOT_THE_SCRIPTS = ("inductor", "resource_tracker", "forkserver")


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """What a new Python needs to record: as its parent does, but for a seed, which belongs to the script's start.
    `said` is what its headers say of how the run was started."""

    config: DumpConfig
    reloadable: ReloadableConfig | None
    exit_after: bool
    start: Start
    journal: str
    folder: str
    said: dict[str, object]


def new_session(config: DumpConfig, reloadable: ReloadableConfig | None, *, exit_after: bool) -> Session:
    """One for an unmodified script, whose steps it finds by itself and tells of."""
    session = Session(
        config,
        finds_steps=True,
        exit_after=exit_after,
        on_step=step_teller(lambda: session.config),
        reloadable=reloadable,
        say=say,
    )
    return session


@dataclass(slots=True)
class Account:
    """What became of a script's children: `written` of those that were recorded, how many were not, and why."""

    processes: int = 0
    calls: int = 0
    tensors: int = 0
    nbytes: int = 0
    unfinished: int = 0
    unreached: int = 0
    others: int = 0
    failure: str = ""

    def sentences(self) -> Iterator[str]:
        """What a user must know of them."""
        if self.processes:
            amounts = amounts_text(self.calls, self.tensors, self.nbytes)
            yield f"{amounts} more in {_plural(self.processes, 'child process', 'child processes')}"
        for number, what in (
            (self.unfinished, "ended before the dump was complete"),
            (self.unreached, "not recorded: started in a way that cannot be followed"),
            (self.others, "not recorded: Python started by the script itself (give acc dump, or torchrun, its script)"),
        ):
            if number:
                yield f"{_plural(number, 'child process', 'child processes')} {what}"


class Children:
    """Follows the processes that start within `followed`; `account` is what became of them."""

    def __init__(self, session: Session, settings: ChildSettings) -> None:
        self._session = session
        self._settings = settings
        self._handed = pickle.dumps(settings)  # now: our package may be hidden from pickle later on
        self._process = os.getpid()
        self._starting: Any = None
        self._executing = False
        self._started = self._others = 0
        self._is_recorded = False  # this process, as a child
        self.is_forked = False  # it came from `os.fork`, and comes to the script's end as its parent does

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        _followers.append(self)
        multiprocessing.util.register_after_fork(self, Children._after_fork)
        with Patches() as patches:
            self._follow(patches)
            try:
                yield
            finally:
                _followers.remove(self)

    def account(self) -> Account:
        """Of the children that have ended.  Removes the journal."""
        found = _read(Path(self._settings.journal))
        found.unreached = max(self._started - found.unreached, 0)
        found.others = self._others
        with contextlib.suppress(OSError):
            os.unlink(self._settings.journal)
        return found

    # ---- in the parent

    def _follow(self, patches: Patches) -> None:
        start = multiprocessing.process.BaseProcess.start
        prepare = multiprocessing.spawn.get_preparation_data
        popen: Any = subprocess.Popen.__init__

        def followed_start(process: Any) -> None:
            before, self._starting = self._starting, process
            self._started += not _loads_data(process)
            try:
                start(process)
            finally:
                self._starting = before

        def followed_prepare(name: str) -> Any:
            prepared = prepare(name)
            is_asked = self._starting is not None and not _loads_data(self._starting)
            return _Prepared(prepared, self._handed) if is_asked else prepared

        def followed_popen(process: Any, args: Any, *rest: Any, **kwargs: Any) -> None:
            before, self._executing = self._executing, True
            try:
                popen(process, args, *rest, **kwargs)
            finally:
                self._executing = before
            self._others += _is_python(args) and not _is_compiling(sys._getframe(1))

        exit_at_once = os._exit

        def followed_exit(status: int) -> NoReturn:
            self.close(is_well=status == 0)
            exit_at_once(status)

        patches.replace(os, "_exit", followed_exit)
        patches.replace(multiprocessing.process.BaseProcess, "start", followed_start)
        patches.replace(multiprocessing.spawn, "get_preparation_data", followed_prepare)
        patches.replace(subprocess.Popen, "__init__", followed_popen)

    # ---- in a child

    def forked(self) -> None:
        """`os.fork` has made this process: record it, unless `multiprocessing` is about to say so, or another program
        is about to take its place.  The journal knows of it from its first record on, since many execute a program."""
        if self._starting is not None or self._executing:
            return
        self._process = os.getpid()
        self._started = self._others = 0
        self.is_forked = self._is_recorded = True
        self._session.on_opened = self._note
        is_child(self._settings.said)
        try:
            self._session.begin_in_child()
        except AccError as error:
            self._session.failure = error

    def _after_fork(self) -> None:
        """`multiprocessing` calls this in each child that was forked, before what it is to run."""
        if self not in _followers or _loads_data(multiprocessing.process.current_process()):
            return
        if os.getpid() != self._process:
            self._process = os.getpid()
            self._started = self._others = 0
            self.record()
        else:  # a fork server's, which has just forgotten what was to be done at the end
            self._close_at_end()

    def record(self) -> None:
        """Record this process, a child."""
        self._is_recorded = True
        self._note()
        self._close_at_end()
        is_child(self._settings.said)
        try:
            self._session.begin_in_child()
        except AccError as error:
            self._session.failure = error

    def _close_at_end(self) -> None:
        multiprocessing.util.Finalize(None, self._ended, exitpriority=100)

    def _ended(self) -> None:
        stop = sys.exc_info()[1]
        self.close(is_well=stop is None or (isinstance(stop, SystemExit) and stop.code in (None, 0)))

    def close(self, *, is_well: bool) -> None:
        if not self._is_recorded:
            return
        self._is_recorded = False
        session = self._session
        session.close(complete=is_well)
        for written in session.written:
            self._note(calls=written.calls, tensors=written.tensors, nbytes=written.nbytes)
        self._note(ended=True, failure=str(session.failure) if session.failure is not None else "")

    def _note(self, **fields: object) -> None:
        with contextlib.suppress(OSError), open(self._settings.journal, "a", encoding="utf-8") as journal:
            journal.write(json.dumps({"pid": os.getpid(), **fields}) + "\n")


_followers: list[Children] = []


def _in_forked_child() -> None:
    for children in list(_followers):
        children.forked()


os.register_at_fork(after_in_child=_in_forked_child)  # after that of `installed`, which forgets the parent's session


def new_settings(
    config: DumpConfig, reloadable: ReloadableConfig | None, *, exit_after: bool, start: Start
) -> ChildSettings:
    """Settings for the children of this process, with a journal of their own, which the first child makes: a recording
    that has none leaves no file behind, however it ends."""
    journal = os.path.join(tempfile.gettempdir(), f"acc_dump_{secrets.token_hex(16)}.jsonl")
    own = replace(start, seed=None)
    return ChildSettings(config, reloadable, exit_after, own, journal, folder=os.getcwd(), said=as_children_say())


class _Prepared(dict[str, Any]):
    """What `multiprocessing` sends to a new Python first; there it is the same, and a session is made on the way."""

    def __init__(self, prepared: dict[str, Any], settings: bytes) -> None:
        super().__init__(prepared)
        self._settings = settings

    def __reduce__(self) -> Any:
        handed = {"acc_root": _ROOT, "acc_settings": self._settings, "acc_prepared": dict(self)}
        return dict.get, (_RunPath(handed), "acc_prepared")


class _RunPath:
    """Unpickles to the names that `child_start` leaves, without our package being importable by name there."""

    def __init__(self, handed: dict[str, Any]) -> None:
        self._handed = handed

    def __reduce__(self) -> Any:
        return runpy.run_path, (_START, self._handed)


def begin_in_new_python(pickled: bytes) -> None:
    """Record this process, which `multiprocessing` has just started.  Called by `child_start`."""
    settings: ChildSettings = pickle.loads(pickled)
    started = contextlib.ExitStack()  # never left: this Python ends with its process
    started.enter_context(begun(settings.start, say))
    session = new_session(settings.config, settings.reloadable, exit_after=settings.exit_after)
    children = Children(session, settings)
    started.enter_context(children.followed())
    children.record()
    started.enter_context(launch.yielding_the_name(settings.folder))
    _kept.append(started)


_kept: list[contextlib.ExitStack] = []


def _loads_data(process: Any) -> bool:
    """Is it a worker of a DataLoader?"""
    target: Any = vars(process).get("_target")
    return str(getattr(target, "__module__", "")).startswith("torch.utils.data.")


def _is_compiling(frame: FrameType | None) -> bool:
    """Does torch's compiler start a process, to try what it has made?"""
    while frame is not None:
        if _COMPILER in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _is_python(args: Any) -> bool:
    words = [args] if isinstance(args, (str, bytes, os.PathLike)) else list(args)
    text = [os.fsdecode(word) if isinstance(word, (bytes, os.PathLike)) else str(word) for word in words]
    is_ours = any(part in word for word in text for part in _NOT_THE_SCRIPTS)
    return bool(text) and os.path.basename(text[0].split(" ")[0]).startswith("python") and not is_ours


def _read(journal: Path) -> Account:
    """The account so far; `unreached` are those that were reached."""
    found = Account()
    recorded: set[int] = set()
    begun_at: set[int] = set()
    ended: set[int] = set()
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.exists() else ():
        entry: dict[str, Any] = json.loads(line)
        begun_at.add(entry["pid"])
        if "calls" in entry:
            recorded.add(entry["pid"])
            found.calls += entry["calls"]
            found.tensors += entry["tensors"]
            found.nbytes += entry["nbytes"]
        if "ended" in entry:
            ended.add(entry["pid"])
            found.failure = found.failure or entry["failure"]
    found.processes = len(recorded)
    found.unfinished = len(begun_at - ended)
    found.unreached = len(begun_at)
    return found


def _plural(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
