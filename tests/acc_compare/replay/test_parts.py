"""A call on parts is made again where a rank made it by itself, and left out where others' parts came in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed as dist
import torch.nn.functional as F

from acc_compare.messages import say
from acc_compare.replay.parts import is_made_alone
from dump.format.schema import LayoutRecord, NestedCall, TensorRecord

from .conftest import Record, again, draw


def call(read: str, wrote: str) -> NestedCall:
    """A call on tensors whose placements are given, `R S(0)`; `-` has no layout, `R|S(0)` is on a mesh of two axes."""
    return NestedCall("Functional.linear.0.forward", args=_tensors(read), kwargs={}, outputs=_tensors(wrote))


def _tensors(text: str) -> tuple[TensorRecord, ...]:
    return tuple(TensorRecord("torch.float32", (2,), layout=_layout(part)) for part in text.split())


def _layout(text: str) -> LayoutRecord | None:
    placements = tuple(text.split("|"))
    extents = (2,) * len(placements)
    return None if text == "-" else LayoutRecord((4,), tuple(range(2 ** len(extents))), extents, placements)


@pytest.mark.parametrize(
    ("read", "wrote", "forward", "backward"),
    [
        ("- -", "-", True, True),
        ("R -", "R", True, True),
        ("S(0)", "S(0)", True, True),
        ("R S(0)", "S(0)", True, True),  # a linear that is cut by its rows
        ("_S(0,2)", "S(1)", True, True),
        ("S(1) S(1)", "P(sum)", True, True),  # one that is cut by its columns, without a bias; a weight's gradient
        ("S(1) S(1) R", "P(sum)", False, False),  # one with a bias
        ("R S(0)", "P(sum)", False, False),  # a table cut by rows
        ("S(0)", "R", False, False),  # gathered within
        ("S(0)", "S(0) R", False, False),
        ("P(sum)", "R", False, False),  # added up within
        ("P(sum)", "P(sum)", False, False),
        ("MaskP(sum,None,0)", "R", False, False),
        ("R", "S(0)", False, True),  # the weight's gradient of a linear that is cut by its columns
        ("S(0)|R S(0)|R", "S(0)|R", True, True),
        ("S(0)|R S(0)|S(1)", "S(0)|S(1)", True, True),
        ("S(0)|S(1) S(0)|R", "S(0)|R", False, False),
        ("R|R R", "R|R", False, False),  # meshes that nothing is known of together
    ],
)
def test_what_a_rank_makes_by_itself(read: str, wrote: str, forward: bool, backward: bool) -> None:
    assert is_made_alone(call(read, wrote), is_backward=False) is forward
    assert is_made_alone(call(read, wrote), is_backward=True) is backward


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_parts_of_a_run(record: Record) -> None:
    tensors = pytest.importorskip("torch.distributed.tensor")
    mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
    cut, weight, bias = (
        tensors.distribute_tensor(draw(*shape), mesh, [placement])
        for shape, placement in (((3, 4), tensors.Shard(1)), ((2, 4), tensors.Shard(1)), ((2,), tensors.Replicate()))
    )

    def act() -> None:
        F.linear(F.gelu(cut), weight)
        F.linear(cut, weight, bias)

    told = {call.name: call.reason for call in again(record(act)).calls}
    assert told == {
        "Functional.gelu.0.forward": None,
        "Functional.linear.0.forward": None,
        "Functional.linear.1.forward": say("replay.reason.parts"),
    }
