"""`acc dump`: flags and config.json to one config, one run, one exit code.

Importing this imports no torch, so that `--help` is quick.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core
import typer.main

from .. import coverage
from ..config import DumpConfig, Unknown, merge
from ..config_reload import ReloadableConfig
from ..environment.torch_loading import load_torch
from ..format.errors import AccError, ConfigError, OutputError
from ..write.limits import size_text
from .amounts import Budget, Every, MaxBytes, MaxSteps
from .said import say
from .starting import AsMsprobe, Deterministic, Device, Module, Seed, SimulatedNpu, Start, answers_as_msprobe, begun
from .unrecorded import run_alone

if TYPE_CHECKING:
    from ..session import Session

_CHECKED_SEED = 1234
_NOTHING_RECORDED = 2  # the exit status of a script that ended well and left no dump, where one was asked for
_GIVEN = f"{__name__}.given"  # the key of the arguments as they were given

# What typer raises at wrong usage; it has its own copy of click since 0.21.
_UsageError: Any = typer.BadParameter.__base__


class Task(str, Enum):
    statistics = "statistics"
    tensor = "tensor"
    structure = "structure"


class SummaryMode(str, Enum):
    statistics = "statistics"
    md5 = "md5"
    hash = "hash"
    xor = "xor"


class Level(str, Enum):
    L0 = "L0"
    L1 = "L1"
    mix = "mix"


class DataMode(str, Enum):
    all = "all"
    forward = "forward"
    backward = "backward"
    input = "input"
    output = "output"


CONTEXT = {
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": ["-h", "--help"],
}

HELP = """Run a training or inference script, unmodified, and record what every operator saw and produced.

Without SCRIPT the built-in workload is recorded: one training step of a ResNet on synthetic data. Its flags
are those of the usual ImageNet example (-a resnet50 -b 32 --gpu 1 --dummy); acc dump -- --help lists them.

An optimizer step ends a step; in a script without optimizers each call of the outermost module is a step.
Step 0 alone is recorded unless --step or config.json says otherwise. Flags win over config.json.

\b
Examples:
  acc dump --task statistics -s                      the built-in workload
  acc dump --task statistics -s train.py --lr 0.1    your script, step 0
  acc dump --step 0,2-4 --exit-after train.py        steps 0, 2, 3, 4, then stop the script
  acc dump --step all --max-bytes 2GB train.py       every step until 2 GB are written
  acc dump --max-steps 3 --exit-after train.py       three steps, then stop the script
  acc dump -c config.json -o npu_dump -m pkg.train   a module, settings from a file
  acc dump --device npu train.py --gpu 0             a script written for CUDA, on an NPU
  acc dump --device cpu train.py --gpu 0             the same script on the CPU, as a bench
  acc dump --audit train.py                          find, and record, operators that no call stood for
  acc dump --remeasure --task tensor train.py        find memory that is overwritten unseen
  acc dump --self-check --step 0-4 train.py          does recording change the run? exit code 0 no, 1 yes
  acc dump --as-msprobe -o npu_dump -m pkg.train     code that calls msprobe, without msprobe
  torchrun --nproc-per-node 8 -m dump -s train.py    one dump for each rank
"""


@dataclass(frozen=True, slots=True)
class Recording:
    """What to record; `reloadable` where a file may change it while the script runs."""

    config: DumpConfig
    reloadable: ReloadableConfig | None
    exit_after: bool


class DumpCommand(typer.core.TyperCommand):
    """The command line of `acc dump`: what follows SCRIPT or -m MODULE is the script's, as with python."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[_GIVEN] = list(args)
        return super().parse_args(ctx, self._ended_by_module(args))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", "[SCRIPT]", "[ARGS]..."]

    def _ended_by_module(self, args: list[str]) -> list[str]:
        takes_value = {flag: not getattr(option, "is_flag", False) for option in self.params for flag in option.opts}
        index = 0
        while index < len(args) and args[index].startswith("-") and args[index] != "--":
            step = 2 if takes_value.get(args[index], False) else 1
            if args[index] == "-m":
                return [*args[: index + 2], "--", *args[index + 2 :]]
            index += step
        return args


def add_to(app: typer.Typer, name: str | None = None) -> None:
    """Make `acc dump` a command of `app`."""
    app.command(name, cls=DumpCommand, help=HELP, context_settings=CONTEXT)(dump)


