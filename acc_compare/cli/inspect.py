"""`acc inspect`: what one dump holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

INSPECT_HELP = """Show what a dump holds: steps, ranks, calls by operator, bytes, and whether it is complete.

DUMP is a dump folder, a step, a rank folder or a dump.json. --call shows the record of one call, --tensor the elements
of one tensor that was recorded with --task tensor.

\b
Examples:
  acc inspect npu_dump
  acc inspect npu_dump --json
  acc inspect npu_dump/step0 --call Functional.gelu.2.forward
  acc inspect npu_dump --tensor Functional.gelu.2.forward.output.0
"""


def inspect(
    dump: Annotated[Path, typer.Argument(metavar="DUMP", help="The dump to look into.", show_default=False)],
    call: Annotated[str | None, typer.Option(metavar="NAME", help="Show this call.", show_default=False)] = None,
    tensor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Show the elements of this tensor.", show_default=False)
    ] = None,
    most: Annotated[int, typer.Option("--most", min=0, help="Elements of a tensor to print.")] = 64,
    json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    from acc_compare.report import inspection, inspection_text
    from dump.format.errors import ConfigError

    if call is not None and tensor is not None:
        raise ConfigError("--call and --tensor exclude each other")
    if call is not None:
        calls = inspection.call_contents(dump, call)
        text = inspection_text.as_json(calls) if json else "\n".join(map(inspection_text.call_text, calls))
    elif tensor is not None:
        tensors = inspection.tensor_contents(dump, tensor, most=most)
        text = inspection_text.as_json(tensors) if json else "\n".join(map(inspection_text.tensor_text, tensors))
    else:
        dumps = list(inspection.contents(dump))
        text = inspection_text.as_json(dumps) if json else inspection_text.dumps_text(dumps)
    print(text, end="")
