"""Copies on the ranks of one side: those that are alike say nothing, one that is not is told."""

from __future__ import annotations

from typing import Any

import pytest

from acc_compare.judge.ranks import Given, JobStep
from acc_compare.judge.replicas import held_after
from acc_compare.model import PairedArgument, PairedCall
from dump.format.schema import CallRecord, CollectiveRecord, TensorRecord

GROUP = (0, 1, 2)


def _pair(norms: tuple[float, float], kind: str, argument: str) -> PairedCall:
    """A collective after which this rank holds tensors of these norms, on either side."""
    told = CollectiveRecord(kind, "0", GROUP, 0)
    call = CallRecord("Distributed.x.0.forward", 0, collectives=(told,))
    leaves = [TensorRecord("torch.float32", (4,), norm=norm, max=norm, min=0.0) for norm in norms]
    return PairedCall(call, call, (PairedArgument(argument, *leaves),))


def _told(
    *norms: tuple[float, float], kind: str = "all_reduce", argument: str = "output.0", group: tuple[int, ...] = GROUP
) -> list[Any]:
    told = CollectiveRecord(kind, "0", group, 0)
    job = JobStep.of(
        {
            rank: [Given(rank, f"call of {rank}", 0, (told,), {}, held_after(_pair(each, kind, argument)))]
            for rank, each in enumerate(norms)
        }
    )
    return [(note.key, dict(note.values)) for note in job.odd_replicas()]


@pytest.mark.parametrize(
    ("kind", "argument"),
    [
        ("all_reduce", "output.0"),
        ("all_gather_into_tensor", "output.0"),
        ("broadcast", "written.input.0"),
        ("ddp_all_reduce", "input.param.w"),
    ],
)
def test_the_rank_that_holds_something_else_is_told(kind: str, argument: str) -> None:
    ((key, values),) = _told((1, 1), (1.01, 1), (1, 1), kind=kind, argument=argument)
    assert key == "note.replicas"
    assert (values["call"], values["argument"], values["ranks"], values["odd"]) == ("call of 1", argument, "0-2", "1")


def test_either_side_is_told_of() -> None:
    assert len(_told((1, 1), (1.01, 1), (1, 2))) == 2


@pytest.mark.parametrize(
    ("kind", "argument", "group"),
    [
        ("reduce_scatter_tensor", "output.0", GROUP),  # parts, not copies
        ("all_reduce", "input.0", GROUP),  # what each gave
        ("all_reduce", "output.0", (0, 1, 2, 3)),  # one of them was not recorded
    ],
)
def test_what_need_not_be_alike_is_not_told(kind: str, argument: str, group: tuple[int, ...]) -> None:
    assert _told((1, 1), (2, 2), (3, 3), kind=kind, argument=argument, group=group) == []


def test_copies_that_are_alike_are_not_told() -> None:
    assert _told((1, 1), (1.000001, 1), (1, 1)) == []
