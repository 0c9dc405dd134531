"""What the stages of a comparison hand to each other: aligned calls, measured pairs, verdicts.

load -> (Dump, Dump) -> align -> Alignment -> metrics -> Measured -> judge -> Finding -> report
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from acc_compare.messages import Message, Value, count, say
from dump.format.schema import CallRecord, Dump, Leaf, Mode

Result: TypeAlias = Literal["pass", "warning", "error", "unmatched"]
Reached: TypeAlias = Literal["Yes", "No", "Unmatched", "N/A"]
Kind: TypeAlias = Literal["operator", "nan_inf", "optimizer", "input", "random", "structure", "dtype"]
VerdictName: TypeAlias = Literal["same", "different", "incomplete"]
Role: TypeAlias = Literal["", "agrees", "introduced", "propagated", "absorbed", "input", "random"]
Basis: TypeAlias = Literal["", "floor", "reference", "peers", "prior", "exact", "before", "inside", "unknown", "finite"]
"""What an expected error rests on: two bench runs, what both sides are off a reference by, the run's other calls,
what is known of the operator beforehand; equality (its inputs are equal, and it does not round); what was seen before,
or inside a module; nothing, where its inputs differ by nobody knows how much; or that its inputs are finite."""
Side: TypeAlias = Literal["npu", "bench", "both", "unclear"]
"""Which side is further off, `both` where they are alike, `unclear` where what was recorded does not tell."""


class PairedArgument(msgspec.Struct, frozen=True, gc=False):
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
    def against(self) -> Message:
        """What it was laid against."""
        side = say("name.bench" if self.on_npu else "name.npu")
        if len(self.members) == 1:
            return say("fused.one", call=self.members[0], side=side)
        calls = count(len(self.members), "call")
        return say("fused.several", calls=calls, side=side, first=self.members[0], last=self.members[-1])


class PairedCall(msgspec.Struct, frozen=True, gc=False):
    """A call on one side with the call that answers to it on the other, None where nothing does: `reason` says why.
    `fused` tells which, where one call was laid against several; `part_of` is the fused call of the other side that a
    call without a partner of its own belongs to."""

    npu: CallRecord | None
    bench: CallRecord | None
    arguments: tuple[PairedArgument, ...]
    reason: Message | None = None
    fused: FusedPair | None = None
    part_of: str = ""


@dataclass(frozen=True, slots=True)
class Alignment:
    """All calls of both sides, in the NPU side's order of execution; bench-only calls stand where they ran.

    `notes` tell how; `differs_in_batches` says that one side accumulates gradients over more micro-batches.
    """

    npu: Dump
    bench: Dump
    pairs: tuple[PairedCall, ...]
    notes: tuple[Message, ...] = ()
    differs_in_batches: bool = False


@dataclass(frozen=True, slots=True)
class ReferenceErrors:
    """The relative L2 errors of one tensor on either side against a reference, and whose their difference is."""

    npu: float
    bench: float
    side: Side


class Row(msgspec.Struct, frozen=True, gc=False):
    """One line of the workbook: one argument of one pair of calls, measured and judged.

    `metrics` maps the columns that apply to their cells.  `expected` and `excess` are those of the localisation,
    `expected_from` says what the first rests on, `origin` is the row's role there, "" where it could not be judged.
    `err_message` tells why the row has its colour.  `module` is the path of the module that the call ran in, "" at the
    top; `bench_module` the bench's, "" where it is the same.  `result` is that of the classic rules; `accused` says
    that a suspect rests on this row.  `reference` tells how far both sides are from a third run, if there is one.
    """

    npu_name: str
    bench_name: str
    npu: Leaf
    bench: Leaf
    metrics: Mapping[str, float | int | str | None]
    result: Result
    reached: Reached | None = None
    err_message: tuple[Message, ...] = ()
    stack: str = ""
    data_name: str = ""
    expected: float | None = None
    excess: float | None = None
    origin: Role = ""
    expected_from: Basis = ""
    of_optimizer: bool = False
    module: str = ""
    bench_module: str = ""
    accused: bool = False
    reference: ReferenceErrors | None = None

    @property
    def outcome(self) -> Result:
        """What is shown: an error too where the constants of the classic rules miss what is accused."""
        return "error" if self.accused else self.result


RegionName: TypeAlias = Literal["last_tile", "rows_after", "channel", "column", "row", "head", "flat_tail", "scattered"]
RelationName: TypeAlias = Literal[
    "zero", "sign", "transposed", "shifted", "permuted", "bfloat16", "float16", "factor", "offset"
]


@dataclass(frozen=True, slots=True)
class Region:
    """Part of a tensor: along `axis` the indices from `start` to before `stop`, of `extent`; `count` elements are off.
    For `flat_tail` the indices count elements in C order; `scattered` is no box: there `start` is the flat index of the
    first element that is off and `stop` that after the last."""

    name: RegionName
    axis: int
    start: int
    stop: int
    extent: int
    count: int

    def box(self, dimensions: int) -> tuple[slice, ...] | None:
        """The region as an index of the tensor; None where it is no box."""
        if self.name in ("flat_tail", "scattered"):
            return None
        return tuple(slice(self.start, self.stop) if a == self.axis else slice(None) for a in range(dimensions))


@dataclass(frozen=True, slots=True)
class Relation:
    """`value` is the factor or the offset, for `shifted` by how much, for `permuted` how many slices moved, for the
    roundings 1 where the elements are off by that one rounding and 0 where by more.  `axes` are those that were
    swapped, shifted along or permuted along."""

    name: RelationName
    value: float = 0.0
    axes: tuple[int, ...] = ()


PatternKind: TypeAlias = Literal["none", "rounding", RelationName, "region"]


@dataclass(frozen=True, slots=True)
class ErrorPattern:
    """What an error looks like.  `kind` is what is done to the elements that are off (`region` where only their place
    has a name, `rounding` where the error is as large as one rounding to the type `dtype`); `place` is where they are,
    None for everywhere; `size` the factor, the offset, or the relative size of the rounding.  `confidence` tells
    whether it was read off the whole tensors or estimated from what was recorded of them.  `relation` has the details
    of a kind, `share` is how many of the elements are off and `extents` the tensor's shape."""

    kind: PatternKind
    place: Region | None = None
    size: float | None = None
    confidence: Literal["measured", "estimated"] = "estimated"
    dtype: str = ""
    relation: Relation | None = None
    share: float = 1.0
    extents: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """For programs: `last_tile: zero`, `factor`, `scattered`, "" where nothing has a name."""
        parts = (self.place.name if self.place is not None else "", self.relation.name if self.relation else "")
        return ": ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Suspect:
    """One origin of error, ready for the advisor.

    `rel_l2` is the relative L2 error of `tensor` (None where only equality is known), `expected` what arithmetic and
    inherited error explain, `excess` their ratio.  `calls` counts the calls of the same operator that introduce error
    alike.  `pattern` is what the error looks like, None where that has no name.  `message` says what happened,
    `evidence` on what grounds, `spread` how far it reaches, `advice` what to try next; `stack` holds the user's source
    lines, innermost first.  `clock` orders suspects of one step: how many collectives came before on any rank, and the
    place among its own calls.  `reference` is as in a row, `row` its name there.
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
    message: Message
    evidence: tuple[Message, ...] = ()
    pattern: ErrorPattern | None = None
    spread: Message | None = None
    advice: tuple[Message, ...] = ()
    stack: tuple[str, ...] = ()
    others: tuple[Value, ...] = ()
    clock: tuple[int, int] = (0, 0)
    reference: ReferenceErrors | None = None
    row: str = ""


@dataclass(frozen=True, slots=True)
class ComparedShare:
    """How much of both sides was compared.  `reasons` pairs an unmatched call with why; `missing` counts, for the side
    that has more of them, the unmatched calls of kinds that both sides recorded and that were not merely run twice.

    >>> ComparedShare(calls=24, tensors=96, unmatched_npu=54, unmatched_bench=0, missing=54).share
    0.3076923076923077
    """

    calls: int
    tensors: int
    unmatched_npu: int
    unmatched_bench: int
    reasons: tuple[tuple[str, Message], ...] = ()
    missing: int = 0

    @property
    def share(self) -> float:
        """The part of the fuller side's calls that was compared, between 0 and 1; 0 of nothing."""
        return self.calls / (self.calls + self.missing) if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What a comparison could have seen: an error of one call, relative to its result, that would have been accused.
    `everywhere` holds for all, `mostly` for nine of ten, `median` for every second; none did for the `blind`."""

    everywhere: float
    mostly: float
    median: float
    weakest: str
    calls: int
    blind: int = 0


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often elements lie in each of equal bins from `low` to `high`, on either side; `bench` is empty where there
    is but one side, as of a difference."""

    low: float
    high: float
    npu: tuple[int, ...]
    bench: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Where in a tensor an error sits: the mean of |N - B| over boxes of the two largest axes, and over all others.

    `axes` are those two (one, where the tensor has no more) and `extents` their extents; `rows` x `columns` boxes in C
    order are one byte each in `levels`: 0 for no difference, 1 to 254 by the logarithm from `low` to `high`, 255 where
    NaN or Inf stands on one side alone.
    """

    axes: tuple[int, ...]
    extents: tuple[int, ...]
    rows: int
    columns: int
    low: float
    high: float
    levels: bytes


@dataclass(frozen=True, slots=True)
class Element:
    """One element of both sides: its index, its values, and its bits in hexadecimal, "" where a side has none."""

    index: tuple[int, ...]
    npu: float
    bench: float | None = None
    npu_bits: str = ""
    bench_bits: str = ""


@dataclass(frozen=True, slots=True)
class TensorPanel:
    """A tensor of whole elements looked at: its row's name, its dtype on either side, and of how many elements how
    many differ and are not finite.

    `values` are the finite elements, `difference` N - B, None where it is zero everywhere; `worst` are the elements
    that differ most (of one side alone, the largest), NaN and Inf that one side has first.  `bits` is for each bit of
    the dtype, the highest first, the share of elements that have it set, on either side.
    """

    name: str
    dtype: str
    bench_dtype: str
    shape: tuple[int, ...]
    elements: int
    different: int
    nonfinite: int
    bench_nonfinite: int
    values: Histogram | None
    difference: Histogram | None
    map: HeatMap | None
    worst: tuple[Element, ...]
    bits: tuple[float, ...] = ()
    bench_bits: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class MadeAgain:
    """What a replay says of one call of the NPU side: `verdict` for programs (`confirmed` ...), `said` in words."""

    call: str
    verdict: str
    said: Message


@dataclass(frozen=True, slots=True)
class Meeting:
    """A collective, as all its ranks tell it: its kind, group, number in the group, ranks, and a message's two ends."""

    kind: str
    group: str
    order: int
    ranks: str
    message: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RunProfile:
    """The error of calls in the order of one run, small enough to keep of a thousand runs: of each stretch of calls the
    one that is furthest off, with its module, its error, what is expected of it, its excess and what the error is to
    the run.  Where it is known, `makers` are the places in `calls` of those that made what a call read, and `meetings`
    the collectives in which it met other ranks."""

    calls: tuple[str, ...]
    modules: tuple[str, ...]
    errors: tuple[float | None, ...]
    expected: tuple[float | None, ...]
    excess: tuple[float | None, ...]
    origins: tuple[Role, ...] = ()
    makers: tuple[tuple[int, ...], ...] = ()
    meetings: tuple[tuple[Meeting, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a comparison came to.  `settings` are those that change results and differ between the sides, `notes` tell
    what was not compared; `worst_excess` is the largest excess of a row, None where none could be judged.  `panels`
    show elements where both dumps have them, `made_again` is what a replay says of calls, `profile` the run in short.
    `sensitivity` is what could have been seen, None where the runs differ, `lowered` the type of one side's products
    throughout, or "", `drift` the worst error of running statistics, `parted` how far parameters were apart when the
    recording began."""

    verdict: VerdictName
    summary: Message
    suspects: tuple[Suspect, ...]
    coverage: ComparedShare
    notes: tuple[Message, ...] = ()
    mode: Mode = "statistics"
    rows: tuple[Row, ...] = field(default=(), repr=False)
    npu_path: str = ""
    bench_path: str = ""
    npu_device: str = ""
    bench_device: str = ""
    step: int | None = None
    rank: int | None = None
    worst_excess: float | None = None
    settings: tuple[Message, ...] = ()
    sensitivity: Sensitivity | None = None
    lowered: str = ""
    drift: float = 0.0
    parted: float = 0.0
    panels: tuple[TensorPanel, ...] = field(default=(), repr=False)
    made_again: tuple[MadeAgain, ...] = field(default=(), repr=False)
    profile: RunProfile | None = field(default=None, repr=False)
