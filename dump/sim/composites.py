"""Operators that need more than their CPU kernel under the npu label.

torch routes some operators of an accelerator to names that the CPU does not answer: fused recurrent cells,
overrideable convolutions, and the choice of an attention kernel.  They are answered here, with the CPU's
arithmetic, so that a run on the simulated device gives the numbers that it gives on the CPU (recurrent cells:
to rounding, see `lstm_cell`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from dump.sim import faults
from dump.sim.kernels import Kernel, host_kernel, kernel_for, label, lower, tally_of
from dump.sim.operators import plan_of
from dump.sim.storage import HOST, is_imagined, without_overrides
from dump.torch_internals import functions, schema, without_dispatch

_aten: Any = torch.ops.aten
_empty_strided_host: Any = functions.empty_strided
Tensors: TypeAlias = "tuple[torch.Tensor, ...]"
MaybeTensor: TypeAlias = "torch.Tensor | None"

# Sigmoid, tanh and sums through torch.ops: a patched torch.sigmoid would record the simulator's own calls.
_sigmoid: Any = _aten.sigmoid.default
_tanh: Any = _aten.tanh.default
_chunk: Any = _aten.chunk.default
_cat: Any = _aten.cat.default
_add: Any = _aten.add.Tensor
_mul: Any = _aten.mul.Tensor
_sub: Any = _aten.sub.Tensor
_sum: Any = _aten.sum.dim_IntList
_rsub: Any = _aten.rsub.Scalar
_zeros_like: Any = _aten.zeros_like.default


def convolution(*args: Any) -> Any:
    """`convolution_overrideable`: same arguments as `convolution`."""
    return kernel_for(_aten.convolution.default)(*args)


def convolution_backward(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *rest: Any) -> Any:
    """`convolution_backward_overrideable`: as `convolution_backward`, which also wants the bias' shape."""
    channels = grad.shape[1]
    return kernel_for(_aten.convolution_backward.default)(grad, x, weight, [channels], *rest)


