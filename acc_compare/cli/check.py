"""`acc check`, and what judges the calls of `acc dump --against`: a run on one machine, while it goes on."""

from __future__ import annotations

import contextlib
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acc_compare.cli.exit_code import Exit
from dump.cli import checks
from dump.cli.command import CONTEXT, DumpCommand
from dump.cli.recording import Script, record_checked, recording_to
from dump.cli.starting import Deterministic, Device, Module, Seed, SimulatedNpu, Start
from dump.format.errors import ConfigError, OutputError
from dump.format.paths import from_home

if TYPE_CHECKING:
    from acc_compare.replay.live import LiveCheck, Plan
    from acc_compare.replay.sensitivity import Sensitivity
    from acc_compare.replay.stop_at_nan import StopAtNan

DEFAULT_OUT = Path("./acc_check")

CHECK_HELP = """Run a script, unmodified, and judge what its operators computed by a reference, while it runs.

One machine, no bench. The first calls of each operator, shape and dtype, forward and backward, are compared with the
same call in float64 on the CPU, on the same inputs; no bit of the run is changed. What is wrong is made again at once,
and kept with its inputs in OUT/dump, for acc repro and acc replay. Reports go to OUT/replay. The same as acc dump
--against float64, over all steps.

Exit code: 0 nothing wrong, 1 something confirmed wrong, 2 nothing could be checked; else that of the script.

\b
Examples:
  acc check train.py --lr 0.1
  acc check --step 0,100 --each 10 train.py
  acc check --every 1000 train.py                          and every 1,000th call after the first three
  acc check --list Functional.layer_norm --stop train.py   end at the first that is wrong
  acc check --fix Functional.gelu train.py                 does the loss come right with a right gelu?
  acc check --against gpu_dump train.py                    by what the bench recorded
  acc check --load gpu_dump --calls Functional.linear.3 train.py
  acc check --perturb bit train.py                         which operators is this run sensitive to?
"""


def check(
    ctx: typer.Context,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[SCRIPT] [ARGS]...", help="The script, and its own arguments.")
    ] = None,
    against: checks.Against = None,
    step: Annotated[str | None, typer.Option(help="Steps, such as 0,2-4. [default: all]")] = None,
    each: checks.Each = None,
    every: checks.Every = None,
    fix: checks.Fix = None,
    stop: checks.Stop = False,
    load: checks.Load = None,
    calls: checks.Calls = None,
    perturb: checks.Perturb = None,
    stop_at_nan: checks.StopAtNan = False,
    api_list: Annotated[
        list[str] | None, typer.Option("--list", help="Only calls whose name contains this; may be repeated.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep all calls that were checked, not the wrong alone.")
    ] = False,
    out: Annotated[Path, typer.Option("-o", "--output", help="Where reports and kept calls go.")] = DEFAULT_OUT,
    seed: Seed = None,
    deterministic: Deterministic = False,
    module: Module = None,
    device: Device = None,
    simulated_npu: SimulatedNpu = False,
    simulated_fault: Annotated[
        list[str] | None, typer.Option(metavar="OP=FAULT", help="Plant a fault in the simulated NPU.")
    ] = None,
) -> None:
    out = from_home(out)
    if (out / "dump").exists():
        raise OutputError(f"{out / 'dump'} exists already; move it away or choose another folder with -o")
    if against is None and load is None and perturb is None and not stop_at_nan:
        against = "float64"
    options = checks.asked_for(
        against, each, every, fix, load, calls, perturb, stop=stop, stop_at_nan=stop_at_nan, keep=keep
    )
    assert options is not None
    script = Script(tuple(arguments or ()), module)
    start = Start(seed, deterministic, simulated_npu, tuple(simulated_fault or ()), device)
    recording = recording_to(out / "dump", step=step if step is not None else [], api_list=api_list or None)
    raise typer.Exit(record_checked(recording, start, script, options, make_check))


def add_to(app: typer.Typer) -> None:
    """Register `acc check`."""
    app.command("check", cls=DumpCommand, help=CHECK_HELP, context_settings=CONTEXT)(check)


