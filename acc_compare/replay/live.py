"""Calls judged while the run goes on: each operator, shape and dtype a few times, forward and backward.

An observer of a recording (`dump.record.observer`).  References are computed on a thread of their own while the script
waits, so that no mode, hook or graph of the script's sees them; generators are left as they were.
"""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from acc_compare.messages import Message, say
from acc_compare.replay import expected
from acc_compare.replay.arguments import from_contents, load
from acc_compare.replay.calls import FAILED, Recorded, failure, recorded_call
from acc_compare.replay.judge import Case, Counterpart, Sight, judged, unjudged, wanted_target
from acc_compare.replay.names import CannotReplay
from acc_compare.replay.results import Against, ReplayedCall, ReplayedTensor
from dump.environment.numerics import in_force
from dump.format.layout import DumpLocation, find_dumps
from dump.format.names import BACKWARD, FORWARD, forward_name, parse
from dump.format.nested import NestedDump, nested_call, read_nested
from dump.format.schema import NestedCall, TensorRecord
from dump.record.observer import Observer, Reaction, SeenCall

T = TypeVar("T")

_THREAD = "acc-check"
_MOST_LATER = 64
"""So many wrong calls of a step are made again."""

WIDE: Mapping[str, torch.dtype | None] = {"float64": torch.float64, "float32": torch.float32, "cpu": None}
"""In what the reference is computed, by its name; None for the types of the call itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is checked, against what, and what is done about it.

    Of the calls of one operator with the same shapes and dtypes the first `each` are looked at, and then one of
    `every`, 0 for none.  `bench` is the other side's dump, in place of a reference where it `carries`.  `fixes` and
    `loads` pick calls by name or operator: the former get the reference's result, the latter the bench's arguments (all
    without names, none where it is None).  With `ends` the run ends at the first call that is wrong, with `keeps` all
    that was looked at is recorded.
    """

    against: Against = "float64"
    each: int = 3
    every: int = 0
    bench: Path | None = None
    fixes: tuple[str, ...] = ()
    loads: tuple[str, ...] | None = None
    carries: bool = False
    ends: bool = False
    keeps: bool = False


class Sampled(Observer):
    """Looks at the first few calls of each operator, shapes and dtypes, and at one of `every` after that."""

    samples = True

    def __init__(self, each: int, every: int) -> None:
        self._each, self._every = each, every
        self._seen: Counter[Hashable] = Counter()
        self._alone = ThreadPoolExecutor(1, _THREAD)
        self._refused: dict[str, Message] = {}
        self.step: int | None = None
        self.rank: int | None = None
        self.device = "cpu"

    def begins(self, step: int, rank: int | None) -> None:
        self.step, self.rank = step, rank

    def wants(self, name: str, tensors: Sequence[torch.Tensor]) -> bool:
        key = name.rpartition(".")[0].rpartition(".")[0]
        if key in self._refused or not tensors:
            return False
        signature = key, tuple((tensor.dtype, tensor.shape) for tensor in tensors)
        count = self._seen[signature]
        self._seen[signature] += 1
        self.device = tensors[0].device.type
        return count < self._each or (self._every > 0 and count % self._every == 0)

    def refused(self, name: str, reason: Message) -> bool:
        """No call of this operator can be made again; was that news?"""
        key = name.rpartition(".")[0].rpartition(".")[0]
        is_news = key not in self._refused
        self._refused[key] = reason
        return is_news

    def apart(self, act: Callable[[], T]) -> T:
        """Run `act` on a thread that no mode, hook or graph of the script's reaches, while the script waits."""
        with _unheard():
            return self._alone.submit(act).result()


