"""What the walk hands on: the verdict on a tensor, the origins of error, and what it knows besides the calls."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from acc_compare.judge.dataflow import Flow
from acc_compare.judge.noise import Noise
from acc_compare.judge.systematic import Shift
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.model import Basis, Kind, ReferenceErrors, Role
from dump.format.schema import TensorRecord

SUSPICIOUS = 10.0
"""Where nothing says how noise scatters (a floor of two runs, gradients between backward and the optimizer), what is
this many times over what is expected is an origin."""

INPUT_NOISE = 1e-6
"""Relative error that tensors may show anywhere: some ten roundings of float32."""

UNSEEN = 20.0
"""Error that came out of calls which nobody recorded may be this many times what was seen before them."""

SPREAD = 8
"""Over so many elements at least is spread what error grows from that shows nowhere, such as that of a head's biases:
of n such errors norm, mean and extremes of a result show the sqrt(n)th part."""

Previous: TypeAlias = Literal["none", "judged", "unjudged", "suspect", "poisoned"]
"""The step before this one: not compared; compared with its optimizer; compared without it; found different, so that
whatever this step starts from may differ; or full of NaN or Inf, so that nothing in this step can begin anew."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The relative error that a tensor shows typically, the one beyond which it is improbable, and what both rest on.
    `shift` is a channel of systematic error that is improbable, None where none is."""

    relative: float
    limit: float
    basis: Basis
    shift: Shift | None = None

    @classmethod
    def at_most(cls, relative: float, basis: Basis) -> Expected:
        """What is expected where nothing says how it scatters."""
        return cls(relative, SUSPICIOUS * relative, basis)


class Judged(msgspec.Struct, frozen=True, gc=False):
    """One tensor with its verdict."""

    argument: MeasuredArgument
    role: Role
    expected: Expected | None = None

    @property
    def excess(self) -> float | None:
        """How many times what is typical."""
        if self.expected is None or self.argument.error is None:
            return None
        return ratio(self.argument.relative, self.expected.relative)

    @property
    def beyond(self) -> float:
        """How many times what is improbable: of origins in one call, the largest is told."""
        if self.expected is None or self.argument.error is None:
            return 0.0
        shift = self.expected.shift.deviations if self.expected.shift is not None else 0.0
        return max(ratio(self.argument.relative, self.expected.limit), shift / 5)


class MadeAlone(NamedTuple):
    """A value that a call of one side alone made, with its module and stack; `read` is the largest relative error of
    what went into it."""

    call: str
    module: str
    stack: tuple[str, ...]
    read: float


@dataclass(frozen=True, slots=True)
class Origin:
    """A call where error begins, at one of its tensors. `before` names the last call that agreed, for an origin that
    was not seen itself; `grad_fn` its autograd node where known; `producer` a call whose result was overwritten;
    `reshaped` says that shapes differ and not values, `rewired` names the bench's maker of an input that `producer`
    made on the NPU side (`unseen`: the place where each was read before), `maker` a call that was not compared and
    made what is off, `first_seen` is the place of the call inside a module that read what was wrong, `lone` the
    side that alone ran `producer`, or on which alone that gave the gradient `handed`, `earlier` what `producer`
    made in the step before, `since` that where a parameter is not what the optimizer `before` left, `trained` the
    one whose optimizer alone moves a parameter, `summed` the backward calls that a gradient is the sum of on either
    side, `row` the call whose rows show it where its own do not."""

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
    first_seen: int | None = None
    maker: str = ""
    lone: Literal["", "npu", "bench"] = ""
    handed: str = ""
    earlier: MadeAlone | None = None
    since: Literal["", "npu", "bench"] = ""
    trained: Literal["", "npu", "bench"] = ""
    summed: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    row: str = ""


Lone: TypeAlias = tuple[str, Literal["npu", "bench"]]
"""A call that one side alone ran, and the side."""

SIDES: tuple[Literal["npu", "bench"], Literal["npu", "bench"]] = ("npu", "bench")


@dataclass(slots=True)
class Walk:
    """What the walk found: the noise of the run, the type that one side lowers all products to ("" for none), how far
    parameters were apart as the recording begins, origins in order, and the verdict on every tensor, by call and
    argument name."""

    noise: Noise
    lowered: str = ""
    parted: float = 0.0
    origins: list[Origin] = field(default_factory=list)
    judged: dict[tuple[str, str], Judged] = field(default_factory=dict)


class Left(NamedTuple):
    """A parameter as `optimizer` left it on either side."""

    optimizer: str
    npu: TensorRecord
    bench: TensorRecord


class Leavings(NamedTuple):
    """What a step leaves to the next: by name the parameters as its optimizers left them, `held`, a mark of each tensor
    that differed between the sides (`since.mark_of`), and `alone`, by side and numbers, what calls of that side alone
    made."""

    parameters: Mapping[str, Left] = {}
    held: frozenset[bytes] = frozenset()
    alone: Mapping[Hashable, MadeAlone] = {}


@dataclass(frozen=True, slots=True)
class Context:
    """What is known besides the calls: both dumps' dataflow, which call answers to which, the step, whether the step
    before was compared and its optimizer judged, the measured floor of each tensor, whether the same tool recorded
    both sides, and what error is normal in this run.  `other_world` says that the sides ran on different numbers of
    ranks; then `unmeasured` names calls of which no result could be compared.  `lowered` is the type that products were
    found to be computed in on one side in an earlier step, `parted` how far parameters were apart when the recording
    began, in this or an earlier step, 0 where they were not, `references` how far both sides are from a third run,
    `drift` the largest relative error of what calls of the step before wrote beside their results, `unheld` that of
    parameters which an optimizer updates and no call is known to have read, `left` what the step before left,
    `told_otherwise` names calls in which a setting shows, on sides that compute alike to the bit."""

    npu: Flow
    bench: Flow
    step: int | None = None
    previous: Previous = "none"
    partner: Mapping[str, str] = field(default_factory=dict)
    answered: frozenset[str] = frozenset()
    floor: Mapping[tuple[str, str], float] = field(default_factory=dict)
    one_recorder: bool = True
    noise: Noise | None = None
    other_world: bool = False
    unmeasured: frozenset[str] = frozenset()
    lowered: str = ""
    drift: float = 0.0
    unheld: float = 0.0
    parted: float = 0.0
    references: Mapping[tuple[str, str], ReferenceErrors] = field(default_factory=dict)
    left: Leavings = field(default_factory=Leavings)
    told_otherwise: frozenset[str] = frozenset()


@dataclass(slots=True)
class Seen:
    """What the walk has met so far: the largest error, the last call that agreed, whether NaN or Inf have appeared
    (they reach where no dataflow shows them: indices, masks), and whether shapes have begun to differ; `inside` is the
    largest error of the modules inside the one at hand, `around` the largest that a function of the module around it
    may have read, Inf where nobody knows, `decided` are the values of indices and masks that were chosen
    by what differed, `began_in` the calls in whose results error began, `given` where what no call made was first read,
    by side and value, of what agreed."""

    worst: float = 0.0
    last_agreeing: str = ""
    nonfinite: bool = False
    reshaped: bool = False
    inside: float = 0.0
    around: float = math.inf
    decided: set[Hashable] = field(default_factory=set)
    began_in: set[str] = field(default_factory=set)
    given: dict[tuple[str, Hashable], str] = field(default_factory=dict)


def ratio(measured: float, expected: float) -> float:
    """measured / expected; 0 where nothing was measured, inf where anything is too much."""
    if measured == 0 or math.isinf(expected):
        return 0.0
    return math.inf if expected == 0 else measured / expected


def largest_error(arguments: Sequence[MeasuredArgument]) -> float:
    """The largest relative error among them, 0 of none."""
    return max([argument.relative for argument in arguments], default=0.0)
