"""Other kernels, in good health: every result rounded once more, as another order of summation or another unit does.

These are no faults: `plant` puts them below the faults and tells nobody.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.localisation.launches import Array, rounded, view

_from_numpy = torch.from_numpy
_UNITS = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}

PRODUCTS = ("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm", "aten::convolution")
OPERATORS = (
    *PRODUCTS,
    "aten::convolution_backward", "aten::native_layer_norm", "aten::native_layer_norm_backward",
    "aten::native_batch_norm", "aten::native_batch_norm_backward", "aten::native_group_norm",
    "aten::native_group_norm_backward", "aten::_softmax", "aten::_softmax_backward_data", "aten::_log_softmax",
    "aten::_log_softmax_backward_data", "aten::gelu", "aten::gelu_backward", "aten::silu", "aten::silu_backward",
    "aten::tanh", "aten::tanh_backward", "aten::elu", "aten::elu_backward", "aten::mish", "aten::mish_backward",
    "aten::exp", "aten::pow.Tensor_Scalar", "aten::softplus", "aten::softplus_backward",
    "aten::rsqrt", "aten::mean.dim", "aten::sum.dim_IntList",
    "aten::embedding_dense_backward", "aten::index_add", "aten::hardsigmoid", "aten::sigmoid",
    "aten::_scaled_dot_product_flash_attention_for_cpu", "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
    "aten::avg_pool2d", "aten::mse_loss", "aten::nll_loss_forward", "aten::cat", "aten::stack",
)  # fmt: skip
"""The operators that another kernel computes, and that a drawn fault may hit."""

COPIES = ("aten::cat", "aten::stack")
"""Of these no healthy kernel rounds anything: a fault alone changes them."""

UPDATES = ("aten::addcdiv_", "aten::_fused_adamw_")
"""What optimizers write with: faults alone."""


def rewrite(tensor: torch.Tensor, edit: Callable[[Array], Array]) -> None:
    """Put `edit` of the elements, in float64, in their place."""
    found = view(tensor)
    with np.errstate(all="ignore"):
        found[...] = edit(found.astype(np.float64)).astype(found.dtype)


def rounds(tensor: torch.Tensor, value: float, seed: int) -> None:
    """Off by a normal share of each element, of `value` units of roundoff of the tensor's type."""
    generator = np.random.default_rng(seed)
    unit = value * _UNITS.get(tensor.dtype, 0.0)
    rewrite(tensor, lambda x: x * (1 + unit * generator.standard_normal(x.shape)))


def truncates(tensor: torch.Tensor, value: float, seed: int) -> None:
    """Rounded towards zero: a share between 0 and two units of roundoff is lost."""
    generator = np.random.default_rng(seed)
    unit = 2 * value * _UNITS.get(tensor.dtype, 0.0)
    rewrite(tensor, lambda x: x * (1 - unit * generator.random(x.shape)))


ROUNDING: dict[str, Callable[[torch.Tensor, float, int], None]] = {"rounds": rounds, "truncates": truncates}
HF32 = "reads_ten_bits"
"""Products whose operands of float32 are rounded to ten bits: TF32, HF32."""

CHANGES = (*ROUNDING, HF32)


def ten_bits(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with float32 tensors rounded to ten bits of significand."""
    return tuple(
        _from_numpy(rounded(view(item), 10)) if isinstance(item, torch.Tensor) and item.dtype is torch.float32 else item
        for item in arguments
    )


class Counted:
    """How often each operator ran, written when the process ends: from it a fault is drawn."""

    def __init__(self, path: Path) -> None:
        self._path, self._counts = path, Counter[str]()

    def add(self, operator: str) -> None:
        self._counts[operator] += 1

    def write(self) -> None:
        self._path.write_text(json.dumps(self._counts), encoding="utf-8")
