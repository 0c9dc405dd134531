"""`acc monitor compare` and `acc monitor show`: arguments to one call to one exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from acc_compare.monitor.tables import StepRange

COMPARE_HELP = """Lay two monitored runs side by side: the first step and parameter where they part beyond noise.

Each argument is a monitor_output folder or one rank's folder in it; what msprobe's monitor wrote is read too.
Written to OUT/monitor_compare: advisor_<time>.txt and .json, monitor_<time>.html with curves and a heat map, and both
as PNG where matplotlib is installed.

Exit code: 0 nothing suspect, 1 the runs part, 2 too little was compared, or nothing could be.

\b
Examples:
  acc monitor compare npu_output gpu_output
  acc monitor compare npu_output gpu_output --floor gpu_output_again     a second bench run shows what is normal
  acc monitor compare npu_output gpu_output --kind grad_reduced --steps 0-999
"""

SHOW_HELP = """Print the last step's worst parameters of a monitored run: NaN and Inf first, then those that jumped.

\b
Examples:
  acc monitor show monitor_output
  acc monitor show monitor_output --kind param_updated --top 20
  acc monitor show monitor_output --follow                 of a running job, until interrupted
"""


def add_to(group: typer.Typer) -> None:
    """Register both commands in the group `acc monitor`."""
    group.command("compare", help=COMPARE_HELP)(compare)
    group.command("show", help=SHOW_HELP)(show)


def compare(
    npu: Annotated[Path, typer.Argument(metavar="NPU_OUT", help="The run to judge.", show_default=False)],
    bench: Annotated[Path, typer.Argument(metavar="BENCH_OUT", help="The run to trust.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="Where the reports go.")] = Path("./compare_result"),
    floor: Annotated[
        Path | None,
        typer.Option(metavar="BENCH2", help="A second bench run: its distance from the first is normal."),
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only files of this kind; may be repeated.")] = None,
    steps: Annotated[str, typer.Option(metavar="A-B", help="Only these steps. [default: all]")] = "",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print the verdict's line only.")] = False,
) -> None:
    from datetime import datetime

    from acc_compare.cli.exit_code import EXITS, leaving_with
    from acc_compare.cli.progress import Bars
    from acc_compare.monitor.advisor import advisor_text
    from acc_compare.monitor.comparison import compare_monitored
    from acc_compare.monitor.write import write_monitor_reports

    wanted = _steps(steps)
    with Bars(sys.stderr) as progress:
        finding = compare_monitored(npu, bench, floor=floor, kinds=kind or (), steps=wanted, progress=progress)
    paths = write_monitor_reports(finding, out, timestamp=f"{datetime.now():%Y%m%d%H%M%S}")
    with leaving_with(EXITS[finding.verdict]):
        if quiet:
            print(finding.summary)
        else:
            print(advisor_text(finding))
            print("Written:")
            for path in paths.all:
                print(f"  {path}")
            if paths.note:
                print(f"  ({paths.note})")


def show(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="A monitor_output folder.", show_default=False)],
    kind: Annotated[str, typer.Option(help="The kind of files. [default: grad_reduced, or what there is]")] = "",
    rank: Annotated[int | None, typer.Option(min=0, help="One rank only.")] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="Rows.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Print anew whenever a step comes in.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between looks, with --follow.")] = 2.0,
) -> None:
    from acc_compare.monitor.show import follow_run, latest, render

    if follow:
        follow_run(output, kind=kind, rank=rank, top=top, interval=interval)
    else:
        print(render(latest(output, kind=kind, rank=rank, top=top)), end="")


def _steps(text: str) -> StepRange:
    """`A-B` or `A`.  Raises ConfigError."""
    import re

    from acc_compare.monitor.tables import EVERY_STEP, StepRange
    from dump.format.errors import ConfigError

    if not text:
        return EVERY_STEP
    match = re.fullmatch(r"(\d{1,15})(?:-(\d{1,15}))?", text, re.ASCII)
    if match is None or (match[2] is not None and int(match[2]) < int(match[1])):
        raise ConfigError(f"--steps: expected a range such as 0-999, found {text!r}.")
    return StepRange(int(match[1]), int(match[2] or match[1]))
