"""The differences between msprobe's records and ours that are known, each with its reason.

Anything else that differs is a fault, and the comparison fails.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from benchmarks.parity.agreement import Difference


@dataclass(frozen=True, slots=True)
class KnownDifference:
    """A difference within calls that both record."""

    title: str
    why: str
    covers: Callable[[Difference], bool]


@dataclass(frozen=True, slots=True)
class KnownGap:
    """Calls that one side alone records.  `covers(call, low_risk)`: `low_risk` are calls that msprobe records when
    its config asks for risk_level ALL."""

    title: str
    covers: Callable[[str, Collection[str]], bool]


# Functions whose backward is several autograd nodes, or that msprobe's own module hooks stand in the way of.
_SEVERAL_NODES = ("Functional.linear.", "Torch.matmul.", "Functional.cross_entropy.", "Functional.relu.")

# The elementwise steps of torch.optim.AdamW, which msprobe records one by one.
_OPTIMIZER_STEPS = tuple(
    f"Tensor.{name}." for name in "__iadd__ mul_ lerp_ addcmul_ sqrt __truediv__ add_ addcdiv_".split()
)

_BEFORE_IN_PLACE = ("BatchNorm2d.backward.", "ReLU.backward.")


def _is_whole_number(difference: Difference) -> bool:
    return difference.field in ("Mean", "Norm") and difference.theirs is None and difference.ours is not None


def _is_last_node(difference: Difference) -> bool:
    api = difference.call.startswith(_SEVERAL_NODES) and difference.call.endswith(".backward")
    return api and difference.place.startswith("output.")


def _is_dtype_name(difference: Difference) -> bool:
    return difference.field == "type" and difference.theirs == f"torch.{difference.ours}"


def _is_size(difference: Difference) -> bool:
    return difference.field == "presence" and {difference.theirs, difference.ours} in (
        {"torch.Size", "absent"},
        {"int", "absent"},
    )


DIFFERENCES = (
    KnownDifference(
        "Mean and Norm of integer and bool tensors",
        "msprobe leaves them out; ours computes them in float64.",
        _is_whole_number,
    ),
    KnownDifference(
        "`output` of the backward of a function made of several autograd nodes",
        "msprobe lists the gradients that the last node of the function hands on, in the node's own order; ours the"
        " gradients of the call's tensor arguments, in their order. Where a module is hooked as well (level mix), the"
        " backward of an in-place relu shows its own incoming gradient with msprobe.",
        _is_last_node,
    ),
    KnownDifference(
        "Type name of a dtype argument",
        "`torch.dtype` with msprobe, `dtype` with ours; the value is the same.",
        _is_dtype_name,
    ),
    KnownDifference(
        "A torch.Size argument",
        "one argument (`input.1`) with msprobe, one for each extent (`input.1.0`) with ours.",
        _is_size,
    ),
)


def _is_optimizer_step(call: str, low_risk: Collection[str]) -> bool:
    return call.startswith(_OPTIMIZER_STEPS) and call.endswith(".forward")


def _is_identity_dropout(call: str, low_risk: Collection[str]) -> bool:
    return ".Dropout.backward." in call


ONLY_THEIRS = (
    KnownGap(
        "elementwise operations inside the optimizer's step; ours records the step as one call `Optimizer.*`",
        _is_optimizer_step,
    ),
    KnownGap(
        "backward of a module that returns its input as it is (dropout with p = 0): nothing is computed there",
        _is_identity_dropout,
    ),
)

ONLY_OURS = (
    KnownGap(
        "views, copies and constructors that msprobe records with risk_level ALL only",
        lambda call, low_risk: call in low_risk,
    ),
    KnownGap(
        "views, indexing and constructors that msprobe does not record",
        lambda call, low_risk: call.startswith(
            ("Tensor.view.", "Tensor.__getitem__.", "Torch.ones.", "Torch.ones_like.")
        ),
    ),
    KnownGap("the optimizer's step as one call", lambda call, low_risk: call.startswith("Optimizer.")),
    KnownGap(
        "backward of modules before or at an in-place operator, which msprobe's full backward hooks cannot stand",
        lambda call, low_risk: any(part in call for part in _BEFORE_IN_PLACE),
    ),
)


def unknown(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """The differences that nothing above accounts for."""
    return tuple(each for each in differences if not any(known.covers(each) for known in DIFFERENCES))


def count_known(differences: Iterable[Difference]) -> dict[str, int]:
    """How many calls each known difference touches, by its title."""
    listed = list(differences)
    return {known.title: len({each.call for each in listed if known.covers(each)}) for known in DIFFERENCES}


def sort_gaps(
    calls: Iterable[str], gaps: Iterable[KnownGap], low_risk: Collection[str]
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """(calls by the title of the first gap that covers them, calls that none covers)."""
    sorted_calls: dict[str, list[str]] = {gap.title: [] for gap in gaps}
    left: list[str] = []
    for call in calls:
        title = next((gap.title for gap in gaps if gap.covers(call, low_risk)), None)
        (left if title is None else sorted_calls[title]).append(call)
    return {title: tuple(found) for title, found in sorted_calls.items()}, tuple(left)
