"""`acc gather`: the dumps of several nodes in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acc_compare.cli.exit_code import Exit, leaving_with

GATHER_HELP = """Put the dumps that several nodes wrote to their own disks into one folder, to compare them as one job.

Each DIR is what a node wrote (-o of acc dump), as it is mounted or copied here, or a URL. A rank that is there already
is left as it is; two different records of one rank and step are refused.

Exit code: 0 all ranks are there, 1 some are missing, 2 nothing could be gathered.

\b
Examples:
  acc gather node0/npu_dump node1/npu_dump -o npu_dump
  acc gather /mnt/nodes/*/npu_dump -o npu_dump
"""


def gather(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="What the nodes wrote.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="The folder of the whole job.", show_default=False)],
) -> None:
    from acc_compare.gather import gather as gathered_in

    gathered = gathered_in(folders, out)
    with leaving_with(Exit.suspect if any(step.missing for step in gathered.steps) else Exit.nothing_suspect):
        print(f"{out}: {gathered.dumps} dumps copied, {gathered.size:,} bytes")
        for step in gathered.steps:
            told = f"  step {step.step}: {_listed(step.ranks)}"
            print(told + (f"; missing: {_listed(step.missing)}" if step.missing else ""))


def _listed(ranks: tuple[int, ...]) -> str:
    from acc_compare.judge.ranks import ranges

    return f"ranks {ranges(ranks)}" if ranks else "no ranks"