class LiveCheck(Sampled):
    """Judges calls by a reference; `calls` are those looked at so far.

    Raises DumpError for a `bench` that cannot be read.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.each, plan.every)
        self.plan = plan
        self.calls: list[ReplayedCall] = []
        self._open: dict[str, tuple[Case | None, Recorded, ReplayedCall, dict[str, torch.Tensor]]] = {}
        self._later: dict[int, tuple[Sight, Recorded]] = {}
        self._mends: dict[str, torch.Tensor] = {}
        self._locations: tuple[DumpLocation, ...] = () if plan.bench is None else tuple(find_dumps(plan.bench))
        self._bench: NestedDump | None = None
        self._sight = Sight(load=_nowhere)

    def begins(self, step: int, rank: int | None) -> None:
        super().begins(step, rank)
        self.finish()
        numerics = in_force()
        self._sight = Sight(
            load=_nowhere,
            wide=WIDE[self.plan.against],
            lowered=expected.lowered_by(numerics, self.device),
            device_lowered=expected.lowered_by(numerics, self.device),
            step=step,
            rank=rank,
            counterpart=self._counterpart if self.plan.carries else None,
            guest=True,
        )
        self._bench = self._bench_of(step, rank)

    def finish(self) -> None:
        """Make again what was found wrong, now that no backward pass runs: a device's may be waiting for us."""
        self._open.clear()
        later, self._later = self._later, {}
        if later:
            self.apart(lambda: self._make_again(later))

    def _make_again(self, later: Mapping[int, tuple[Sight, Recorded]]) -> None:
        for number, (sight, recorded) in later.items():
            self.calls[number] = self._again(self.calls[number], sight, recorded)

    def wants(self, name: str, tensors: Sequence[torch.Tensor]) -> bool:
        return super().wants(name, tensors) or _picked(self.plan.fixes, name) or self._is_loaded(name)

    def saw(self, call: SeenCall) -> Reaction:
        name = parse(call.name)
        if name.direction not in (FORWARD, BACKWARD):
            return Reaction()
        self._mends = {}
        record = nested_call(call.name, call.body, "the run")
        tensors = {place: from_contents(c) for place, c in call.tensors.items()}
        if name.direction == FORWARD:
            return self.apart(lambda: self._forward(record, tensors))
        return self.apart(lambda: self._backward(record, tensors))

    def loads(self, name: str) -> Mapping[str, torch.Tensor]:
        if self._bench is None or not self._is_loaded(name):
            return {}
        record = self._bench.call(name)
        if record is None:
            return {}
        source = partial(load, self._bench.path)
        found: dict[str, torch.Tensor] = {}
        for place, tensor in expected.read_by(record):
            try:
                found[place] = source(tensor)
            except CannotReplay:  # it has no file
                continue
        return found

    def _is_loaded(self, name: str) -> bool:
        names = self.plan.loads
        return names is not None and (not names or _picked(names, name))

    def mends(self, name: str) -> Mapping[str, torch.Tensor]:
        found, self._mends = self._mends, {}
        return found

    def _forward(self, record: NestedCall, tensors: dict[str, torch.Tensor]) -> Reaction:
        recorded = Recorded(record)
        sight = self._at(tensors)
        case = None
        try:
            wanted_target(recorded)
        except CannotReplay as refused:
            if self.refused(record.name, refused.reason):
                self.calls += unjudged(sight, recorded, refused.reason)
            return Reaction()
        try:
            case = Case(sight, recorded, waits=True)
            found = case.forward()
            if _picked(self.plan.fixes, record.name):
                self._mends = _in_their_types(case.reference.outputs, record)
        except CannotReplay as refused:
            (found,) = unjudged(sight, recorded, refused.reason)
        except (*FAILED, Warning) as error:
            (found,) = unjudged(sight, recorded, failure(error))
        if recorded.follows:
            self._open[record.name] = case, recorded, found, tensors
        return self._told(found, sight, recorded, holds=recorded.follows)

    def _backward(self, record: NestedCall, tensors: dict[str, torch.Tensor]) -> Reaction:
        case, recorded, forward, theirs = self._open.pop(forward_name(record.name), (None, None, None, None))
        if recorded is None or forward is None or theirs is None:
            return Reaction()
        both = Recorded(recorded.forward, record)
        sight = self._at({**theirs, **tensors})
        try:
            if case is None:
                raise CannotReplay(forward.reason or say("replay.reason.no_file"))
            case.sight = sight
            case.builder = both.builder(sight.load)
            found = case.backward(record, forward)
            if _picked(self.plan.fixes, record.name):
                self._mends = _in_their_types(case.reference.gradients, record)
        except CannotReplay as refused:
            found = list(unjudged(sight, both, refused.reason))[1]
        except (*FAILED, Warning) as error:
            found = list(unjudged(sight, both, failure(error)))[1]
        return self._told(found, sight, both, first=recorded.forward.name)

    def _told(
        self, found: ReplayedCall, sight: Sight, recorded: Recorded, *, holds: bool = False, first: str = ""
    ) -> Reaction:
        is_wrong = found.verdict in ("confirmed", "inherited")
        if is_wrong and len(self._later) < _MOST_LATER:
            self._later[len(self.calls)] = sight, recorded
        self.calls.append(found)
        records = is_wrong or self.plan.keeps
        return Reaction(
            records=records,
            with_tensors=records,
            ends=is_wrong and self.plan.ends,
            holds=holds and not records,
            first=first if records else "",
        )

    def _again(self, found: ReplayedCall, sight: Sight, recorded: Recorded) -> ReplayedCall:
        """What is wrong is made again where it was made: is it wrong again?"""
        device = torch.device(sight.recorded_on)
        there = replace(sight, device=device, counterpart=None)
        again = {call.name: call for call in judged(there, recorded)}.get(found.name)
        if again is None or again.reason is not None:
            return found
        made = {tensor.name: tensor for tensor in again.tensors}
        return replace(found, tensors=tuple(_with_replay(tensor, made) for tensor in found.tensors))

    def _at(self, tensors: Mapping[str, torch.Tensor]) -> Sight:
        def source(record: TensorRecord) -> torch.Tensor:
            if record.data_name in tensors and record.data_name is not None:
                return tensors[record.data_name]
            return load(Path(), record)

        return replace(self._sight, load=source, recorded_on=self.device)

    def _counterpart(self, forward: str) -> Counterpart | None:
        if self._bench is None:
            return None
        recorded = recorded_call(self._bench, forward)
        return None if recorded is None else Counterpart(recorded, partial(load, self._bench.path))

    def _bench_of(self, step: int, rank: int | None) -> NestedDump | None:
        """The bench's dump of this step and rank; one alone that knows no step is of all of them."""
        for location in self._locations:
            if location.step in (step, None) and (rank is None or location.rank in (rank, None)):
                return read_nested(location.path)
        return None


