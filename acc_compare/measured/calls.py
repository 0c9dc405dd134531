"""Measured calls: what the judging works on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from acc_compare import operators
from acc_compare.measured.errors import RESOLUTION, TensorError
from acc_compare.model import PairedCall
from dump.format.names import BACKWARD, CallName, parse
from dump.format.schema import ScalarRecord, TensorRecord

_SAME_NUMBER = 1e-6


class MeasuredArgument(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One tensor of a matched pair of calls with its error; None where it could not be measured.

    `count` is its number of elements, at least 1; `norm` is the larger of |N| and |B| over live elements, 0 where
    unknown; `relative` is |N - B| over that norm, so that it is the same whichever side is called the bench, not below
    what the way of measuring can resolve and exactly 0 for equal tensors; `distance` is |N - B| by the same rule.  All
    are asked for many times, so `of` works them out once.  `rank` is the rank that gave it to a collective.
    """

    name: str
    npu: TensorRecord
    bench: TensorRecord
    error: TensorError | None
    is_floating: bool
    count: int
    norm: float
    relative: float
    distance: float
    rank: int | None = None

    @classmethod
    def of(cls, name: str, npu: TensorRecord, bench: TensorRecord, error: TensorError | None) -> MeasuredArgument:
        norm = relative = distance = 0.0
        if error is not None:
            norm = error.scale if error.scale == error.scale else 0.0
            if error.relative != 0.0:
                known = norm > 0 and math.isfinite(error.distance)
                relative = max(error.distance / norm if known else error.relative, RESOLUTION[error.source])
                distance = relative * norm if norm else error.distance
        return cls(
            name, npu, bench, error, operators.is_floating(npu.dtype), max(1, npu.numel), norm, relative, distance
        )

    @property
    def is_running(self) -> bool:
        """Did a call write it beside its results, as running statistics are?"""
        return self.name.startswith("written.")

    @property
    def rms(self) -> float:
        """The root of the mean square of its elements."""
        return self.norm / math.sqrt(self.count)

    @property
    def extremes(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The largest and the smallest element on the NPU and on the bench side, as far as recorded and finite."""
        return _extremes(self.npu), _extremes(self.bench)

    @property
    def is_at_a_pole(self) -> bool:
        """Has it an infinite element on either side?"""
        ends = (end for side in (self.npu, self.bench) for end in (side.max, side.min))
        return any(isinstance(end, float) and math.isinf(end) for end in ends)

    @property
    def largest_of_both(self) -> float:
        """The largest modulus of an element on either side, as far as recorded and finite; 0 where none is."""
        return max((abs(end) for side in self.extremes for end in side), default=0.0)

    @property
    def largest(self) -> float:
        """The largest modulus of an element on the bench side, as far as it is known."""
        ends = [abs(float(end)) for end in (self.bench.max, self.bench.min) if end is not None]
        return max((end for end in ends if end == end and end != float("inf")), default=0.0)


def place_of_gradient(name: str, shape: Sequence[int], given: Sequence[Sequence[int]]) -> int | None:
    """Which of the tensors of these shapes that a forward call was `given` has the gradient of this `name`, `output.1`;
    None where it cannot be told.

    The one at its place.  But a dump that lists what a node of torch's autograd graph returns has other places, those
    of `addmm`: bias, input, transposed weight; so where the shape is another's, up to the order of dimensions, it is
    the other's.

    >>> place_of_gradient("output.1", (8, 3), [(4, 3), (8, 3), (8,)])
    1
    >>> place_of_gradient("output.2", (3, 8), [(4, 3), (8, 3), (8,)])
    1
    """
    word = name.rpartition(".")[2]
    place = int(word) if word.isdecimal() else -1
    wanted = sorted(shape)
    if 0 <= place < len(given) and sorted(given[place]) == wanted:
        return place
    alike = [number for number, each in enumerate(given) if sorted(each) == wanted]
    if len(alike) == 1:
        return alike[0]
    return place if 0 <= place < len(given) and not alike else None


def finite(value: float | int | None) -> float | None:
    """A recorded number as a float; None where it was not recorded or is NaN or Inf."""
    return float(value) if value is not None and math.isfinite(value) else None


def _extremes(record: TensorRecord) -> tuple[float, ...]:
    ends = (record.max, record.min)
    return tuple(value for end in ends if end is not None and math.isfinite(value := float(end)))


class MeasuredCall(msgspec.Struct, frozen=True, gc=False):
    """A matched pair of calls.  `order` is its place in the NPU side's order of execution, `owner` the module call
    that it ran in there."""

    pair: PairedCall
    name: CallName
    order: int
    read: tuple[MeasuredArgument, ...]
    wrote: tuple[MeasuredArgument, ...]
    owner: str | None = None

    @property
    def full_name(self) -> str:
        assert self.pair.npu is not None
        return self.pair.npu.name

    @property
    def is_backward(self) -> bool:
        return self.name.direction == BACKWARD

    @property
    def is_further_pass(self) -> bool:
        """Is it one more backward pass through a retained graph?  What it reads beside the gradient was saved by the
        forward call and is not on its record."""
        return self.name.prefix == "Autograd" and self.name.api.endswith("_backward")

    @property
    def is_optimizer(self) -> bool:
        return self.name.prefix == "Optimizer"

    @property
    def communicates(self) -> bool:
        """Does it, or what runs inside it, give other ranks anything?"""
        return self.pair.npu is not None and bool(self.pair.npu.collectives)

    @property
    def shown_name(self) -> str:
        """The name for people: that of the fused call where one was laid against several."""
        return self.pair.fused.fused if self.pair.fused is not None else self.full_name

    @property
    def operator(self) -> str:
        """The api's name, or that of what its options make of it; of a module, the name of the functional that its
        class stands for."""
        if self.pair.fused is not None:
            return parse(self.pair.fused.fused).api
        if self.name.is_module:
            return operators.functional_name(self.name.api)
        api = self.name.api
        return operators.variant(api, self.options) if operators.has_variants(api) else api

    @property
    def options(self) -> dict[str, object]:
        """The arguments that are no tensors, by name (`input.dim`)."""
        record = self.pair.npu
        return {} if record is None else {a.name: getattr(a.leaf, "value", None) for a in record.inputs}

    @property
    def has_other_numbers(self) -> bool:
        """Was it called with another number on the one side than on the other?"""
        found = (
            (pair.npu.value, pair.bench.value)
            for pair in self.pair.arguments
            if isinstance(pair.npu, ScalarRecord) and isinstance(pair.bench, ScalarRecord)
        )
        return any(
            isinstance(ours, (int, float))
            and isinstance(theirs, (int, float))
            and not math.isclose(ours, theirs, rel_tol=_SAME_NUMBER)
            for ours, theirs in found
        )

    def floating_inputs(self) -> Iterator[MeasuredArgument]:
        return (argument for argument in self.read if argument.is_floating)

    def reads_other_integers(self) -> bool:
        """Do indices, masks or other non-floating inputs differ?  Then anything may come out."""
        return any(not a.is_floating and a.relative > 0 for a in self.read)


def is_output(name: str) -> bool:
    """Is an argument of that name something that a call writes?"""
    return name.startswith(("output", "written", "parameters_grad"))
