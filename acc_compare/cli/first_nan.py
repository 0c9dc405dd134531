"""`acc nan`: arguments to one call to one exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acc_compare.cli.exit_code import Exit, leaving_with
from dump.format.paths import from_home

NAN_HELP = """Name the first call that read finite numbers and wrote NaN or Inf: one dump, no bench.

All steps and ranks of DUMP are looked through in order, and collectives followed between ranks; statistics are enough.
An Inf that was asked for, as in a mask, is none. Told besides: what the call read, the largest numbers on the way to it
and in the steps before, how far they were from the largest of their type, and where NaN or Inf vanished again.

Exit code: 0 all is finite, 1 there is such a call, 2 the dump cannot be read, or has no end.

\b
Examples:
  acc nan npu_dump
  acc nan npu_dump --lang zh
  acc nan npu_dump --json
"""


def nan(
    dump: Annotated[Path, typer.Argument(metavar="DUMP", help="A dump of one run.", show_default=False)],
    lang: Annotated[str, typer.Option(help="Language of the text: en, zh.")] = "en",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    from acc_compare.first_nan import first_nan
    from acc_compare.report.first_nan import nan_json, nan_text
    from acc_compare.report.i18n import known_language

    language = known_language(lang)
    report = first_nan(from_home(dump))
    unread = Exit.nothing_suspect if report.incomplete is None else Exit.not_compared
    with leaving_with(Exit.suspect if report.origins else unread):
        print(nan_json(report) if as_json else nan_text(report, lang=language).rstrip())
