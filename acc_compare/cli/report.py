"""`acc report`: the page of a result that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

REPORT_HELP = """Make the page of a result that acc compare wrote, without the dumps.

RESULT is a folder of results, of which the newest is taken, or one of its files. The page is made from
advisor_<time>.json and the best table beside it (csv, parquet, xlsx), and written beside them.

\b
Examples:
  acc report compare_result
  acc report compare_result --lang zh -o chinese
  acc report compare_result/accuracy_compare/advisor_20260102030405.json
"""


def report(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="What acc compare wrote.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the page. (beside the result)", show_default=False)
    ] = None,
    lang: Annotated[str, typer.Option(help="Language of the page: en, zh.")] = "en",
) -> None:
    from acc_compare.report.written import write_pages

    for path in write_pages(result.expanduser(), out.expanduser() if out is not None else None, lang=lang):
        print(path)
