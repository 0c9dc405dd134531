"""What there is to say of one call that was made again, for the page and the workbook."""

from __future__ import annotations

from collections.abc import Iterator

from acc_compare.messages import Message, Value, listed, say
from acc_compare.replay.results import ReplayedCall, ReplayedTensor, ReplayResult


def place_of(call: ReplayedCall) -> Message | str:
    """` (step 0, rank 1)`, as far as they are known."""
    known = (("step", call.step), ("rank", call.rank))
    parts = [say(f"place.{name}", number=number) for name, number in known if number is not None]
    return say("replay.place", place=listed(parts)) if parts else ""


def cause_of(result: ReplayResult, call: ReplayedCall) -> Message:
    """What a confirmed call comes to."""
    values: dict[str, Value] = {} if call.cause == "forward" else {"device": result.device}
    if call.cause == "recorded_device":
        values["recorded_on"] = result.recorded_on
    return say(f"replay.cause.{call.cause}", **values)


def measured(tensor: ReplayedTensor) -> Message:
    """How far one tensor is off, in the record, made again, and on the bench."""
    return listed(_measured(tensor), by="semicolon")


def _measured(tensor: ReplayedTensor) -> Iterator[Message]:
    recorded, again, bench = tensor.recorded, tensor.replayed, tensor.bench
    if recorded.nonfinite:
        yield say("replay.tensor.nonfinite", tensor=tensor.name)
    elif recorded.ulp is None:
        yield say("replay.tensor.integers", tensor=tensor.name, recorded=recorded.relative)
    elif recorded.wrong:
        yield say(
            "replay.tensor.ulp",
            tensor=tensor.name,
            recorded=recorded.relative,
            ulp=recorded.ulp,
            limit=tensor.limit,
        )
    else:
        yield say("replay.tensor", tensor=tensor.name, recorded=recorded.relative, limit=tensor.limit)
    if again is not None:
        yield say("replay.again.nonfinite") if again.nonfinite else say("replay.again", replayed=again.relative)
    if bench is not None:
        yield say(f"replay.bench.{'wrong' if bench.wrong else 'right'}", bench=bench.relative)
