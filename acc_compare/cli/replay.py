"""`acc replay`: arguments to one call to one exit code."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acc_compare.cli.bench_ops import BENCH_OPS_HELP, bench_ops
from acc_compare.cli.exit_code import Exit, leaving_with
from acc_compare.cli.first_nan import NAN_HELP, nan
from acc_compare.cli.progress import Bars
from acc_compare.cli.repro import REPRO_HELP, repro
from dump.cli.starting import SimulatedNpu, Start, begun
from dump.format.errors import ConfigError
from dump.format.paths import from_home

if TYPE_CHECKING:
    from acc_compare.replay.results import Against, ReplayResult
    from acc_compare.replay.wanted import Wanted

REPLAY_HELP = """Make recorded calls again, each by itself on its recorded inputs, and judge both results by float64.

DUMP was recorded with --task tensor. A call is confirmed where its result is further from float64 than its dtype
explains; made again on the device of the record, it shows whether the operator is at fault (wrong again) or that run's
memory, timing, streams or environment (right). Nothing of a dump is executed but torch's own functions with plain
values. Written to OUT/replay: replay_<time>.xlsx, .txt, .json; acc compare --replay takes the last one in.

Exit code: 0 nothing wrong, 1 something confirmed wrong, 2 nothing could be made again.

\b
Examples:
  acc replay npu_dump                                       all calls
  acc replay npu_dump --call Functional.gelu.2              one call, forward and backward
  acc replay npu_dump --call Module.blocks.2                all calls within a module
  acc replay npu_dump --suspects advisor_20260101120000.json
  acc replay npu_dump --device cpu --against gpu_dump       beside the bench's record of the same calls
"""


class ReplayDevice(str, Enum):
    npu = "npu"
    cuda = "cuda"
    cpu = "cpu"


def add_to(app: typer.Typer) -> None:
    """Register the commands that prove, of one run: `acc replay`, `acc repro`, `acc nan`, `acc bench-ops`."""
    app.command("replay", help=REPLAY_HELP)(replay)
    app.command("repro", help=REPRO_HELP)(repro)
    app.command("nan", help=NAN_HELP)(nan)
    app.command("bench-ops", help=BENCH_OPS_HELP)(bench_ops)


def replay(
    dump: Annotated[Path, typer.Argument(metavar="DUMP", help="A dump with tensors.", show_default=False)],
    call: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A call or module; may be repeated.")] = None,
    suspects: Annotated[
        Path | None, typer.Option(metavar="ADVISOR.json", help="The suspects that acc compare named.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All calls. [default without --call, --suspects]")] = False,
    each: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Of one operator, shape and dtype in a step, so many calls. [default: all]"
        ),
    ] = None,
    device: Annotated[
        ReplayDevice | None, typer.Option(help="Where to. [default: the record's device if it is here, else cpu]")
    ] = None,
    against: Annotated[
        str, typer.Option(metavar="float64|float32|BENCH_DUMP", help="The reference, or the other side's dump.")
    ] = "float64",
    modules: Annotated[
        list[str] | None, typer.Option("--import", metavar="MODULE", help="A module that registers operators.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--output", help="Where the reports go.")] = Path("./compare_result"),
    formats: Annotated[str, typer.Option("--format", help="xlsx, or none for text and JSON alone.")] = "xlsx",
    lang: Annotated[str, typer.Option(help="Language of the text: en, zh.")] = "en",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print the verdict's line only.")] = False,
    simulated_npu: SimulatedNpu = False,
    simulated_fault: Annotated[
        list[str] | None, typer.Option(metavar="OP=FAULT", help="Plant a fault in the simulated NPU.")
    ] = None,
) -> None:
    from acc_compare.report.i18n import known_language, text
    from acc_compare.report.replay import replay_text, summary, write_replay

    language = known_language(lang)
    dump, out = from_home(dump), from_home(out)
    if formats not in ("xlsx", "none"):
        raise ConfigError(f"--format: unknown format {formats!r}; known formats: xlsx, none")
    wanted = _wanted(call or [], suspects, every=every)
    start = Start(simulated_npu=simulated_npu, faults=tuple(simulated_fault or ()))
    reference: Against = "float32" if against == "float32" else "float64"
    bench = from_home(against) if against not in ("float64", "float32") else None
    with begun(start, _say), Bars(sys.stderr) as progress:
        from acc_compare.replay.run import replay as replay_calls  # torch takes a second

        result = replay_calls(
            dump,
            wanted,
            device=device.value if device is not None else "",
            against=reference,
            bench=bench,
            imports=modules or (),
            each=each,
            progress=progress,
        )
        paths = write_replay(result, out, timestamp=f"{datetime.now():%Y%m%d%H%M%S}", formats=(formats,), lang=language)
    with leaving_with(exit_code(result)):
        if quiet:
            print("".join(text(part, language) for part in summary(result)))
        else:
            print(replay_text(result, lang=language))
            from acc_compare.messages import say

            print(text(say("written"), language))
            for path in paths.all:
                print(f"  {path}")


def exit_code(result: ReplayResult) -> Exit:
    """What a replay comes to."""
    if result.of("confirmed"):
        return Exit.suspect
    return Exit.nothing_suspect if result.of("cleared") else Exit.not_compared


def _say(sentence: str) -> None:
    print(f"acc replay: {sentence}", file=sys.stderr)


def _wanted(names: list[str], suspects: Path | None, *, every: bool) -> Wanted:
    """What is to be made again.  Raises ConfigError where the options contradict each other."""
    if bool(names) + (suspects is not None) + every > 1:
        raise ConfigError("--call, --suspects and --all exclude each other. Give one of them.")
    from acc_compare.replay.wanted import Wanted, read_suspects

    if suspects is not None:
        return Wanted(places=read_suspects(from_home(suspects)))
    return Wanted(tuple(names))
