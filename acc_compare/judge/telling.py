"""An origin in words: what happened, on what grounds, what to try next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dump.format.schema import Dump, ScalarRecord

from ..model import Suspect
from ..report.wording import factor, quantity
from . import arithmetic
from .calls import MeasuredCall
from .roles import Origin

_SETTINGS = 5

LOWER_PRECISION_OFF = (
    "switch TF32 off on a GPU: torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False",
    "switch HF32 off on an NPU: torch_npu.npu.conv.allow_hf32 = torch_npu.npu.matmul.allow_hf32 = False",
    "then record both sides again",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a comparison was made; `command` is what its user typed after `acc compare`."""

    npu: Dump
    step: int | None
    rank: int | None
    mode: str


def message_of(origin: Origin, place: Place) -> str:
    judged, operator = origin.judged, origin.call.operator
    tensor = judged.argument.name
    relative = judged.argument.relative
    if origin.reshaped:
        return _reshaped_message(origin)
    if origin.kind == "input":
        what = f"parameter {origin.parameter}" if origin.parameter else f"{tensor} of {origin.call.full_name}"
        how = "is not the same" if place.mode == "md5" else f"differs by {quantity(relative)} of its size"
        return f"{what} {how} before any recorded operator touched it"
    if origin.kind == "optimizer":
        return (
            f"the parameters differ by {quantity(relative)} at the start of this step although the step before agreed:"
            " the optimizer's update was another"
        )
    if origin.kind == "structure":
        return (
            f"{origin.producer} ran on one side only, and what it made differs by {quantity(relative)} where"
            f" {origin.call.full_name} reads it"
        )
    if origin.kind == "nan_inf":
        kind = "NaN" if judged.argument.error is not None and judged.argument.error.nan else "Inf"
        return f"{tensor} holds {kind} on the NPU side only, all that {operator} read is finite"
    if origin.unseen:
        return _unseen_message(origin, relative)
    if place.mode == "md5":
        return f"everything it read is equal bit by bit, {tensor} is not"
    inputs = "equal" if origin.inherited == 0 else f"agree to {quantity(max(origin.inherited, 1e-12))}"
    expected = judged.expected.relative if judged.expected is not None else 0.0
    if origin.kind == "random":
        return f"its inputs are {inputs}" if inputs == "equal" else f"its inputs {inputs}, what it drew does not"
    dtype = judged.argument.npu.dtype.removeprefix("torch.")
    verb = "are equal" if inputs == "equal" else inputs
    excess = judged.excess or 0.0
    return (
        f"its inputs {verb}, {tensor} differs by {quantity(relative)}: {factor(excess)} times what {dtype} {operator}"
        f" explains ({quantity(expected)})"
    )


def _reshaped_message(origin: Origin) -> str:
    argument = origin.judged.argument
    shapes = f"shape {list(argument.npu.shape)} on the NPU side and {list(argument.bench.shape)} on the bench side"
    if origin.kind == "input":
        what = f"parameter {origin.parameter}" if origin.parameter else f"{argument.name} of {origin.call.full_name}"
        return f"{what} has {shapes}, before any recorded operator touched it"
    return f"{argument.name} has {shapes}, though all that it read has the same shapes"


def _unseen_message(origin: Origin, relative: float) -> str:
    tensor = origin.judged.argument.name
    before = f" and agreed up to {origin.before}" if origin.before else ""
    if origin.producer:
        return (
            f"{tensor} differs by {quantity(relative)}, though {origin.producer} made it alike on both sides: its"
            " memory was overwritten in between"
        )
    node = f" (autograd node {origin.grad_fn})" if origin.grad_fn else ""
    return (
        f"{tensor} differs by {quantity(relative)} when {origin.call.full_name} reads it{before}: an operator that was"
        f" not recorded{node} made the difference in between"
    )


def evidence_of(first: Origin, members: Sequence[Origin]) -> tuple[str, ...]:
    found = []
    judged = first.judged
    if first.call.pair.fused is not None:
        found.append(f"it was laid against {first.call.pair.fused.against}")
    if judged.expected is not None and judged.expected.source == "measured floor":
        found.append(f"two bench runs differ by {quantity(judged.expected.relative)} here")
    error = judged.argument.error
    if error is not None and error.source == "sketch" and first.kind == "operator":
        found.append("measured by the sketch, which is right within about a third")
    if error is not None and error.source == "bound":
        found.append("the dump has no sketch: the true difference is at least this large")
    found += _other_settings(first.call) if first.kind in ("operator", "random") else []
    if first.overwritten_by:
        found.append("calls that wrote to that memory: " + ", ".join(first.overwritten_by))
    count = len({origin.call.full_name for origin in members})
    if count > 1 and first.kind == "operator":
        found.append(f"{count} calls of {first.call.operator} introduce error alike")
    if len(members) > 1 and first.kind == "input":
        found.append("what differs from the start: " + _named([_input_name(origin) for origin in members]))
    return tuple(found)


def _input_name(origin: Origin) -> str:
    return origin.parameter or f"{origin.judged.argument.name} of {origin.call.full_name}"


def _named(names: Sequence[str]) -> str:
    """The first three, and how many more."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - 3} more" if len(distinct) > 3 else ""
    return ", ".join(distinct[:3]) + more


def _other_settings(call: MeasuredCall) -> list[str]:
    """`called with input.4 1e-05 against 1e-06`: numbers and flags that the two sides do not share."""
    differing = [
        f"{pair.name} {pair.npu.value} against {pair.bench.value}"
        for pair in call.pair.arguments
        if isinstance(pair.npu, ScalarRecord)
        and isinstance(pair.bench, ScalarRecord)
        and isinstance(pair.npu.value, (bool, int, float))
        and isinstance(pair.bench.value, (bool, int, float))
        and pair.npu.value != pair.bench.value
    ]
    return [f"called with other settings: {'; '.join(differing[:_SETTINGS])}"] if differing else []


def advice_for(suspect: Suspect, origin: Origin, place: Place) -> tuple[str, ...]:
    call = origin.call.full_name
    forward = call.removesuffix(".backward").removesuffix(".forward")
    if suspect.kind == "input":
        return (
            "start both sides alike: acc dump --seed 1234 --deterministic -s SCRIPT",
            "load the same checkpoint and the same batch on both sides, then record again",
        )
    if suspect.kind == "random":
        return (
            "seed both sides: acc dump --seed 1234 --deterministic -s SCRIPT",
            "generators of two devices differ even then: compare with p=0, or seed_all(rm_dropout=True)",
        )
    if suspect.kind == "optimizer":
        return (
            "compare learning rate, betas, eps and weight decay of both scripts",
            record_more("Optimizer"),
        )
    if suspect.kind == "structure":
        return ("find out why this call is made on one side only (a fused operator, a branch, a version)",)
    if origin.unseen:
        return (
            f"look at the lines of the model between {origin.before or 'the start'} and {call}",
            "record modules too: acc dump --level mix -s SCRIPT",
        )
    if "TF32" in suspect.shape_of_error and arithmetic.operator_class(origin.call.operator) == "contraction":
        return ("if all products may be off alike, first switch the lower precision off:", *LOWER_PRECISION_OFF)
    if place.mode == "tensor":
        return (
            f"run {origin.call.operator} alone on the CPU in float64 with the recorded inputs of {call}",
            "replace it on the NPU by its composite of simpler operators and record again",
        )
    return (f"on both sides, {record_more(forward)}", "then compare the two: acc compare NPU_DIR BENCH_DIR")


def record_more(name: str) -> str:
    return f"record the whole tensors of this call: acc dump --task tensor -s --list {name} SCRIPT"
