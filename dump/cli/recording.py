"""What `acc dump` does once its options are read: run a script, record it, and tell what came of it."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import coverage
from ..config import DumpConfig, merge
from ..config_reload import ReloadableConfig
from ..format.errors import ConfigError, OutputError
from ..format.paths import as_meant_in, from_home
from ..write.limits import amounts_text
from . import checks
from .interrupted import INTERRUPTED
from .said import say, to_this_stderr
from .starting import Start, begun, missed_faults
from .unrecorded import run_alone

if TYPE_CHECKING:
    from ..session import Session

_SECRET = re.compile("token$|secret|passw|credential|api[-_]?key", re.IGNORECASE)
_HIDDEN = "HIDDEN"
_TELLS = frozenset(("-h", "--help", "--version"))
_NEAR = 0.75
_NOTHING_RECORDED = 2  # the exit status of a script that ended well and left no dump, where one was asked for


@dataclass(frozen=True, slots=True)
class Recording:
    """What to record; `reloadable` where a file may change it while the script runs, `opening` what is said once
    nothing stands in the way."""

    config: DumpConfig
    reloadable: ReloadableConfig | None
    exit_after: bool
    opening: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """What to run: a script's path and its arguments, or those of `module`; neither is the built-in workload.  `flags`
    are those of the command, near which a mistyped one may lie."""

    arguments: tuple[str, ...]
    module: str | None
    flags: frozenset[str] = frozenset()

    def asks_for_its_help(self) -> bool:
        """Is it run for what it says of itself?"""
        own = self.arguments if self.module is not None else self.arguments[1:]
        return not _TELLS.isdisjoint(own)

    def command(self) -> list[str]:
        """What follows `acc dump` and its options; without what looks like a secret."""
        words = [*(["-m", self.module] if self.module is not None else []), *self.arguments]
        if self.module is None and words and not words[0].startswith("-"):
            words[0] = str(from_home(words[0]).absolute())
        shown: list[str] = []
        for word in words:
            name, equals, _ = word.partition("=")
            if shown and shown[-1].startswith("-") and "=" not in shown[-1] and _SECRET.search(shown[-1]):
                shown.append(_HIDDEN)
            elif equals and _SECRET.search(name):
                shown.append(f"{name}={_HIDDEN}")
            else:
                shown.append(word)
        return shown


def recording_to(folder: Path, **flags: object) -> Recording:
    """With stacks, and what `flags` say (`config.merge`).  Raises ConfigError."""
    return Recording(merge(DumpConfig(dump_path=folder, extra_info=True), **flags), None, exit_after=False)


@to_this_stderr()
def check_itself(config: DumpConfig, start: Start, script: Script, *, given: list[str]) -> int:
    """Does recording change the run?  The same command again, in processes of their own; or one of those."""
    from . import launch, selfcheck

    if selfcheck.role is None:
        try:
            return selfcheck.check(given, config)
        except KeyboardInterrupt:
            return INTERRUPTED
    mine = selfcheck.role
    with begun(start, say):
        execute = _executable(start, script)
        return launch.outcome(lambda: selfcheck.perform(execute, config, mine=mine))


@to_this_stderr()
def record(recording: Recording, start: Start, script: Script) -> int:
    """Record, and tell what came of it: the script's exit status.  Raises where the dump cannot be written."""
    try:
        from . import launch
        from .children import Children, new_session, new_settings
    except Exception as error:  # a torch in which something is not where it was
        return run_alone(error, list(script.arguments), script.module)

    with begun(start, say), _told(script):
        began = time.perf_counter()
        session = new_session(recording.config, recording.reloadable, exit_after=recording.exit_after)
        execute = _executable(start, script, opening=recording.opening)
        children = Children(
            session,
            new_settings(recording.config, recording.reloadable, exit_after=recording.exit_after, start=start),
        )
        with children.followed():
            status = launch.outcome(lambda: launch.recorded(execute, session))
        missed = list(missed_faults(start))
    if children.is_forked:
        children.close(is_well=status == 0)
        return status
    account = children.account()
    if session.failure is not None:
        raise session.failure
    if session.written:
        _tell_all(session, time.perf_counter() - began)
    elif account.processes:
        say(f"dump: {recording.config.root}")
    for sentence in (*account.sentences(), *(() if account.processes else missed)):
        say(sentence)
    if account.failure:
        raise OutputError(f"a child process: {account.failure}")
    if not (session.written or account.processes):
        nothing = session.why_nothing()
        say(f"nothing was recorded: {nothing.reason}")
        if session.left_out:
            say(coverage.not_recorded(session.left_out))
        if not (nothing.is_wanted or session.broken or script.asks_for_its_help()):
            status = status or _NOTHING_RECORDED
    return status


