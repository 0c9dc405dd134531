"""Flags of `acc dump` that pick the steps of a recording that stays on (`dump.sampling`)."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Every: TypeAlias = Annotated[int | None, typer.Option(min=1, metavar="N", help="Of the wanted steps every N-th.")]
Budget: TypeAlias = Annotated[
    str | None, typer.Option(metavar="SHARE", help="As many steps as slow the run by no more than this: 5%.")
]
