"""`acc dump`: flags and config.json to one config, one run, one exit code.

Importing this imports no torch, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from ..config import DumpConfig, Unknown, merge
from ..config_reload import ReloadableConfig
from ..environment.own_version import own_version
from ..environment.torch_loading import load_torch
from ..format.errors import AccError, ConfigError
from . import checks
from .amounts import Budget, Every, MaxBytes, MaxSteps
from .interrupted import Interrupted, end_interrupted
from .recording import Recording, Script, check_itself, drive, record, record_checked
from .said import say
from .starting import AsMsprobe, Deterministic, Device, Module, Seed, SimulatedNpu, Start, answers_as_msprobe

_CHECKED_SEED = 1234
_GIVEN = f"{__name__}.given"  # the key of the arguments as they were given

# What typer raises at wrong usage; it has its own copy of click since 0.21.
_UsageError: Any = typer.BadParameter.__base__


def tell_version(asked: bool) -> None:
    """What `--version` does.  Raises typer.Exit where it was asked for."""
    if asked:
        print(f"acc {own_version()}")
        raise typer.Exit


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
Between building the model and first calling it nothing is recorded, so step 0 lacks what was made of its data there.
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
  acc dump --against float64 train.py                judge calls while the script runs, one machine, no bench
  acc dump --stop-at-nan train.py                    end where finite numbers become NaN, and keep what was read
  acc dump --as-msprobe -o npu_dump -m pkg.train     code that calls msprobe, without msprobe
  torchrun --nproc-per-node 8 -m dump -s train.py    one dump for each rank
"""


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


def add_to(app: typer.Typer, name: str | None = None, *, checking: checks.Checks | None = None) -> None:
    """Make `acc dump` a command of `app`; `checking` makes what judges calls while a script runs."""
    app.command(name, cls=DumpCommand, help=HELP, context_settings={**CONTEXT, "obj": checking})(dump)


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
    against: checks.Against = None,
    each: checks.Each = None,
    fix: checks.Fix = None,
    stop: checks.Stop = False,
    load: checks.Load = None,
    calls: checks.Calls = None,
    perturb: checks.Perturb = None,
    stop_at_nan: checks.StopAtNan = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse every key of config.json that is unknown.")] = False,
    device: Device = None,
    simulated_npu: SimulatedNpu = False,
    simulated_fault: Annotated[
        list[str] | None,
        typer.Option(metavar="OP=FAULT", help="Plant a fault in the simulated NPU: aten::gelu=bf16."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=tell_version)
    ] = False,
) -> None:
    load_torch()
    driven = answers_as_msprobe(as_msprobe)
    options = checks.asked_for(against, each, None, fix, load, calls, perturb, stop=stop, stop_at_nan=stop_at_nan)
    if options is not None and (self_check or driven):
        raise ConfigError("--self-check and --as-msprobe: record, and judge nothing while the script runs.")
    says_steps = driven or {config, step, max_steps, every, budget} != {None}
    default_step = None if says_steps or options is not None else "0"
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
    opening = "" if default_step is None else "recording step 0 only (--step chooses others)"
    if self_check and seed is None:
        seed = _CHECKED_SEED
    script = Script(
        tuple(arguments or ()), module, frozenset(flag for part in ctx.command.params for flag in part.opts)
    )
    start = Start(seed, deterministic, simulated_npu, tuple(simulated_fault or ()), device)
    if driven:
        if self_check:
            raise ConfigError("--self-check: runs the script without msprobe's calls too; leave --as-msprobe out.")
        raise typer.Exit(drive(flags, config, start, script, exit_after=exit_after))
    if self_check:
        if opening:
            say(opening)
        raise typer.Exit(check_itself(settings, start, script, given=ctx.meta[_GIVEN]))
    recording = Recording(settings, reloadable, exit_after, opening)
    if options is not None:
        raise typer.Exit(record_checked(recording, start, script, options, ctx.obj))
    raise typer.Exit(record(recording, start, script))


def guarded(
    app: typer.Typer,
    arguments: Sequence[str] | None = None,
    *,
    name: str | None = None,
    prepare: Callable[[Any], None] | None = None,
) -> int:
    """Run a command, which `prepare` may change before; what the input is to blame for becomes one line on stderr and
    exit code 2.  `name` is how a shell calls it, which completion is installed for; else it is how it was called.

    Raises KeyboardInterrupt where a script was interrupted.
    """
    command = typer.main.get_command(app)
    if prepare is not None:
        prepare(command)
    try:
        status = command(None if arguments is None else list(arguments), prog_name=name, standalone_mode=False)
    except AccError as error:
        print(f"acc: error: {error}", file=sys.stderr)
        return 2
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # since click 8.2; it holds the whole help
            error.show()
            return int(error.exit_code)
        told = " ".join(error.format_message().split()).replace(": Value error, ", ": ")
        print(f"acc: error: {told}", file=sys.stderr)
        return int(error.exit_code)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    if isinstance(status, Interrupted):
        end_interrupted()
    return status if isinstance(status, int) else 0


def _app() -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    add_to(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m dump`."""
    return guarded(_app(), arguments)
