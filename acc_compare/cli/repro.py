"""`acc repro`: arguments to one call to one exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from acc_compare.cli.exit_code import Exit
from dump.cli.starting import SimulatedNpu, Start, begun
from dump.format.errors import ConfigError
from dump.format.paths import from_home

REPRO_HELP = """Write one recorded call as a folder that needs torch alone: a short script and its inputs.

The script makes the call on a device and in float64 on the CPU, says how far the first is off, and exits with 1 where
that is more than its dtype explains: what to hand to the operator's owner. DUMP was recorded with --task tensor.

With --minimise the call is cut, as long as it stays wrong when made again on --device: to the smallest shape and the
fewest elements that are not zero. At most half a minute.

Exit code: 0 the folder is written, 2 the call cannot be made again, or --minimise found it right here.

\b
Examples:
  acc repro npu_dump --call Functional.gelu.2.forward
  acc repro npu_dump --call Functional.gelu.2.backward --step 1 -o gelu_backward
  acc repro npu_dump --call Functional.gelu.2.forward --minimise --device npu
  python repro_Functional.gelu.2.forward/repro.py npu
"""


def repro(
    dump: Annotated[Path, typer.Argument(metavar="DUMP", help="A dump with tensors.", show_default=False)],
    call: Annotated[str, typer.Option(metavar="NAME", help="A call, forward or backward.")],
    step: Annotated[int | None, typer.Option(min=0, help="Of this step. [default: the first that has it]")] = None,
    rank: Annotated[int | None, typer.Option(min=0, help="Of this rank. [default: the first that has it]")] = None,
    modules: Annotated[
        list[str] | None, typer.Option("--import", metavar="MODULE", help="A module that registers operators.")
    ] = None,
    minimise: Annotated[bool, typer.Option("--minimise", help="Cut it to the least that is still wrong here.")] = False,
    device: Annotated[
        str | None, typer.Option(help="Where --minimise makes it. [default: the record's device if here, else cpu]")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--output", help="The folder. [default: repro_NAME]")] = None,
    simulated_npu: SimulatedNpu = False,
    simulated_fault: Annotated[
        list[str] | None, typer.Option(metavar="OP=FAULT", help="Plant a fault in the simulated NPU.")
    ] = None,
) -> None:
    from acc_compare.report.i18n import text

    folder = from_home(out) if out is not None else Path(f"repro_{call}")
    if device is not None and not minimise:
        raise ConfigError("--device: is where --minimise makes the call; the script takes its device when it is run.")
    start = Start(simulated_npu=simulated_npu, faults=tuple(simulated_fault or ()))
    with begun(start, lambda sentence: print(f"acc repro: {sentence}", file=sys.stderr)):
        from acc_compare.replay.names import CannotReplay
        from acc_compare.replay.repro import SCRIPT, find_and_write

        try:
            found, less = find_and_write(
                from_home(dump),
                call,
                folder,
                step=step,
                rank=rank,
                imports=tuple(modules or ()),
                minimises_on=(device or "") if minimise else None,
            )
        except CannotReplay as refused:
            print(f"acc: error: {call} cannot be written: {text(refused.reason)}", file=sys.stderr)
            raise typer.Exit(Exit.not_compared) from None
    if found.reason is not None:
        print(f"acc: error: {found.name} cannot be made again: {text(found.reason)}", file=sys.stderr)
        raise typer.Exit(Exit.not_compared)
    print(f"{folder / SCRIPT}: {found.name}, {'wrong' if found.cause else 'right'} in the record")
    if less is not None:
        print(f"  cut from {less.before:,} to {less.after:,} elements that are not zero")
    print(f"  python {folder / SCRIPT}")
