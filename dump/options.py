"""Options that more than one command has: each is said once."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from .starting import DeviceKind

_HIGHEST_SEED = 2**32 - 1

Seed: TypeAlias = Annotated[
    int | None,
    typer.Option(min=0, max=_HIGHEST_SEED, help="Seed Python, numpy and torch before the script."),
]
Deterministic: TypeAlias = Annotated[bool, typer.Option("--deterministic", help="Ask for deterministic kernels.")]
Device: TypeAlias = Annotated[
    DeviceKind | None,
    typer.Option(help="Where a script written for CUDA runs: npu, cpu (as a bench), cuda. [default: as it says]"),
]
SimulatedNpu: TypeAlias = Annotated[
    bool, typer.Option("--simulated-npu", help="Provide a simulated device 'npu' (CPU kernels).")
]
Module: TypeAlias = Annotated[str | None, typer.Option("-m", metavar="MODULE", help="Run a module, as python -m does.")]
