"""Looking at calls while a script runs: what `acc dump` is asked for, and who does it.

References and rules are the comparison's, of which nothing here knows: whoever makes the command hands in what makes a
`Check` from `CheckOptions` (docs/decisions/live_reference.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

import typer

from ..format.errors import ConfigError

if TYPE_CHECKING:
    from ..record.observer import Observer


class Perturbation(str, Enum):
    bit = "bit"
    noise = "noise"
    upcast = "upcast"


Against: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="cpu|float64|BENCH_DUMP",
        help="Judge calls while the script runs by the CPU, by float64, or by the bench's dump with tensors.",
    ),
]
Each: TypeAlias = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Judge so many calls of each operator, shape, dtype. [default: 3]"),
]
Every: TypeAlias = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="And after these every N-th. [default: none]")
]
Fix: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Put the reference's result in place of this call's or operator's; repeatable."),
]
Stop: TypeAlias = Annotated[bool, typer.Option("--stop", help="End the script at the first call that is wrong.")]
Load: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="BENCH_DUMP", help="Take the inputs of calls from the bench's dump.")
]
Calls: TypeAlias = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Of these calls or operators alone (with --load); repeatable.")
]
Perturb: TypeAlias = Annotated[
    Perturbation | None,
    typer.Option(help="No reference: by how much does a change of its inputs move each operator's result?"),
]
StopAtNan: TypeAlias = Annotated[
    bool,
    typer.Option("--stop-at-nan", help="End the script where finite numbers become NaN or Inf; keep what was read."),
]


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What is asked for on the command line; `against` is "" where calls are not judged by a reference."""

    against: str = ""
    each: int = 3
    every: int = 0
    fix: tuple[str, ...] = ()
    stop: bool = False
    load: Path | None = None
    calls: tuple[str, ...] = ()
    perturb: str = ""
    stop_at_nan: bool = False
    keep: bool = False


class Check(Protocol):
    """What looks at calls, and tells what came of it."""

    @property
    def observer(self) -> Observer: ...

    @property
    def samples(self) -> bool:
        """Does it look at a sample of the calls, and record only what is wrong?"""

    def outcome(self, dump: Path, status: int) -> int:
        """Tell, and write reports beside `dump`; the exit code, where the script's own was `status`."""


Checks: TypeAlias = "Callable[[CheckOptions], Check]"


def asked_for(
    against: str | None,
    each: int | None,
    every: int | None,
    fix: list[str] | None,
    load: Path | None,
    calls: list[str] | None,
    perturb: Perturbation | None,
    *,
    stop: bool,
    stop_at_nan: bool,
    keep: bool = False,
) -> CheckOptions | None:
    """The options together; None where no check is asked for.  Raises ConfigError where they contradict each other."""
    if sum((against is not None or load is not None, perturb is not None, stop_at_nan)) > 1:
        raise ConfigError("--against, --perturb and --stop-at-nan exclude each other. Give one of them.")
    if calls and load is None:
        raise ConfigError("--calls: names the calls that --load BENCH_DUMP is for.")
    judges = against is not None or load is not None
    if (fix or stop) and not judges:
        raise ConfigError("--fix and --stop need a reference: --against float64.")
    if not judges and perturb is None and not stop_at_nan:
        if each is not None or every is not None:
            raise ConfigError("--each and --every: say how many calls are judged; --against float64 judges them.")
        return None
    return CheckOptions(
        against or ("float64" if judges else ""),
        3 if each is None else each,
        every or 0,
        tuple(fix or ()),
        stop,
        load,
        tuple(calls or ()),
        "" if perturb is None else perturb.value,
        stop_at_nan,
        keep,
    )


def made(options: CheckOptions | None, checks: Any) -> Check | None:
    """Who does it.  Raises ConfigError where the command was made without such, and what they raise."""
    if options is None:
        return None
    if not callable(checks):
        raise ConfigError("--against, --perturb, --stop-at-nan: python -m dump has no references; use acc dump.")
    check: Check = checks(options)
    return check
