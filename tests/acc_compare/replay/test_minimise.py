"""A call is cut to the least that is still wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from acc_compare.replay.names import CannotReplay
from acc_compare.replay.repro import find_and_write
from dump import sim

from .conftest import Record
from .test_repro import run
from .test_run import draw, on_npu

if sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
sim.enable()

CASES = [
    ("aten::gelu=scale:1.001", "Functional.gelu.0.forward", 1),
    ("aten::gelu_backward=scale:1.001", "Functional.gelu.0.backward", 1),
    ("aten::addmm=scale:1.001", "Functional.linear.0.forward", 4),
    ("aten::_softmax=scale:1.001", "Torch.softmax.0.forward", 1),
]


@pytest.mark.parametrize(("fault", "name", "most"), CASES)
def test_what_is_left_is_wrong_and_little(
    record: Record, fault: str, name: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sim.npu(faults=[fault]):
        folder = record(on_npu)
        _, less = find_and_write(folder, name, tmp_path / "x", step=None, rank=None, minimises_on="npu")
        assert less is not None
        assert less.after <= most < less.before
        assert run(tmp_path / "x" / "repro.py", monkeypatch, "npu") == 1
    assert run(tmp_path / "x" / "repro.py", monkeypatch, "cpu") == 0


def test_extents_that_belong_together_are_cut_together(record: Record, tmp_path: Path) -> None:
    def act() -> None:
        F.layer_norm(draw(4, 6, 10, grad=False).to("npu"), (6, 10), torch.ones(6, 10, device="npu"))

    with sim.npu(faults=["native_layer_norm=scale:1.01"]):
        folder = record(act)
        name = "Functional.layer_norm.0.forward"
        _, less = find_and_write(folder, name, tmp_path / "x", step=None, rank=None, minimises_on="npu")
    assert less is not None
    (shape, *_) = [tuple(tensor.shape) for tensor in less.trial.tensors.values() if tensor.dim() == 3]
    assert shape < (4, 6, 10)
    assert torch.Size(shape).numel() < 20


def test_what_is_right_here_is_not_cut(record: Record, tmp_path: Path) -> None:
    with sim.npu(faults=["aten::gelu=scale:1.001"]):
        folder = record(on_npu)
    with pytest.raises(CannotReplay) as refused:
        find_and_write(folder, "Functional.gelu.0.forward", tmp_path / "x", step=None, rank=None, minimises_on="cpu")
    assert refused.value.reason.key == "replay.reason.right_here"
    assert not (tmp_path / "x").exists()
    assert sys.argv
