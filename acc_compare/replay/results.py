"""What came of making calls again.  No torch here: reports and the comparison read this.

A call is `confirmed` where its recorded result is further from the reference than its dtype explains, and `cleared`
where it is not.  `cause` says what a confirmed one comes to: the `operator` does it again; on the device of the record
it does not (`elsewhere`: memory, timing, streams or the environment); or it was made again on another device than that
of the record, and right there (`recorded_device`).  A recorded result that is right while the call made again is not
is confirmed too, with the cause `replay`.  A backward call that is wrong after a forward call that is wrong has
`inherited` it (cause `forward`): it reads what its forward kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from acc_compare.messages import Message
from dump.format.errors import DumpCorrupt, DumpNotFound

Judged: TypeAlias = Literal["confirmed", "cleared", "inherited", "not_replayed"]
Cause: TypeAlias = Literal["", "operator", "elsewhere", "recorded_device", "replay", "forward"]
Against: TypeAlias = Literal["float64", "float32", "cpu", "bench"]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far one result is from its reference.

    `relative` is the relative L2 error, for integers and bools the share of elements that differ; `ulp` the largest
    error of an element in units in the last place of its dtype, at the element's magnitude or the tensor's root mean
    square, whichever is larger; None for integers.  `nonfinite` says that NaN or Inf stand where the reference, in the
    result's dtype, has something else.  `wrong` says that it is further off than the dtype explains.
    """

    relative: float
    ulp: float | None
    nonfinite: bool = False
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class ReplayedTensor:
    """One tensor that a call wrote.

    `expected` is the relative error that is normal for it, `limit` the one beyond which it is wrong, `peak` the same
    for the largest error of an element; `equal` says whether record and replay agree to the bit.  `bench` is the other
    side's record against a reference on its own inputs.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    recorded: Accuracy
    replayed: Accuracy | None = None
    bench: Accuracy | None = None
    expected: float = 0.0
    limit: float = 0.0
    peak: float = 0.0
    equal: bool | None = None


@dataclass(frozen=True, slots=True)
class ReplayedCall:
    """One recorded call, forward or backward; `reason` says why it was not made again.  `operator` is its name without
    number and direction, `on_its_device` whether it was made again on the kind of device that it was recorded on,
    `after_wrong` whether it is the backward of a call whose recorded result is wrong."""

    name: str
    operator: str
    step: int | None = None
    rank: int | None = None
    tensors: tuple[ReplayedTensor, ...] = ()
    reason: Message | None = None
    on_its_device: bool = True
    after_wrong: bool = False

    @property
    def worst(self) -> ReplayedTensor | None:
        """The tensor to speak of: one whose record is wrong, by the largest excess; else whose replay is."""
        return max(self.tensors, key=_excess, default=None)

    @property
    def verdict(self) -> Judged:
        if self.reason is not None:
            return "not_replayed"
        return "inherited" if self.cause == "forward" else "confirmed" if self.cause else "cleared"

    @property
    def cause(self) -> Cause:
        recorded = any(tensor.recorded.wrong for tensor in self.tensors)
        replayed = any(tensor.replayed is not None and tensor.replayed.wrong for tensor in self.tensors)
        if recorded and self.after_wrong:
            return "forward"
        if recorded:
            return "operator" if replayed else "elsewhere" if self.on_its_device else "recorded_device"
        return "replay" if replayed else ""


def _excess(tensor: ReplayedTensor) -> tuple[bool, bool, float]:
    replayed = tensor.replayed
    accuracy = replayed if replayed is not None and replayed.wrong and not tensor.recorded.wrong else tensor.recorded
    size = float("inf") if accuracy.nonfinite else accuracy.relative / max(tensor.limit, 1e-30)
    return tensor.recorded.wrong, accuracy.wrong, size


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """All calls of one operator and direction.  `recorded` and `replayed` are the largest relative errors, `ulp` the
    largest of the records."""

    operator: str
    calls: int
    confirmed: int
    inherited: int
    cleared: int
    not_replayed: int
    recorded: float
    replayed: float
    ulp: float
    unequal: int


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """All calls that were asked for, in order of execution.  `device` is where they were made again, `recorded_on` the
    device of the record, `against` the type of the reference, `bench` the other side's dump, "" for none."""

    path: str
    device: str
    recorded_on: str
    against: Against
    calls: tuple[ReplayedCall, ...]
    bench: str = ""

    def of(self, verdict: Judged) -> tuple[ReplayedCall, ...]:
        return tuple(call for call in self.calls if call.verdict == verdict)

    @property
    def rows(self) -> tuple[OperatorRow, ...]:
        """One row an operator and direction: those with confirmed calls first, then by name."""
        groups: dict[str, list[ReplayedCall]] = {}
        for call in self.calls:
            groups.setdefault(f"{call.operator}.{call.name.rpartition('.')[2]}", []).append(call)
        rows = [_row(name, calls) for name, calls in groups.items()]
        return tuple(sorted(rows, key=lambda row: (-row.confirmed, row.operator)))

    @property
    def reasons(self) -> tuple[tuple[Message, int], ...]:
        """Why calls were not made again, the most frequent first."""
        found = Counter(call.reason for call in self.calls if call.reason is not None)
        return tuple(found.most_common())


def _row(name: str, calls: Iterable[ReplayedCall]) -> OperatorRow:
    count = Counter(call.verdict for call in calls)
    tensors = [tensor for call in calls for tensor in call.tensors]
    replayed = [tensor.replayed.relative for tensor in tensors if tensor.replayed is not None]
    return OperatorRow(
        name,
        count.total(),
        count["confirmed"],
        count["inherited"],
        count["cleared"],
        count["not_replayed"],
        max((tensor.recorded.relative for tensor in tensors), default=0.0),
        max(replayed, default=0.0),
        max((tensor.recorded.ulp or 0.0 for tensor in tensors), default=0.0),
        sum(any(tensor.equal is False for tensor in call.tensors) for call in calls),
    )


@dataclass(frozen=True, slots=True)
class Response:
    """By how much one call's result moved (`moved`, relative) where its inputs were moved by `changed`."""

    name: str
    operator: str
    changed: float
    moved: float
    nonfinite: bool = False
    step: int | None = None
    rank: int | None = None

    @property
    def amplification(self) -> float:
        return float("inf") if self.nonfinite else self.moved / self.changed


class KnownVerdict(msgspec.Struct, frozen=True):
    """What the file of an earlier replay says of one call."""

    name: str
    verdict: Judged
    step: int | None = None
    rank: int | None = None
    cause: Cause = ""
    relative: float | None = None
    ulp: float | None = None
    bench_wrong: bool | None = None


class _Document(msgspec.Struct):
    path: str
    against: str
    calls: list[KnownVerdict]


def read_verdicts(path: Path) -> tuple[KnownVerdict, ...]:
    """The calls in a replay_<time>.json.  Raises DumpNotFound where it cannot be read, DumpCorrupt where it is none."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DumpNotFound(f"{path}: cannot be read ({error}). Give the replay_<time>.json of acc replay.") from error
    try:
        return tuple(msgspec.json.decode(data, type=_Document).calls)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DumpCorrupt(f"{path}: expected the replay_<time>.json of acc replay ({error}).") from error
