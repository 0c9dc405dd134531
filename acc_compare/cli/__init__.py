"""The root `acc` command, and `acc compare`: arguments to one call to one exit code.

Nothing here imports torch, pandas or openpyxl before a command needs it, so that `acc --help` is quick.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acc_compare.cli.check import add_to as add_check_command
from acc_compare.cli.check import make_check
from acc_compare.cli.diff import DIFF_HELP, diff
from acc_compare.cli.exit_code import EXITS, leaving_with
from acc_compare.cli.gather import GATHER_HELP, gather
from acc_compare.cli.graph import GRAPH_HELP, graph
from acc_compare.cli.help_language import asked_language, chinese_frame, in_chinese, shows_help
from acc_compare.cli.inspect import INSPECT_HELP, inspect
from acc_compare.cli.monitor import add_to as add_monitor_commands
from acc_compare.cli.progress import Bars
from acc_compare.cli.replay import add_to as add_replay_commands
from acc_compare.cli.report import REPORT_HELP, report
from acc_compare.cli.serve import SERVE_HELP, serve
from acc_compare.cli.spellings import in_our_words
from dump import cli as dump_cli
from dump.format.errors import ConfigError

if TYPE_CHECKING:
    from acc_compare.comparison import Comparison
    from acc_compare.report.messages import Lang
    from acc_compare.report.write import ReportPaths


ROOT_HELP = """Record PyTorch runs on NPU, GPU or CPU, compare two records, and name the operator at fault.

\b
  acc dump --task statistics -s train.py        on each machine
  acc compare npu_dump gpu_dump                 anywhere
  acc replay npu_tensors --call NAME            is it this operator?  against float64
  acc check train.py                            one machine, no bench
"""

COMPARE_HELP = """Compare an NPU dump with a bench dump and name the operator at fault.

Each argument is a dump folder, a step, a rank folder or a dump.json, here or at a URL (s3://bucket/run, ssh://host/run;
needs fsspec and what knows the place). Dumps that msprobe wrote are read too. Written to
OUT/accuracy_compare: compare_result_<time>.xlsx and .html (a page to look at, in one file), advisor_<time>.txt,
advisor_<time>.json. Two folders with several steps or ranks are compared pair by pair; overview_<time>.xlsx and .html
tell where it went wrong, and --each adds the tables of each pair. A table of more than 10,000 rows goes to parquet (csv
without pyarrow) beside a workbook of the rows that matter.

Exit code: 0 SAME, 1 DIFFERENT, 2 INCOMPLETE (too little was compared to say) or no comparison could be made.

\b
Examples:
  acc compare npu_dump gpu_dump
  acc compare npu_dump/step0 gpu_dump/step0 -o results
  acc compare npu_dump gpu_dump --floor gpu_dump_again     a second bench run shows what is normal
  acc compare npu_dump gpu_dump --reference gpu_float32    both in bfloat16: which of the two is further off
  acc compare npu_dump gpu_dump --format xlsx,csv
  acc compare npu_dump gpu_dump --lang zh                  the advisor in Chinese
  acc compare npu_dump gpu_dump --each -j 8                a workbook for each step and rank, eight cores
  acc compare npu_dump gpu_dump --tensorboard board        then: tensorboard --logdir board
  acc compare npu_dump gpu_dump --mapping map.yaml         modules or operators go by other names
