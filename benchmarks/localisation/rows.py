"""What a row of the benchmark is: two runs of one model, and what a comparison of them should say."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

Sort: TypeAlias = Literal["fired", "marked", "one side", "kind"]
Task: TypeAlias = Literal["statistics", "tensor", "md5"]
Level: TypeAlias = Literal["L1", "mix"]

TASKS: tuple[Task, ...] = ("statistics", "tensor", "md5")
LEVELS: tuple[Level, ...] = ("L1", "mix")
OPERATOR = ("operator", "nan_inf")
# What was changed between two recorded calls can be told as the fault of either, or as an input that differs.
BETWEEN = ("operator", "nan_inf", "input", "structure", "optimizer")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel of the CPU's put behind a wrong one.

    `change` is a name in `launches`, `calls` the operator's calls in the whole run that are hit (None: all), `rank`
    the one that is hit, `within` the autograd node that the call must come from.
    """

    operator: str
    change: str
    value: float = 0.0
    calls: tuple[int, ...] | None = None
    rank: int | None = None
    within: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """How one of the two runs is made.  `variables` are the script's, `simulated` faults of the simulated NPU
    (None: the run is on the CPU), `flags` further ones of `acc dump`."""

    variables: tuple[tuple[str, str], ...] = ()
    kernels: tuple[Kernel, ...] = ()
    simulated: tuple[str, ...] | None = None
    threads: int = 1
    mkldnn: bool = True
    flags: tuple[str, ...] = ()
    ranks: int = 1

    @property
    def key(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Case:
    """One row.  `group` is the class of fault, or of difference between healthy runs.

    `answer` says where the names to be given come from: the calls in which the fault `fired`, the calls that `marked`
    lines of the script make, those that `one side` alone has, or none, where the `kind` alone tells; None for a
    healthy pair.  `kinds` are the kinds that a right suspect may have.  `exact` says that a healthy pair is equal to
    the bit.
    """

    name: str
    model: str
    group: str
    npu: Side
    bench: Side = Side()
    answer: Sort | None = "fired"
    kinds: tuple[str, ...] = OPERATOR
    exact: bool = False

    @property
    def is_healthy(self) -> bool:
        return self.answer is None

    def applies(self, task: Task) -> bool:
        """Checksums can judge only pairs that should be equal to the bit, but for the fault."""
        return task != "md5" or (self.exact if self.is_healthy else self.group != "fused operator")


def variant(name: str) -> tuple[tuple[str, str], ...]:
    return (("VARIANT", name),)
