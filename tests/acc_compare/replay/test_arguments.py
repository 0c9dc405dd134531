"""Tensors lie in memory again as they did."""

from __future__ import annotations

import pytest
import torch

from acc_compare.replay.arguments import laid_out
from acc_compare.replay.names import CannotReplay, target_of
from dump.format.names import parse

BASE = torch.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "view",
    [
        BASE,
        BASE.permute(2, 0, 1),
        BASE[:, ::2, 1:],
        BASE[0].t(),
        BASE[:1].expand(5, 3, 4),
        BASE[:, 1:2].expand(2, 7, 4).transpose(0, 2),
        BASE.select(2, 1),
        torch.zeros(0, 3).t(),
    ],
)
def test_a_tensor_is_laid_out_as_it_was(view: torch.Tensor) -> None:
    made = laid_out(view.contiguous(), view.stride())
    assert made.stride() == view.stride()
    assert torch.equal(made, view)


@pytest.mark.parametrize("stride", [(1, 1), (1 << 40, 1), (3,), (2, 1)])
def test_what_would_overlap_or_be_huge_stays_contiguous(stride: tuple[int, ...]) -> None:
    tensor = torch.arange(12.0).reshape(3, 4)
    assert laid_out(tensor, stride) is tensor


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("Functional.gelu.0.forward", "gelu"),
        ("Torch.fft.fft.0.forward", "torch.fft.fft"),
        ("Tensor.__add__.3.forward", "__add__"),
        ("Torch.matmul.0.forward", "torch.matmul"),
        ("VF.lstm.0.forward", "lstm"),
        ("Aten.relu.0.forward", "torch.ops.aten.relu"),
    ],
)
def test_a_name_is_a_function_of_torch(name: str, expression: str) -> None:
    target = target_of(parse(name))
    assert target.expression.endswith(expression)
    assert callable(target.function)
    assert eval(target.expression, {"torch": torch}) is not None


@pytest.mark.parametrize(
    "name", ["nonsense", "Torch.save.0.forward", "Distributed.all_reduce.0.forward", "Optimizer.SGD.0.forward"]
)
def test_no_other_name_is(name: str) -> None:
    with pytest.raises(CannotReplay):
        target_of(parse(name))