"""


def compare(
    npu: Annotated[Path, typer.Argument(metavar="NPU_DIR", help="The dump to judge.", show_default=False)],
    bench: Annotated[Path, typer.Argument(metavar="BENCH_DIR", help="The dump to trust.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="Where the reports go.")] = Path("./compare_result"),
    floor: Annotated[
        Path | None,
        typer.Option(metavar="BENCH2", help="A second bench run: its distance from the first is normal."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="REF", help="A run in a wider type (float32): tells which side is further off."),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(metavar="MAP.yaml", help="Renamed modules and APIs, fused operators (docs/mapping.md)."),
    ] = None,
    layout: Annotated[
        Path | None,
        typer.Option(metavar="LAYOUT.yaml", help="How tensors are cut among ranks (docs/comparing.md)."),
    ] = None,
    fuzzy: Annotated[bool, typer.Option("--fuzzy", help="Pair left-over calls by the operator alone.")] = False,
    replayed: Annotated[
        Path | None,
        typer.Option(
            "--replay", metavar="REPLAY.json", help="What acc replay said: suspects are confirmed or cleared."
        ),
    ] = None,
    formats: Annotated[str, typer.Option("--format", help="Tables to write: xlsx, csv, parquet.")] = "xlsx",
    html: Annotated[bool, typer.Option("--html/--no-html", help="Write the page too.")] = True,
    board: Annotated[
        Path | None,
        typer.Option(
            "--tensorboard",
            metavar="DIR",
            help="Write error by step and module, and the graph, as TensorBoard's events.",
            show_default=False,
        ),
    ] = None,
    lang: Annotated[str, typer.Option(help="Language of the advisor's text and the page: en, zh.")] = "en",
    each: Annotated[
        bool, typer.Option("--each", help="Of several steps or ranks, write the table of each too.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option("-j", "--jobs", metavar="N", min=1, help="Cores to use. (all)", show_default=False),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Dask scheduler whose workers compare the ranks, tcp://host:8786.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print the verdict's line only.")] = False,
) -> None:
    from acc_compare.comparison import compare as compare_dumps
    from acc_compare.messages import say
    from acc_compare.report.advisor import advisor_text
    from acc_compare.report.i18n import known_language, text
    from acc_compare.report.overview_text import overview_text
    from acc_compare.report.tensorboard import require_tensorboard, write_tensorboard
    from acc_compare.report.terminal import is_coloured, suspects_table
    from acc_compare.report.wrapping import WIDTH

    language = known_language(lang)
    chosen = _chosen(formats, html=html)
    if board is not None:
        require_tensorboard()
    with Bars(sys.stderr) as progress:
        comparison = compare_dumps(
            npu,
            bench,
            floor=floor,
            reference=reference,
            mapping=mapping,
            fuzzy=fuzzy,
            replayed=replayed,
            progress=progress,
            jobs=jobs or _cores(),
            keep_rows=each or board is not None,
            scheduler=scheduler,
            layout=layout,
        )
        _refuse_empty(comparison)
        progress("reports", 0, 0)
        paths = comparison.write(out, formats=chosen, lang=language, each=each)
        runs = write_tensorboard(comparison.findings, board.expanduser()) if board is not None else ()
    with leaving_with(EXITS[comparison.verdict]):
        if quiet:
            print(text(say("verdict", verdict=say(f"verdict.{comparison.verdict}")), language), end="")
            print(comparison.summary(language))
        else:
            width = _terminal_width()
            if width is not None:
                colour = is_coloured(sys.stdout, os.environ.get("NO_COLOR"))
                print(suspects_table(comparison.overall, width=width, lang=language, colour=colour))
            print(advisor_text(comparison.overall, lang=language, width=min(WIDTH, width or WIDTH)))
            if len(comparison.findings) > 1:
                print(overview_text(comparison.findings))
            _tell_files(paths, language)
            for run in runs:
                print(f"  {run}")


def _terminal_width() -> int | None:
    """Columns of the terminal that is written to; None for a file or a pipe."""
    return max(40, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def _cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def _chosen(formats: str, *, html: bool) -> tuple[str, ...]:
    """The names in `--format`, refused before the work begins, and the page unless it is unwanted."""
    from acc_compare.report.write import known_formats
    from dump.format.errors import ConfigError

    chosen = tuple(part.strip() for part in formats.split(",") if part.strip())
    unknown = [name for name in chosen if name not in known_formats()]
    if unknown:
        raise ConfigError(f"--format: unknown format {unknown[0]!r}; known formats: {', '.join(known_formats())}")
    return (*chosen, *(("html",) if html and "html" not in chosen else ()))


def _refuse_empty(comparison: Comparison) -> None:
    from dump.format.errors import IncomparableError

    if comparison.overall.coverage.calls == 0:
        raise IncomparableError(
            "no call of one side answers to a call of the other, so nothing can be compared. Check that both dumps are"
            " of the same model and level."
        )


def _tell_files(paths: ReportPaths, lang: Lang) -> None:
    from acc_compare.messages import say
    from acc_compare.report.i18n import text

    print(text(say("written"), lang))
    for path in (*paths.overviews, *paths.tables, paths.advisor_text, paths.advisor_json):
        print(f"  {path}")


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=dump_cli.tell_version),
    ] = False,
) -> None:
    """What all commands share: nothing but an answer to `--version`."""


def make_app() -> typer.Typer:
    """The `acc` command with its subcommands."""
    app = typer.Typer(
        help=ROOT_HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    dump_cli.add_to(app, "dump", checking=make_check)
    monitor = dump_cli.monitor_app()
    add_monitor_commands(monitor)
    app.add_typer(monitor, name="monitor")
    app.command("compare", help=COMPARE_HELP)(compare)
    add_replay_commands(app)
    add_check_command(app)
    app.command("report", help=REPORT_HELP)(report)
    app.command("graph", help=GRAPH_HELP)(graph)
    app.command("serve", help=SERVE_HELP)(serve)
    app.command("inspect", help=INSPECT_HELP)(inspect)
    app.command("diff", help=DIFF_HELP)(diff)
    app.command("gather", help=GATHER_HELP)(gather)
    dump_cli.add_environment_to(app)
    return app


def main(arguments: list[str] | None = None) -> int:
    """The console script `acc`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names in a dump may hold what the terminal cannot show
    given = sys.argv[1:] if arguments is None else arguments
    try:
        ours = in_our_words(given)
    except ConfigError as error:
        print(f"acc: error: {error}", file=sys.stderr)
        return 2
    lang, ours = asked_language(ours, os.environ)
    if lang == "en" or not (shows_help(ours) or not ours):
        return dump_cli.guarded(make_app(), ours, name="acc")
    with chinese_frame():
        return dump_cli.guarded(make_app(), ours, name="acc", prepare=in_chinese)