def _nowhere(record: TensorRecord) -> torch.Tensor:
    raise CannotReplay(say("replay.reason.no_file"))


def _with_replay(tensor: ReplayedTensor, made: Mapping[str, ReplayedTensor]) -> ReplayedTensor:
    again = made.get(tensor.name)
    return tensor if again is None else replace(tensor, replayed=again.replayed, equal=again.equal)


def _in_their_types(results: Mapping[str, torch.Tensor], call: NestedCall) -> dict[str, torch.Tensor]:
    """A reference's results in the types of the call's own."""
    records = dict(expected.written_by(call))
    return {
        place: result.detach().to(getattr(torch, records[place].dtype.removeprefix("torch.")))
        for place, result in results.items()
        if place in records
    }


@contextmanager
def _unheard() -> Iterator[None]:
    """What our thread warns of meanwhile is not shown; no filter and no registry is touched."""
    shown = warnings.showwarning

    def theirs_alone(*args: Any, **kwargs: Any) -> None:
        if not threading.current_thread().name.startswith(_THREAD):
            shown(*args, **kwargs)

    warnings.showwarning = theirs_alone
    try:
        yield
    finally:
        warnings.showwarning = shown


def _picked(names: Sequence[str], call: str) -> bool:
    """Is `call` one of `names`, or of an operator among them?"""
    return any(call == name or call.startswith(f"{name.rstrip('.')}.") for name in names)
