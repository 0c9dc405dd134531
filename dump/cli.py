"""`acc dump`: flags and config.json to one config, one run, one exit code.

Importing this imports no torch, so that `--help` is quick.
"""

from __future__ import annotations

import sys
import time
import traceback
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from .config import DumpConfig, load_config, merge
from .format.errors import AccError, ConfigError

if TYPE_CHECKING:
    from .session import Session
    from .writer import Written


class Task(str, Enum):
    statistics = "statistics"
    tensor = "tensor"


class SummaryMode(str, Enum):
    statistics = "statistics"
    md5 = "md5"


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

Without SCRIPT the built-in workload is recorded: one training step of a ResNet on synthetic data. Its flags are those
of the usual ImageNet example (-a resnet50 -b 32 --gpu 1 --dummy).

An optimizer step ends a step; in a script without optimizers each call of the outermost module is a step. Step 0 alone
is recorded unless --step or config.json says otherwise. Flags win over config.json.

\b
Examples:
  acc dump --task statistics -s                      the built-in workload
  acc dump --task statistics -s train.py --lr 0.1    your script, step 0
  acc dump --step 0,2-4 --exit-after train.py        steps 0, 2, 3, 4, then stop the script
  acc dump -c config.json -o npu_dump -m pkg.train   a module, settings from a file
  torchrun --nproc-per-node 8 -m dump -s train.py    one dump for each rank
"""


@dataclass(frozen=True, slots=True)
class Start:
    """How the script is to begin: seeds, deterministic kernels, the simulated device."""

    seed: int | None
    deterministic: bool
    simulated_npu: bool
    faults: tuple[str, ...]


def dump(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[SCRIPT] [ARGS]...", help="The script, and its own arguments.")
    ] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="A config.json, as msprobe's.")] = None,
    task: Annotated[Task | None, typer.Option(help="Record statistics, or whole tensors.")] = None,
    summary_mode: Annotated[SummaryMode | None, typer.Option(help="Statistics with sketch, or MD5 alone.")] = None,
    level: Annotated[Level | None, typer.Option(help="L0 modules, L1 API calls, mix both. [default: L1]")] = None,
    stack: Annotated[bool, typer.Option("-s", "--stack", help="Record where each call was made.")] = False,
    dump_path: Annotated[
        Path | None, typer.Option("-o", "--dump-path", help="Where to. [default: ./acc_dump]")
    ] = None,
    step: Annotated[str | None, typer.Option(help="Steps, such as 0,2-4; 'all' for all. [default: 0]")] = None,
    rank: Annotated[str | None, typer.Option(help="Ranks, such as 0,4-7. [default: all]")] = None,
    api_list: Annotated[
        list[str] | None, typer.Option("--list", help="Only calls whose name contains this; may be repeated.")
    ] = None,
    scope: Annotated[str | None, typer.Option(help="Only calls from FIRST to LAST: two names, a comma.")] = None,
    data_mode: Annotated[
        list[DataMode] | None, typer.Option(help="Only this direction or side; may be repeated.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed Python, numpy and torch before the script.")] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Ask for deterministic kernels.")] = False,
    exit_after: Annotated[
        bool, typer.Option("--exit-after", help="End the script once the last wanted step is written.")
    ] = False,
    module: Annotated[
        str | None, typer.Option("-m", metavar="MODULE", help="Run a module, as python -m does.")
    ] = None,
    simulated_npu: Annotated[
        bool, typer.Option("--simulated-npu", help="Provide a simulated device 'npu' (CPU kernels underneath).")
    ] = False,
    simulated_fault: Annotated[
        list[str] | None,
        typer.Option(metavar="OP=FAULT", help="Plant a fault in the simulated NPU, such as aten::gelu=bf16."),
    ] = None,
) -> None:
    if exit_after and step == "all":
        raise ConfigError("--exit-after: needs a last step, found --step all. Give steps such as --step 0-9.")
    settings = load_config(config) if config is not None else DumpConfig(dump_path=Path("./acc_dump"), extra_info=False)
    default_step = "0" if config is None and step is None else None
    settings = merge(
        settings,
        task=task and task.value,
        summary_mode=summary_mode and summary_mode.value,
        level=level and level.value,
        extra_info=True if stack else None,
        dump_path=dump_path and str(dump_path),
        step=[] if step == "all" else step or default_step,
        rank=rank,
        api_list=api_list or None,
        scope=scope.split(",") if scope else None,
        data_mode=[mode.value for mode in data_mode] if data_mode else None,
    )
    for sentence in settings.ignored:
        _say(f"note: {sentence}")
    if default_step is not None:
        _say("recording step 0 only (--step chooses others)")
    start = Start(seed, deterministic, simulated_npu, tuple(simulated_fault or ()))
    raise typer.Exit(_record(settings, start, list(arguments or ()), module, exit_after=exit_after))


def _record(config: DumpConfig, start: Start, arguments: list[str], module: str | None, *, exit_after: bool) -> int:
    """Record, and tell what came of it; the script's exit status, or 2 where the dump could not be written."""
    from . import launch
    from .session import Session

    if start.faults and not start.simulated_npu:
        raise ConfigError("--simulated-fault: needs --simulated-npu.")
    _prepare(start)
    began = time.perf_counter()

    def closed(number: int, written: Written) -> None:
        _say(
            f"step {number}: {written.calls:,} calls, {written.tensors:,} tensors, {_bytes(written.nbytes)}"
            f" in {written.folder}"
        )

    session = Session(config, finds_steps=True, exit_after=exit_after, on_step=closed)
    is_builtin = module is None and (not arguments or arguments[0].startswith("-"))
    try:
        if is_builtin:
            status = _record_builtin(session, arguments)
        else:
            target = launch.split_target(arguments, module)
            assert target is not None
            status = launch.run(target, session)
    except AccError:
        raise
    except Exception as error:
        # The script's own failure: shown as Python would show it, without our frames.  The dump is closed already.
        traceback.print_exception(type(error), error, _without_our_frames(error.__traceback__))
        status = 1
    return _report(session, time.perf_counter() - began, status)


