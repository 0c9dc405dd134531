"""`torch.autocast("npu")`: which operators run in the low dtype, which in float32, which in the widest given.

The three lists are those that torch documents for CUDA autocasting, which Ascend's follows
(https://docs.pytorch.org/docs/stable/amp.html, "Autocast Op Reference").  Cast weights are not cached, so a
weight used twice is cast twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dump import torch_internals
from dump.sim.storage import Tensor, without_overrides

_aten: Any = torch.ops.aten
_cast: Any = _aten.to.dtype
_KEY = "AutocastPrivateUse1"
_KEYS = torch_internals.DispatchKeySet(torch_internals.DispatchKey.AutocastPrivateUse1)
_without_autocast = torch_internals.without_keys

LOW = (
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "chain_matmul", "conv1d", "conv2d", "conv3d",
    "conv_tbc", "conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input", "convolution",
    "einsum", "gru_cell", "linalg_multi_dot", "linalg_vecdot", "linear", "lstm_cell", "matmul", "mm",
    "mv", "prelu", "rnn_relu_cell", "rnn_tanh_cell", "scaled_dot_product_attention",
    "_thnn_fused_gru_cell", "_thnn_fused_lstm_cell",
)  # fmt: skip
FLOAT32 = (
    "acos", "asin", "binary_cross_entropy_with_logits", "cdist", "cosh", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy_loss", "cumprod", "cumsum", "dist", "erfinv", "exp", "expm1",
    "group_norm", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "layer_norm",
    "linalg_vector_norm", "linalg_matrix_norm", "log", "log10", "log1p", "log2", "log_softmax.int",
    "logsumexp", "margin_ranking_loss", "mse_loss", "multi_margin_loss", "multilabel_margin_loss",
    "native_layer_norm", "nll_loss", "nll_loss2d", "norm.Scalar", "norm.ScalarOpt_dim",
    "norm.ScalarOpt_dim_dtype", "norm.ScalarOpt_dtype", "pdist", "poisson_nll_loss", "pow.Scalar",
    "pow.Tensor_Scalar", "pow.Tensor_Tensor", "prod", "prod.dim_int", "reciprocal", "renorm", "rsqrt",
    "sinh", "smooth_l1_loss", "soft_margin_loss", "softmax.int", "softplus", "sum", "sum.dim_IntList",
    "tan", "triplet_margin_loss",
)  # fmt: skip
WIDEST = (
    "addcdiv", "addcmul", "atan2", "bilinear", "cat", "cross", "dot", "grid_sampler", "index_put",
    "scatter_add", "stack", "tensordot",
)  # fmt: skip


def register(fallthrough: Any, aten: Any) -> None:
    """Register the casting kernels, and a fallthrough for every operator that is in none of the lists."""
    fallthrough.fallback(torch.library.fallthrough_kernel, _KEY)
    for names, choose in ((LOW, _low), (FLOAT32, _float32), (WIDEST, _widest)):
        for name in names:
            packet, _, overload = name.partition(".")
            operator = getattr(getattr(_aten, packet), overload or "default")
            aten.impl(operator, _casting(operator, choose), _KEY)


def _low(arguments: tuple[Any, ...]) -> torch.dtype:
    dtype: torch.dtype = torch_internals.autocast_dtype("npu")
    return dtype


def _float32(arguments: tuple[Any, ...]) -> torch.dtype:
    return torch.float32


def _widest(arguments: tuple[Any, ...]) -> torch.dtype:
    """float32 if any tensor is, else the low dtype."""
    found = [x.dtype for x in _flat(arguments) if _is_cast(x)]
    return torch.float32 if torch.float32 in found else _low(arguments)


def _flat(values: Any) -> list[Any]:
    if isinstance(values, (list, tuple)):
        return [leaf for value in values for leaf in _flat(value)]
    return [values]


def _is_cast(x: Any) -> bool:
    """Autocast leaves double precision, integers and tensors of other devices alone."""
    return (
        isinstance(x, Tensor) and x.dtype.is_floating_point and x.dtype is not torch.float64 and x.device.type == "npu"
    )


def _casting(operator: Any, choose: Callable[[tuple[Any, ...]], torch.dtype]) -> Callable[..., Any]:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        with without_overrides(), _without_autocast(_KEYS):
            dtype = choose(args)

            def cast(value: Any) -> Any:
                if isinstance(value, (list, tuple)):
                    return type(value)([cast(item) for item in value])
                return _cast(value, dtype) if _is_cast(value) and value.dtype is not dtype else value

            return operator(*[cast(x) for x in args], **{key: cast(x) for key, x in kwargs.items()})

    return kernel