def dump(
    ctx: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SCRIPT] [ARGS]...", help="The script, and its own arguments."),
    ] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="A config.json, as msprobe's.")] = None,
    task: Annotated[
        Task | None, typer.Option(help="Record statistics, whole tensors, or structure: no values.")
    ] = None,
    summary_mode: Annotated[
        SummaryMode | None,
        typer.Option(help="Statistics with sketch, or a digest alone: md5, a faster one (hash), xor."),
    ] = None,
    level: Annotated[Level | None, typer.Option(help="L0 modules, L1 API calls, mix both. [default: L1]")] = None,
    stack: Annotated[bool, typer.Option("-s", "--stack", help="Record where each call was made.")] = False,
    dump_path: Annotated[Path | None, typer.Option("-o", "--dump-path", help="Where to. [default: ./acc_dump]")] = None,
    step: Annotated[str | None, typer.Option(help="Steps, such as 0,2-4; 'all' for all. [default: 0]")] = None,
    rank: Annotated[str | None, typer.Option(help="Ranks, such as 0,4-7. [default: all]")] = None,
    api_list: Annotated[
        list[str] | None,
        typer.Option("--list", help="Only calls whose name contains this; may be repeated."),
    ] = None,
    scope: Annotated[str | None, typer.Option(help="Only calls from FIRST to LAST: two names, a comma.")] = None,
    data_mode: Annotated[
        list[DataMode] | None, typer.Option(help="Only this direction or side; may be repeated.")
    ] = None,
    seed: Seed = None,
    deterministic: Deterministic = False,
    max_bytes: MaxBytes = None,
    max_steps: MaxSteps = None,
    every: Every = None,
    budget: Budget = None,
    exit_after: Annotated[
        bool, typer.Option("--exit-after", help="End the script once the last wanted step is written.")
    ] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Find, and record, operators that ran under no recorded call (slower).")
    ] = False,
    remeasure: Annotated[
        bool,
        typer.Option("--remeasure", help="Look at every argument anew: finds memory overwritten unseen (slower)."),
    ] = False,
    module: Module = None,
    self_check: Annotated[
        bool,
        typer.Option("--self-check", help="Run with and without recording; do all bits agree? Keeps no dump."),
    ] = False,
    as_msprobe: AsMsprobe = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse every key of config.json that is unknown.")] = False,
    device: Device = None,
    simulated_npu: SimulatedNpu = False,
    simulated_fault: Annotated[
        list[str] | None,
        typer.Option(metavar="OP=FAULT", help="Plant a fault in the simulated NPU: aten::gelu=bf16."),
    ] = None,
) -> None:
    load_torch()
    driven = answers_as_msprobe(as_msprobe)
    default_step = "0" if not driven and {config, step, max_steps, every, budget} == {None} else None
    flags = {
        "task": task and task.value,
        "summary_mode": summary_mode and summary_mode.value,
        "level": level and level.value,
        "extra_info": True if stack else None,
        "dump_path": dump_path and str(dump_path),
        "step": [] if step == "all" else step or default_step,
        "rank": rank,
        "api_list": api_list or None,
        "scope": scope.split(",") if scope else None,
        "data_mode": [mode.value for mode in data_mode] if data_mode else None,
        "audit": True if audit else None,
        "remeasure": True if remeasure else None,
        "max_bytes": max_bytes,
        "max_steps": max_steps,
        "every": every,
        "budget": budget,
    }
    unknown: Unknown = "strict" if strict else "guess"
    reloadable = None if config is None else ReloadableConfig(config, flags, unknown=unknown)
    unset = DumpConfig(dump_path=Path("./acc_dump"), extra_info=False)
    settings = merge(unset, **flags) if reloadable is None else reloadable.config
    if exit_after and not driven and not settings.step and settings.max_steps is None:
        raise ConfigError("--exit-after: needs a last step, found all steps. Give them, such as --step 0-9.")
    if simulated_fault and not simulated_npu:
        raise ConfigError("--simulated-fault: needs --simulated-npu.")
    for sentence in settings.ignored:
        say(f"note: {sentence}")
    if default_step is not None:
        say("recording step 0 only (--step chooses others)")
    if self_check and seed is None:
        seed = _CHECKED_SEED
    start = Start(seed, deterministic, simulated_npu, tuple(simulated_fault or ()), device)
    if driven:
        if self_check:
            raise ConfigError("--self-check: runs the script without msprobe's calls too; leave --as-msprobe out.")
        raise typer.Exit(_drive(flags, config, start, list(arguments or ()), module, exit_after=exit_after))
    if self_check:
        raise typer.Exit(_check(settings, start, list(arguments or ()), module, given=ctx.meta[_GIVEN]))
    recording = Recording(settings, reloadable, exit_after)
    raise typer.Exit(_record(recording, start, list(arguments or ()), module))


def _check(config: DumpConfig, start: Start, arguments: list[str], module: str | None, *, given: list[str]) -> int:
    """Does recording change the run?  The same command again, in processes of their own; or one of those."""
    from . import launch, selfcheck

    if selfcheck.role is None:
        try:
            return selfcheck.check(given, config)
        except KeyboardInterrupt:
            return launch.INTERRUPTED
    mine = selfcheck.role
    with begun(start, say):
        execute = _executable(start, arguments, module)
        return launch.outcome(lambda: selfcheck.perform(execute, config, mine=mine))


