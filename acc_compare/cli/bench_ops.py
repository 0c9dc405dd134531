"""`acc bench-ops`: arguments to one call to one exit code."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from acc_compare.cli.exit_code import Exit
from acc_compare.cli.progress import Bars
from dump.cli.starting import SimulatedNpu, Start, begun
from dump.format.errors import ConfigError
from dump.format.paths import from_home

BENCH_OPS_HELP = """Make torch's own samples of each operator on a device and in float64: is this installation sound?

Before training starts, without a script or a dump: shapes, dtypes, tensors that are not contiguous, extreme values,
forward and backward. Written to OUT/replay: bench_ops_<time>.txt and .json; give the latter to --with on another
machine, or after an update, to see what is worse than there.

Exit code: 0 all right, 1 something is wrong or worse than in the other table, 2 nothing could be made.

\b
Examples:
  acc bench-ops --device npu
  acc bench-ops --ops nn.functional.gelu,softmax,matmul --device npu
  acc bench-ops --device npu --with cann8/replay/bench_ops_20260101120000.json
"""


def bench_ops(
    ops: Annotated[
        str | None, typer.Option(metavar="LIST", help="Operators by name, with commas. [default: all that torch lists]")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to: npu, cuda, cpu.")] = "cpu",
    dtypes: Annotated[
        str, typer.Option(metavar="LIST", help="Types: float32, bfloat16, float16.")
    ] = "float32,bfloat16",
    samples: Annotated[int, typer.Option(min=1, metavar="N", help="Of each operator and dtype, so many.")] = 4,
    other: Annotated[
        Path | None, typer.Option("--with", metavar="TABLE", help="The bench_ops_*.json of another installation.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--output", help="Where the reports go.")] = Path("./compare_result"),
    lang: Annotated[str, typer.Option(help="Language of the text: en, zh.")] = "en",
    simulated_npu: SimulatedNpu = False,
    simulated_fault: Annotated[
        list[str] | None, typer.Option(metavar="OP=FAULT", help="Plant a fault in the simulated NPU.")
    ] = None,
) -> None:
    from acc_compare.messages import say
    from acc_compare.replay.operator_table import read_table, worse_than
    from acc_compare.report.i18n import known_language, text
    from acc_compare.report.operator_table import table_text, write_table

    language = known_language(lang)
    theirs = read_table(from_home(other)) if other is not None else None
    if simulated_fault and not simulated_npu:
        raise ConfigError("--simulated-fault: needs --simulated-npu.")
    start = Start(simulated_npu=simulated_npu, faults=tuple(simulated_fault or ()))
    with begun(start, _say), Bars(sys.stderr) as progress:
        from acc_compare.replay.bench_ops import bench_operators
        from acc_compare.replay.run import device_here

        found = bench_operators(
            device_here(device, "cpu").type,
            [name.strip() for name in (ops or "").split(",") if name.strip()],
            dtypes=[name.strip() for name in dtypes.split(",")],
            samples=samples,
            progress=progress,
        )
    if not any(row.samples for row in found.operators):
        _say("none of these operators could be made here")
        raise typer.Exit(Exit.not_compared)
    paths = write_table(found, from_home(out), timestamp=f"{datetime.now():%Y%m%d%H%M%S}")
    print(table_text(found, theirs, lang=language))
    print(text(say("written"), language))
    for path in paths:
        print(f"  {path}")
    is_worse = theirs is not None and bool(worse_than(found, theirs))
    raise typer.Exit(Exit.suspect if found.wrong or is_worse else Exit.nothing_suspect)


def _say(sentence: str) -> None:
    print(f"acc bench-ops: {sentence}", file=sys.stderr)
