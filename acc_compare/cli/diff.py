"""`acc diff`: one pair of calls in full."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

DIFF_HELP = """Compare two dumps and print one pair of calls in full: all that is known of each argument.

\b
Examples:
  acc diff npu_dump gpu_dump --call Functional.gelu.2.forward
  acc diff npu_dump/step0 gpu_dump/step0 --call Functional.gelu.2.forward --json
"""


def diff(
    npu: Annotated[Path, typer.Argument(metavar="NPU_DIR", help="The dump to judge.", show_default=False)],
    bench: Annotated[Path, typer.Argument(metavar="BENCH_DIR", help="The dump to trust.", show_default=False)],
    call: Annotated[str, typer.Option(metavar="NAME", help="The call, by either side's name.", show_default=False)],
    mapping: Annotated[
        Path | None,
        typer.Option(metavar="MAP.yaml", help="Renamed modules and APIs, fused operators (docs/mapping.md)."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    from acc_compare.comparison import compare
    from acc_compare.report.pair_text import pair_text, pairs_json, pairs_of

    pairs = pairs_of(compare(npu, bench, mapping=mapping, jobs=os.cpu_count() or 1).findings, call)
    print(pairs_json(pairs) if json else "\n".join(pair_text(*pair) for pair in pairs), end="")