def attention() -> Kernel:
    """`scaled_dot_product_attention`: the kernel that the CPU would choose, flash or plain, on npu tensors.

    torch asks a table that only C++ backends can enter, and takes the plain path for all others.
    """
    choose = host_kernel(_aten._fused_sdp_choice.default)
    flash = _aten._scaled_dot_product_flash_attention_for_cpu.default
    plain = _aten._scaled_dot_product_attention_math.default
    flash_choice = int(torch.nn.attention.SDPBackend.FLASH_ATTENTION.value)

    def kernel(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: MaybeTensor = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        with without_overrides():
            given = (query, key, value, attn_mask, dropout_p, is_causal)
            options = {"scale": scale, "enable_gqa": enable_gqa}
            known = _imagined_on_host(given) if is_imagined(query) else [lower(x) for x in given]
            choice = choose(*known, **options)
            mask = _additive(attn_mask, query.dtype)
            result: torch.Tensor
            if choice != flash_choice:
                result = plain(query, key, value, mask, dropout_p, is_causal, **options)[0]
            elif query.dim() == 4:
                result = flash(query, key, value, dropout_p, is_causal, attn_mask=mask, scale=scale)[0]
            else:  # since torch 2.14 flash is chosen without a batch dimension too, and given one
                batch = [_aten.unsqueeze.default(x, 0) for x in (query, key, value)]
                mask = _aten.unsqueeze.default(mask, 0) if mask is not None and mask.dim() == 3 else mask
                out = flash(*batch, dropout_p, is_causal, attn_mask=mask, scale=scale)[0]
                result = _aten.squeeze.dim(out, 0)
            return result

    return kernel


def _imagined_on_host(given: tuple[Any, ...]) -> list[Any]:
    """While torch.compile traces there are shapes and no memory: blank CPU tensors of these shapes."""
    with without_dispatch():
        return [
            _empty_strided_host([int(n) for n in x.shape], [int(n) for n in x.stride()], dtype=x.dtype, device=HOST)
            if isinstance(x, torch.Tensor)
            else x
            for x in given
        ]


def _additive(mask: MaybeTensor, dtype: torch.dtype) -> MaybeTensor:
    """A boolean mask as what is added to the scores: 0 where attention is allowed, -inf where not."""
    if mask is None or mask.dtype is not torch.bool:
        return mask
    zeros = _aten.zeros_like.default(mask, dtype=dtype)
    additive: torch.Tensor = _aten.masked_fill.Scalar(zeros, _aten.logical_not.default(mask), float("-inf"))
    return additive


def composed_kernel(operator: Any, body: Callable[..., Any]) -> Kernel:
    """An npu kernel from a function of CPU tensors that stands in for a CPU kernel which does not exist."""
    plan, tally = plan_of(operator), tally_of(schema(operator).name)

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with without_overrides():
            tally[0] += 1
            lowered, keywords = [lower(x) for x in args], {k: lower(v) for k, v in kwargs.items()}
            if plan.name in faults.ACTIVE:
                return label(faults.launch(plan, body, lowered, keywords))
            return label(body(*lowered, **keywords))

    return kernel


def _plus(x: torch.Tensor, bias: MaybeTensor) -> torch.Tensor:
    total: torch.Tensor = x if bias is None else _add(x, bias)
    return total


def lstm_cell(
    input_gates: torch.Tensor,
    hidden_gates: torch.Tensor,
    cx: torch.Tensor,
    input_bias: MaybeTensor = None,
    hidden_bias: MaybeTensor = None,
) -> Tensors:
    """`_thnn_fused_lstm_cell`: gates (batch, 4 * hidden) in the order i, f, g, o, and cx (batch, hidden), to
    hy, cy (batch, hidden) and the activated gates, kept for backward.

    i, f, o = sigmoid, g = tanh; cy = f cx + i g; hy = o tanh(cy): the formulas of torch.nn.LSTM.  The CPU
    adds the biases inside its matrix product, so results agree with it to rounding, not to the bit.
    """
    gates = _add(_plus(input_gates, input_bias), _plus(hidden_gates, hidden_bias))
    i, f, g, o = _chunk(gates, 4, 1)
    i, f, g, o = _sigmoid(i), _sigmoid(f), _tanh(g), _sigmoid(o)
    cy = _add(_mul(f, cx), _mul(i, g))
    return _mul(o, _tanh(cy)), cy, _cat([i, f, g, o], 1)


def lstm_cell_backward(
    grad_hy: MaybeTensor,
    grad_cy: MaybeTensor,
    cx: torch.Tensor,
    cy: torch.Tensor,
    workspace: torch.Tensor,
    has_bias: bool,
) -> tuple[MaybeTensor, MaybeTensor, MaybeTensor]:
    """`_thnn_fused_lstm_cell_backward_impl`: gradients of the gates, of cx and of the bias (None without
    one).
    """
    if grad_hy is None and grad_cy is None:
        return None, None, None
    i, f, g, o = _chunk(workspace, 4, 1)
    squashed = _tanh(cy)
    dhy = _zeros_like(cx) if grad_hy is None else grad_hy
    through = _mul(_mul(dhy, o), _rsub(_mul(squashed, squashed), 1))
    dcy = through if grad_cy is None else _add(through, grad_cy)
    parts = [
        _through_sigmoid(_mul(dcy, g), i),
        _through_sigmoid(_mul(dcy, cx), f),
        _mul(_mul(dcy, i), _rsub(_mul(g, g), 1)),
        _through_sigmoid(_mul(dhy, squashed), o),
    ]
    grad_gates = _cat(parts, 1)
    return grad_gates, _mul(dcy, f), _sum(grad_gates, [0]) if has_bias else None


def _through_sigmoid(grad: torch.Tensor, activated: torch.Tensor) -> torch.Tensor:
    """Gradient before a sigmoid whose value is `activated`: grad s (1 - s)."""
    before: torch.Tensor = _mul(grad, _mul(activated, _rsub(activated, 1)))
    return before


def gru_cell(
    input_gates: torch.Tensor,
    hidden_gates: torch.Tensor,
    hx: torch.Tensor,
    input_bias: MaybeTensor = None,
    hidden_bias: MaybeTensor = None,
) -> Tensors:
    """`_thnn_fused_gru_cell`: gates (batch, 3 * hidden) in the order r, z, n, and hx (batch, hidden), to hy
    and what backward needs.

    r, z = sigmoid; n = tanh(i_n + r h_n); hy = n + z (hx - n): the formulas of torch.nn.GRU, to rounding.
    """
    ir, iz, i_n = _chunk(_plus(input_gates, input_bias), 3, 1)
    hr, hz, h_n = _chunk(_plus(hidden_gates, hidden_bias), 3, 1)
    r, z = _sigmoid(_add(ir, hr)), _sigmoid(_add(iz, hz))
    n = _tanh(_add(i_n, _mul(r, h_n)))
    hy = _add(n, _mul(z, _sub(hx, n)))
    return hy, _cat([r, z, n, hx, h_n], 1)


def gru_cell_backward(
    grad_hy: torch.Tensor, workspace: torch.Tensor, has_bias: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, MaybeTensor, MaybeTensor]:
    """`_thnn_fused_gru_cell_backward`: gradients of input gates, hidden gates, hx and both biases."""
    r, z, n, hx, h_n = _chunk(workspace, 5, 1)
    before_n = _mul(_mul(grad_hy, _rsub(z, 1)), _rsub(_mul(n, n), 1))
    before_z = _through_sigmoid(_mul(grad_hy, _sub(hx, n)), z)
    before_r = _through_sigmoid(_mul(before_n, h_n), r)
    grad_input = _cat([before_r, before_z, before_n], 1)
    grad_hidden = _cat([before_r, before_z, _mul(before_n, r)], 1)
    biases = (_sum(grad_input, [0]), _sum(grad_hidden, [0])) if has_bias else (None, None)
    return grad_input, grad_hidden, _mul(grad_hy, z), *biases


RECURRENT_CELLS: dict[str, Callable[..., Any]] = {
    "_thnn_fused_lstm_cell": lstm_cell,
    "_thnn_fused_lstm_cell_backward_impl": lstm_cell_backward,
    "_thnn_fused_gru_cell": gru_cell,
    "_thnn_fused_gru_cell_backward": gru_cell_backward,
}
