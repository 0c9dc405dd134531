"""What the stages of a comparison hand to each other: aligned calls, measured pairs, verdicts.

load -> (Dump, Dump) -> align -> Alignment -> metrics -> Measured -> judge -> Finding -> report
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from dump.format.schema import CallRecord, Dump, Leaf

Result: TypeAlias = Literal["pass", "warning", "error", "unmatched"]
Reached: TypeAlias = Literal["Yes", "No", "Unmatched", "N/A"]
Kind: TypeAlias = Literal["operator", "nan_inf", "optimizer", "input", "random", "structure", "dtype"]
VerdictName: TypeAlias = Literal["same", "different", "incomplete"]


class PairedArgument(msgspec.Struct, frozen=True):
    """One argument of a matched call on both sides; a side is None where the call has no such argument.
    `name` is the NPU side's (`input.0`), or the bench's where the NPU has none.  Within a fused pair both names are the
    fused call's, and `npu_full` or `bench_full` says where the argument stands on the side of the composite."""

    name: str
    npu: Leaf
    bench: Leaf
    bench_name: str = ""
    npu_full: str = ""
    bench_full: str = ""


@dataclass(frozen=True, slots=True)
class FusedPair:
    """A fused call that was laid against several plain ones: its full name, theirs in order, and on which side it is.
    The pair's record on the other side bears the name of the last of them."""

    fused: str
    members: tuple[str, ...]
    on_npu: bool

    @property
    def against(self) -> str:
        """What it was laid against, in words."""
        side = "bench" if self.on_npu else "NPU"
        if len(self.members) == 1:
            return f"{self.members[0]} on the {side} side"
        return f"{len(self.members)} calls on the {side} side, {self.members[0]} to {self.members[-1]}"


class PairedCall(msgspec.Struct, frozen=True):
    """A call on one side with the call that answers to it on the other; None where nothing answers."""

    npu: CallRecord | None
    bench: CallRecord | None
    arguments: tuple[PairedArgument, ...]
    reason: str = ""
    """Why a call has no partner, in words for the user; empty for a matched pair."""
    fused: FusedPair | None = None
    """Where one call was laid against several: which."""
    part_of: str = ""
    """The fused call of the other side that a call without a partner of its own belongs to."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """All calls of both sides, in the NPU side's order of execution; bench-only calls stand where they ran.

    `notes` are sentences about how the sides were aligned; `differs_in_batches` says that one side runs more
    micro-batches for an optimizer step than the other (gradient accumulation).
    """

    npu: Dump
    bench: Dump
    pairs: tuple[PairedCall, ...]
    notes: tuple[str, ...] = ()
    differs_in_batches: bool = False


class Row(msgspec.Struct, frozen=True):
    """One line of the workbook: one argument of one pair of calls, measured and judged.

    `metrics` maps a column of results.md to its cell; a column that does not apply is absent.
    `expected` and `excess` are those of the localisation, `expected_from` says what the first rests on; `origin` is the
    role of the row's call there: "introduced", "propagated", "absorbed", "input", "random", "agrees", or "" where it
    could not be judged.
    """

    npu_name: str
    bench_name: str
    npu: Leaf
    bench: Leaf
    metrics: Mapping[str, float | int | str | None]
    result: Result
    reached: Reached | None = None
    err_message: str = ""
    stack: str = ""
    data_name: str = ""
    expected: float | None = None
    excess: float | None = None
    origin: str = ""
    expected_from: str = ""


@dataclass(frozen=True, slots=True)
class Suspect:
    """One origin of error, ready for the advisor.

    `rel_l2` is the relative L2 error of `tensor` (None where only equality is known), `expected` what arithmetic
    and inherited error explain, `excess` their ratio.  `calls` counts the calls of the same operator that
    introduce error alike.  `shape` is the name of the error's shape in real data (`last_tile: zero`), "" where there
    is none.  `evidence`, `shape_of_error`, `spread`, `advice` are plain sentences; `stack` the
    user's source lines, innermost first.
    """

    name: str
    kind: Kind
    step: int | None
    rank: int | None
    module: str
    tensor: str
    rel_l2: float | None
    expected: float | None
    excess: float | None
    calls: int
    message: str
    evidence: tuple[str, ...] = ()
    shape_of_error: str = ""
    spread: str = ""
    advice: tuple[str, ...] = ()
    stack: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of both sides was compared.  `reasons` pairs an unmatched call with why."""

    calls: int
    tensors: int
    unmatched_npu: int
    unmatched_bench: int
    reasons: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a comparison came to.  `settings` are sentences about settings that change results and differ between the
    sides, `notes` are sentences about what was not compared; `worst_excess` is the largest excess of a row, None where
    none could be judged."""

    verdict: VerdictName
    summary: str
    suspects: tuple[Suspect, ...]
    coverage: Coverage
    notes: tuple[str, ...] = ()
    mode: str = "statistics"
    rows: tuple[Row, ...] = field(default=(), repr=False)
    npu_path: str = ""
    bench_path: str = ""
    npu_device: str = ""
    bench_device: str = ""
    step: int | None = None
    rank: int | None = None
    worst_excess: float | None = None
    settings: tuple[str, ...] = ()