def _record(recording: Recording, start: Start, arguments: list[str], module: str | None) -> int:
    """Record, and tell what came of it: the script's exit status.  Raises where the dump cannot be written."""
    try:
        from . import launch
        from .children import Children, new_session, new_settings
    except Exception as error:  # a torch in which something is not where it was
        return run_alone(error, arguments, module)

    with begun(start, say):
        began = time.perf_counter()
        session = new_session(recording.config, recording.reloadable, exit_after=recording.exit_after)
        execute = _executable(start, arguments, module)
        children = Children(
            session,
            new_settings(recording.config, recording.reloadable, exit_after=recording.exit_after, start=start),
        )
        with children.followed():
            status = launch.outcome(lambda: launch.recorded(execute, session))
    if children.is_forked:
        children.close(is_well=status == 0)
        return status
    account = children.account()
    if session.failure is not None:
        raise session.failure
    if session.written:
        _tell_all(session, time.perf_counter() - began)
    elif account.processes:
        say(f"dump: {Path(recording.config.dump_path).absolute()}")
    for sentence in account.sentences():
        say(sentence)
    if account.failure:
        raise OutputError(f"a child process: {account.failure}")
    if not (session.written or account.processes):
        nothing = session.why_nothing()
        say(f"nothing was recorded: {nothing.reason}")
        if session.left_out:
            say(coverage.not_recorded(session.left_out))
        if not nothing.is_wanted and not session.broken:
            status = status or _NOTHING_RECORDED
    return status


def _drive(
    flags: Mapping[str, object],
    config: Path | None,
    start: Start,
    arguments: list[str],
    module: str | None,
    *,
    exit_after: bool,
) -> int:
    """Run a script that records by msprobe's names, and tell what came of it: the script's exit status."""
    from . import launch
    from .driven import DrivenRecording, answering

    target = launch.split_target(arguments, module)
    if target is None:
        raise ConfigError("--as-msprobe: expected a script that calls msprobe, found none.")
    recording = DrivenRecording()
    with begun(start, say), answering(flags, config, exit_after=exit_after):
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


def _executable(start: Start, arguments: list[str], module: str | None) -> Callable[[], None]:
    """What runs the script, or the built-in workload."""
    from .. import workload
    from . import launch

    target = launch.split_target(arguments, module)
    if target is not None:
        return launch.prepared(target)
    chosen = _workload_options(arguments, start)
    return lambda: workload.train(chosen)


def _workload_options(arguments: Sequence[str], start: Start) -> Any:
    from .. import workload

    seed = [] if start.seed is None else ["--seed", str(start.seed)]
    device = [] if start.device is None else ["--device", start.placed_on()]
    try:
        return workload.parse([*seed, *device, *arguments])
    except ConfigError as error:
        known = {flag for option in typer.main.get_command(_app()).params for flag in option.opts}
        close = [near for word in arguments for near in get_close_matches(word, known, n=1, cutoff=0.75)]
        raise ConfigError(f"{error} Did you mean {close[0]}?" if close else str(error)) from error


def _tell_all(session: Session, seconds: float) -> None:
    """Where the dump is and how much it holds."""
    calls = sum(part.calls for part in session.written)
    tensors = sum(part.tensors for part in session.written)
    nbytes = sum(part.nbytes for part in session.written)
    say(f"dump: {session.written[0].folder.parent.parent.absolute()}")
    missed = coverage.sentence(session.coverage)
    amounts = f"{calls:,} calls, {tensors:,} tensors, {size_text(nbytes)} in {seconds:.1f} s"
    say(f"{amounts}; {missed}" if missed else amounts)
    for sentence in (session.sampling.sentence(session.config), session.ended_by_limit()):
        if sentence:
            say(sentence)


def guarded(
    app: typer.Typer, arguments: Sequence[str] | None = None, *, prepare: Callable[[Any], None] | None = None
) -> int:
    """Run a command, which `prepare` may change before; what the input is to blame for becomes one line on stderr and
    exit code 2."""
    command = typer.main.get_command(app)
    if prepare is not None:
        prepare(command)
    try:
        status = command(None if arguments is None else list(arguments), standalone_mode=False)
    except AccError as error:
        print(f"acc: error: {error}", file=sys.stderr)
        return 2
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # since click 8.2; it holds the whole help
            error.show()
            return int(error.exit_code)
        print(f"acc: error: {' '.join(error.format_message().split())}", file=sys.stderr)
        return int(error.exit_code)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return status if isinstance(status, int) else 0


def _app() -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    add_to(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m dump`."""
    return guarded(_app(), arguments)