def make_check(options: checks.CheckOptions) -> checks.Check:
    """What looks at the calls of a run, as the command line asks.  Raises ConfigError, and DumpError for a bench."""
    if options.stop_at_nan:
        from acc_compare.replay.stop_at_nan import StopAtNan

        return _NanCheck(StopAtNan())
    if options.perturb:
        from acc_compare.replay.sensitivity import Perturbation, Sensitivity

        kinds: dict[str, Perturbation] = {"bit": "bit", "noise": "noise", "upcast": "upcast"}
        return _SensitivityCheck(Sensitivity(kinds[options.perturb], each=options.each, every=options.every))
    from acc_compare.replay.live import LiveCheck

    return _ReferenceCheck(LiveCheck(_plan(options)))


def _plan(options: checks.CheckOptions) -> Plan:
    from acc_compare.replay.live import WIDE, Plan
    from acc_compare.replay.results import Against

    names: dict[str, Against] = {"float64": "float64", "float32": "float32", "cpu": "cpu"}
    bench = None if options.against in WIDE else from_home(options.against)
    if bench is not None and options.load is not None and bench != from_home(options.load):
        raise ConfigError("--against and --load: name two different dumps. Give one bench.")
    if bench is not None and not bench.exists():
        raise ConfigError(f"--against {options.against}: expected cpu, float64, float32 or a dump; no such folder.")
    return Plan(
        against=names.get(options.against, "float64"),
        each=options.each,
        every=options.every,
        bench=from_home(options.load) if options.load is not None else bench,
        fixes=options.fix,
        loads=options.calls if options.load is not None else None,
        carries=bench is not None,
        ends=options.stop,
        keeps=options.keep,
    )


class _ReferenceCheck:
    """Calls against a reference."""

    samples = True

    def __init__(self, observer: LiveCheck) -> None:
        self.observer = observer

    def outcome(self, dump: Path, status: int) -> int:
        from acc_compare.cli.replay import exit_code
        from acc_compare.messages import say
        from acc_compare.replay.results import ReplayResult
        from acc_compare.report.i18n import text
        from acc_compare.report.replay import replay_text, write_replay

        check, plan = self.observer, self.observer.plan
        check.finish()
        _tidy(dump)
        bench = "" if plan.bench is None else str(plan.bench)
        against = "bench" if plan.carries else plan.against
        result = ReplayResult(str(dump), check.device, check.device, against, tuple(check.calls), bench)
        if not check.calls:
            _tell("no call was checked")
            return status or Exit.not_compared
        paths = write_replay(result, dump.parent, timestamp=_timestamp(check.rank), formats=("xlsx",))
        print(replay_text(result))
        print(text(say("written")))
        for path in paths.all:
            print(f"  {path}")
        code = exit_code(result)
        if code is Exit.suspect:
            wrong = result.of("confirmed")[0]
            _tell(f"what is wrong is kept: acc repro {dump} --call {wrong.name}")
            return code
        return status or code


class _SensitivityCheck:
    """Calls against themselves, with other inputs."""

    samples = True

    def __init__(self, observer: Sensitivity) -> None:
        self.observer = observer

    def outcome(self, dump: Path, status: int) -> int:
        from acc_compare.report.sensitivity import sensitivity_text, write_sensitivity

        _tidy(dump)
        responses = self.observer.responses
        if not responses:
            _tell("no call could be made again with other inputs")
            return status or Exit.not_compared
        path = write_sensitivity(self.observer.kind, responses, dump.parent, timestamp=_timestamp(self.observer.rank))
        print(sensitivity_text(self.observer.kind, responses).rstrip())
        print(f"  {path}")
        return status


class _NanCheck:
    """The first NaN ends the run."""

    samples = False

    def __init__(self, observer: StopAtNan) -> None:
        self.observer = observer

    def outcome(self, dump: Path, status: int) -> int:
        found = self.observer
        if not found.found:
            _tell("no call read finite numbers and wrote NaN or Inf")
            return status
        _tell(f"ended in step {found.step}: {found.found} read finite numbers and wrote NaN or Inf; {dump} keeps both")
        _tell(f"acc nan {dump}")
        _tell(f"acc repro {dump} --call {found.found}")
        return Exit.suspect


def _tidy(dump: Path) -> None:
    """Take away the folder that nothing was kept in."""
    with contextlib.suppress(OSError):
        dump.rmdir()


def _timestamp(rank: int | None) -> str:
    return f"{datetime.now():%Y%m%d%H%M%S}" + (f"_rank{rank}" if rank is not None else "")


def _tell(sentence: str) -> None:
    print(f"acc check: {sentence}", file=sys.stderr)