def _prepare(start: Start) -> None:
    if start.simulated_npu:
        from . import sim

        sim.enable()
        for spec in start.faults:
            sim.inject(sim.parse_fault(spec))
        _say("the device 'npu' is simulated: CPU kernels underneath" + (", with a fault" if start.faults else ""))
    if start.seed is not None:
        from .seeding import seed_all

        seed_all(start.seed, mode=start.deterministic)
    elif start.deterministic:
        from .seeding import deterministic

        deterministic()


def _record_builtin(session: Session, arguments: list[str]) -> int:
    from . import workload
    from .session import LastStepDone

    complete = False
    session.install()
    session.start()
    try:
        workload.main(arguments)
        complete = True
    except LastStepDone:
        complete = True
    finally:
        session.close(complete=complete)
    return 0


def _report(session: Session, seconds: float, status: int) -> int:
    if session.failure is not None:
        raise session.failure
    if not session.written:
        _say(
            "nothing was recorded: no wanted step or rank was reached, or no call of torch was made while one was"
        )
        return status
    calls = sum(part.calls for part in session.written)
    tensors = sum(part.tensors for part in session.written)
    nbytes = sum(part.nbytes for part in session.written)
    root = session.written[0].folder.parent.parent
    _say(f"dump: {root.absolute()}")
    _say(f"{calls:,} calls, {tensors:,} tensors, {_bytes(nbytes)} in {seconds:.1f} s")
    return status


def _without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    """Skip the frames above the script's own."""
    here = str(Path(__file__).parent)
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(here):
        trace = trace.tb_next
    return trace


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def _say(text: str) -> None:
    """On stderr: stdout is the script's."""
    print(f"acc dump: {text}", file=sys.stderr, flush=True)


def guarded(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """Run a command; what the input is to blame for becomes one line on stderr and exit code 2."""
    try:
        app(arguments, standalone_mode=True)
    except AccError as error:
        print(f"acc: error: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0


def main(arguments: list[str] | None = None) -> int:
    """`python -m dump`."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(help=HELP, context_settings=CONTEXT)(dump)
    return guarded(app, arguments)
