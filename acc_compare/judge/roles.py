"""What the walk hands on: the verdict on a tensor, the origins of error, and what it knows besides the calls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import msgspec

from ..model import Kind
from .calls import MeasuredArgument, MeasuredCall
from .expected import Expected
from .flow import Flow

SUSPICIOUS = 10.0
"""An output this many times over what is expected is an origin.  The bounds are lenient already; a factor of ten more
keeps healthy runs silent."""

INPUT_NOISE = 1e-6
"""Relative error that tensors may show anywhere: some ten roundings of float32."""

UNSEEN = 20.0
"""Error that came out of calls which nobody recorded may be this many times what was seen before them."""

Previous: TypeAlias = Literal["none", "judged", "unjudged", "suspect", "poisoned"]
"""The step before this one: not compared; compared with its optimizer; compared without it; found different, so that
whatever this step starts from may differ; or full of NaN or Inf, so that nothing in this step can begin anew."""


class Judged(msgspec.Struct, frozen=True):
    """One tensor with its verdict: `role` is introduced, propagated, absorbed, agrees, input, random or ""."""

    argument: MeasuredArgument
    role: str
    expected: Expected | None = None

    @property
    def excess(self) -> float | None:
        if self.expected is None or self.argument.error is None:
            return None
        return ratio(self.argument.relative, self.expected.relative)


@dataclass(frozen=True, slots=True)
class Origin:
    """A call where error begins, at one of its tensors.  `before` names the last call that agreed, for an origin that
    was not seen itself; `grad_fn` its autograd node where known; `producer` a call whose result was overwritten;
    `reshaped` says that shapes differ and not values, `rewired` names the bench's
    maker of an input that `producer` made on the NPU side."""

    kind: Kind
    call: MeasuredCall
    judged: Judged
    inherited: float
    unseen: bool = False
    before: str = ""
    grad_fn: str = ""
    parameter: str = ""
    producer: str = ""
    overwritten_by: tuple[str, ...] = ()
    reshaped: bool = False
    rewired: str = ""


@dataclass(slots=True)
class Walk:
    """What the walk found: origins in order, and the verdict on every tensor, by call and argument name."""

    origins: list[Origin] = field(default_factory=list)
    judged: dict[tuple[str, str], Judged] = field(default_factory=dict)


class Sharpener(Protocol):
    """What knows better than arithmetic how much a call may show (`kin.Kin`)."""

    def sharpened(self, call: MeasuredCall, out: MeasuredArgument, expected: Expected) -> Expected: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What is known besides the calls: both dumps' dataflow, which call answers to which, the step, whether the step
    before was compared and its optimizer judged, the measured floor of each tensor, whether the same tool recorded
    both sides, and what calls of the same kind show."""

    npu: Flow
    bench: Flow
    step: int | None = None
    previous: Previous = "none"
    partner: Mapping[str, str] = field(default_factory=dict)
    answered: frozenset[str] = frozenset()
    floor: Mapping[tuple[str, str], float] = field(default_factory=dict)
    one_recorder: bool = True
    kin: Sharpener | None = None


@dataclass(slots=True)
class Seen:
    """What the walk has met so far: the largest error, the last call that agreed, whether NaN or Inf have appeared
    (they reach where no dataflow shows them: indices, masks), and whether shapes have begun to differ; `inside` is the
    largest error of the modules inside the one at hand."""

    worst: float = 0.0
    last_agreeing: str = ""
    poisoned: bool = False
    reshaped: bool = False
    inside: float = 0.0


def ratio(measured: float, expected: float) -> float:
    """measured / expected; 0 where nothing was measured, inf where anything is too much."""
    if measured == 0 or math.isinf(expected):
        return 0.0
    return math.inf if expected == 0 else measured / expected


def largest_error(arguments: Sequence[MeasuredArgument]) -> float:
    """The largest relative error among them, 0 of none."""
    return max([argument.relative for argument in arguments], default=0.0)
