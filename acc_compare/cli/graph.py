"""`acc graph`: one dump alone as a page."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

GRAPH_HELP = """Show one dump alone as a page: its modules, the values of each call, NaN and Inf, the dataflow.

DUMP is a dump folder, a step, a rank folder or a dump.json. Of several steps or ranks each has a page, and one over all
leads to them. The pages open from disk and fetch nothing.

\b
Examples:
  acc graph npu_dump
  acc graph npu_dump/step0/rank0 -o pages --lang zh
"""


def graph(
    dump: Annotated[Path, typer.Argument(metavar="DUMP", help="The dump to show.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder for the pages.")] = Path("./dump_graph"),
    lang: Annotated[str, typer.Option(help="Language of the pages: en, zh.")] = "en",
) -> None:
    from acc_compare.report.html.dump_page import write_dump_pages
    from acc_compare.report.i18n import known_language

    stamp = datetime.now().strftime("%Y%m%d%H%M%S")
    for path in write_dump_pages(dump, out.expanduser(), stamp=stamp, lang=known_language(lang)):
        print(path)
