"""`acc check`: a run on one machine, without a bench, judged by float64."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from acc_compare.cli.exit_code import Exit
from dump.cli.command import CONTEXT, DumpCommand
from dump.cli.starting import Module, SimulatedNpu
from dump.format.errors import OutputError
from dump.format.paths import from_home

CHECK_HELP = """Run a script, unmodified, and judge what its operators computed by float64: one machine, no bench.

The steps asked for are recorded with all tensors, which changes no bit of the run; then each operator, shape and dtype
is made again a few times on the device and in float64 on the CPU, forward and backward, as acc replay does it. The
recording is kept where something is wrong, and removed where nothing is. Reports go to OUT/replay.

Exit code: 0 nothing wrong, 1 something confirmed wrong, 2 nothing could be checked.

\b
Examples:
  acc check train.py --lr 0.1
  acc check --step 0,100 --each 10 train.py
  acc check --list Functional.layer_norm train.py
"""


def check(
    ctx: typer.Context,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[SCRIPT] [ARGS]...", help="The script, and its own arguments.")
    ] = None,
    step: Annotated[str | None, typer.Option(help="Steps, such as 0,2-4. [default: 0]")] = None,
    each: Annotated[
        int, typer.Option(min=1, metavar="N", help="Calls of one operator, shape and dtype in a step.")
    ] = 3,
    api_list: Annotated[
        list[str] | None, typer.Option("--list", help="Only calls whose name contains this; may be repeated.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the recording in any case.")] = False,
    out: Annotated[Path, typer.Option("-o", "--output", help="Where reports and the recording go.")] = Path(
        "acc_check"
    ),
    module: Module = None,
    simulated_npu: SimulatedNpu = False,
    simulated_fault: Annotated[
        list[str] | None, typer.Option(metavar="OP=FAULT", help="Plant a fault in the simulated NPU.")
    ] = None,
) -> None:
    from acc_compare.cli.replay import replay

    out = from_home(out)
    dump = out / "dump"
    if dump.exists():
        raise OutputError(f"{dump} exists already; move it away or choose another folder with -o")
    options = ["--task", "tensor", "-s", "-o", str(dump)]
    options += ["--step", step] if step is not None else []
    options += [part for name in api_list or () for part in ("--list", name)]
    options += ["--simulated-npu"] if simulated_npu else []
    options += [part for fault in simulated_fault or () for part in ("--simulated-fault", fault)]
    target = ["-m", module] if module is not None else []
    command = [sys.executable, "-m", "acc_compare", "dump", *options, *target, *(arguments or ())]
    status = subprocess.run(command, check=False).returncode
    if not dump.exists():
        raise typer.Exit(status or Exit.not_compared)
    code = Exit.not_compared
    try:
        replay(
            dump,
            each=each,
            out=out,
            simulated_npu=simulated_npu,
            simulated_fault=simulated_fault,
        )
    except typer.Exit as ended:
        code = Exit(ended.exit_code)
    if code is Exit.nothing_suspect and not keep:
        shutil.rmtree(dump)
    else:
        print(f"acc check: the recording is kept in {dump}", file=sys.stderr)
    raise typer.Exit(code)


def add_to(app: typer.Typer) -> None:
    """Register `acc check`."""
    app.command("check", cls=DumpCommand, help=CHECK_HELP, context_settings=CONTEXT)(check)