@to_this_stderr()
def record_checked(
    recording: Recording,
    start: Start,
    script: Script,
    options: checks.CheckOptions,
    makers: Any,
) -> int:
    """Run a script and look at its calls on the way: the check's exit code.  Processes that it starts are left alone.

    Raises ConfigError where nobody can check, and what the check raises.
    """
    from ..session import Session
    from . import launch

    check = checks.made(options, makers)
    assert check is not None
    config = merge(recording.config, task="tensor", level="L1") if check.samples else recording.config
    with begun(start, say), _told(script):
        session = Session(config, finds_steps=True, exit_after=recording.exit_after, say=say, observer=check.observer)
        execute, process = _executable(start, script), os.getpid()
        status = launch.outcome(lambda: launch.recorded(execute, session))
        if os.getpid() != process:  # a child that the script has forked
            return status
        if session.failure is not None:
            raise session.failure
        for sentence in [coverage.not_recorded(session.left_out)] if session.left_out else []:
            say(sentence)
        return check.outcome(as_meant_in(config.place, Path(config.dump_path)), status)


@to_this_stderr()
def drive(
    flags: Mapping[str, object],
    config: Path | None,
    start: Start,
    script: Script,
    *,
    exit_after: bool,
) -> int:
    """Run a script that records by msprobe's names, and tell what came of it: the script's exit status."""
    from . import launch
    from .driven import DrivenRecording, answering

    target = launch.split_target(script.arguments, script.module)
    if target is None:
        raise ConfigError("--as-msprobe: expected a script that calls msprobe, found none.")
    recording = DrivenRecording()
    with begun(start, say), _told(script), answering(flags, config, exit_after=exit_after):
        began = time.perf_counter()
        execute = launch.prepared(target)
        status = launch.outcome(lambda: launch.recorded(execute, recording))
    session = recording.session
    if session is None:
        say("nothing was recorded in this process: no PrecisionDebugger of msprobe's was made")
    elif session.failure is not None:
        raise session.failure
    elif session.written:
        _tell_all(session, time.perf_counter() - began)
    return status


def _told(script: Script) -> contextlib.AbstractContextManager[None]:
    """Headers say within what is run."""
    from ..environment.versions import running

    return running(command=script.command())


def _executable(start: Start, script: Script, *, opening: str = "") -> Callable[[], None]:
    """What runs the script, or the built-in workload; it says `opening` when nothing stands in the way any more."""
    from .. import workload
    from . import launch

    def tell() -> None:
        if opening:
            say(opening)

    target = launch.split_target(script.arguments, script.module)
    if target is not None:
        return launch.prepared(target, tell)
    chosen = _workload_options(script, start)

    def train() -> None:
        tell()
        workload.train(chosen)

    return train


def _workload_options(script: Script, start: Start) -> Any:
    from .. import workload

    seed = [] if start.seed is None else ["--seed", str(start.seed)]
    device = [] if start.device is None else ["--device", start.placed_on()]
    try:
        return workload.parse([*seed, *device, *script.arguments])
    except ConfigError as error:
        close = next(filter(None, (_near(word, script.flags) for word in script.arguments)), [])
        raise ConfigError(f"{error} Did you mean {' or '.join(close)}?" if close else str(error)) from error


def _near(word: str, flags: Iterable[str]) -> list[str]:
    """The flags that `word` is nearest to, all that are as near."""
    shares = {flag: SequenceMatcher(None, word, flag).ratio() for flag in flags}
    best = max(shares.values(), default=0.0)
    return sorted(flag for flag, share in shares.items() if share == best >= _NEAR)


def _tell_all(session: Session, seconds: float) -> None:
    """Where the dump is and how much it holds."""
    calls = sum(part.calls for part in session.written)
    tensors = sum(part.tensors for part in session.written)
    nbytes = sum(part.nbytes for part in session.written)
    say(f"dump: {session.written[0].folder.parent.parent.absolute()}")
    missed = coverage.sentence(session.coverage)
    amounts = f"{amounts_text(calls, tensors, nbytes)} in {seconds:.1f} s"
    say(f"{amounts}; {missed}" if missed else amounts)
    for sentence in (session.sampling.sentence(session.config), session.ended_by_limit()):
        if sentence:
            say(sentence)
