"""Flags of `acc dump` that say how much is recorded: up to where (`dump.write.limits`), and which steps of a recording
that stays on (`dump.sampling`)."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

MaxBytes: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Write no more than this, each rank: 500MB, 2GB, 1GiB. Cuts a step short."),
]
MaxSteps: TypeAlias = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Record this many steps; without --step, the first ones.")
]
Every: TypeAlias = Annotated[int | None, typer.Option(min=1, metavar="N", help="Of the wanted steps every N-th.")]
Budget: TypeAlias = Annotated[
    str | None, typer.Option(metavar="SHARE", help="As many steps as slow the run by no more than this: 5%.")
]
