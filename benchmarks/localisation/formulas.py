"""Ways to be wrong that belong to one operator: its formula in numpy, with the mistake that kernels make.

Each writes over the genuine result, so that shapes, strides and the results beside the first are torch's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.localisation.launches import Array, Launch, change, floats, fresh, view


def _over(launch: Launch, values: Array, index: int = 0) -> Any:
    result = launch.genuine()
    out = view(list(floats(result))[index])
    out[...] = values
    return result


def _wide(launch: Launch, index: int) -> Array:
    """An argument in float64."""
    return view(launch.arguments[index]).astype(np.float64)


@change("gelu_tanh")
def _gelu_tanh(launch: Launch, value: float) -> Any:
    """The tanh approximation where the error function was asked for."""
    x = _wide(launch, 0)
    return _over(launch, 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


@change("gelu_sigmoid")
def _gelu_sigmoid(launch: Launch, value: float) -> Any:
    """x sigmoid(1.702 x), the quick approximation."""
    x = _wide(launch, 0)
    return _over(launch, x / (1 + np.exp(-1.702 * x)))


@change("tanh_rational")
def _tanh_rational(launch: Launch, value: float) -> Any:
    """A Pade approximant that is good near zero only."""
    x = np.clip(_wide(launch, 0), -3, 3)
    return _over(launch, x * (27 + x**2) / (27 + 9 * x**2))


@change("silu_hard")
def _silu_hard(launch: Launch, value: float) -> Any:
    """x clip(x/6 + 1/2, 0, 1)."""
    x = _wide(launch, 0)
    return _over(launch, x * np.clip(x / 6 + 0.5, 0, 1))


@change("elu_no_minus_one")
def _elu_no_minus_one(launch: Launch, value: float) -> Any:
    """exp(x) for negative x: the minus one is forgotten."""
    x = _wide(launch, 0)
    return _over(launch, np.where(x > 0, x, np.exp(np.minimum(x, 0))))


@change("gelu_backward_cdf")
def _gelu_backward_cdf(launch: Launch, value: float) -> Any:
    """The term x pdf(x) is missing from the derivative: gradient times the sigmoid form of the cdf alone."""
    gradient, x = _wide(launch, 0), _wide(launch, 1)
    return _over(launch, gradient / (1 + np.exp(-1.702 * x)))


@change("tanh_backward_linear")
def _tanh_backward_linear(launch: Launch, value: float) -> Any:
    """1 - |y| in place of 1 - y^2."""
    gradient, y = _wide(launch, 0), _wide(launch, 1)
    return _over(launch, gradient * (1 - np.abs(y)))


@change("silu_backward_sigmoid")
def _silu_backward_sigmoid(launch: Launch, value: float) -> Any:
    """The second term of the derivative is forgotten: gradient times sigmoid(x)."""
    gradient, x = _wide(launch, 0), _wide(launch, 1)
    return _over(launch, gradient / (1 + np.exp(-x)))


@change("softmax_backward_unsummed")
def _softmax_backward_unsummed(launch: Launch, value: float) -> Any:
    """y g, without taking y sum(y g) off."""
    return _over(launch, _wide(launch, 0) * _wide(launch, 1))


@change("layer_norm_unbiased")
def _layer_norm_unbiased(launch: Launch, value: float) -> Any:
    """The variance over n - 1."""
    x = _wide(launch, 0)
    weight, bias = _wide(launch, 2), _wide(launch, 3)
    spread = x.var(-1, ddof=1, keepdims=True) + launch.arguments[4]
    return _over(launch, (x - x.mean(-1, keepdims=True)) / np.sqrt(spread) * weight + bias)


@change("batch_norm_eps")
def _batch_norm_eps(launch: Launch, value: float) -> Any:
    """Another constant under the root."""
    return launch_with(launch, 7, value, genuine=False)


@change("batch_norm_unbiased")
def _batch_norm_unbiased(launch: Launch, value: float) -> Any:
    """The batch's variance over n - 1."""
    x = _wide(launch, 0)
    axes = (0, *range(2, x.ndim))
    shape = [1, -1] + [1] * (x.ndim - 2)
    spread = x.var(axes, ddof=1, keepdims=True) + launch.arguments[7]
    normal = (x - x.mean(axes, keepdims=True)) / np.sqrt(spread)
    return _over(launch, normal * _wide(launch, 1).reshape(shape) + _wide(launch, 2).reshape(shape))


def launch_with(launch: Launch, index: int, value: Any, *, genuine: bool = True) -> Any:
    """The kernel's result with one argument replaced.  `genuine` first runs it as it should be, for the effect;
    not where running it twice would count twice, as with running statistics."""
    if genuine:
        launch.genuine()
    arguments = list(launch.arguments)
    arguments[index] = value
    return launch.on(*arguments)


@change("bias_scaled")
def _bias_scaled(launch: Launch, value: float) -> Any:
    bias = launch.arguments[0]
    return launch_with(launch, 0, fresh(value * view(bias), bias))


@change("bias_of_first")
def _bias_of_first(launch: Launch, value: float) -> Any:
    """Wrong broadcasting: the bias's first element goes to every column."""
    bias = launch.arguments[0]
    return launch_with(launch, 0, fresh(np.full_like(view(bias), view(bias)[0]), bias))


@change("convolution_no_bias")
def _convolution_no_bias(launch: Launch, value: float) -> Any:
    return launch_with(launch, 2, None)


@change("convolution_bias_twice")
def _convolution_bias_twice(launch: Launch, value: float) -> Any:
    bias = launch.arguments[2]
    return launch_with(launch, 2, fresh(2 * view(bias), bias))


@change("convolution_flipped")
def _convolution_flipped(launch: Launch, value: float) -> Any:
    """A true convolution, with the kernel flipped, where deep learning means correlation."""
    weight = launch.arguments[1]
    return launch_with(launch, 1, fresh(view(weight)[..., ::-1, ::-1], weight))


@change("matmul_fp16_sums")
def _matmul_fp16_sums(launch: Launch, value: float) -> Any:
    """Products of batches summed in float16, sixteen terms at a time."""
    return _over(launch, _summed_in(view(launch.arguments[-2]), view(launch.arguments[-1]), np.float16))


@change("addmm_fp16_sums")
def _addmm_fp16_sums(launch: Launch, value: float) -> Any:
    """addmm(bias, a, b) that sums in float16, sixteen terms at a time."""
    bias, left, right = (view(item) for item in launch.arguments[:3])
    return _over(launch, _summed_in(left, right, np.float16) + bias)


@change("addmm_lost_k")
def _addmm_lost_k(launch: Launch, value: float) -> Any:
    """The last `value` terms of every sum are lost: the ragged last tile of k."""
    bias, left, right = (view(item).astype(np.float64) for item in launch.arguments[:3])
    kept = left.shape[1] - int(value)
    return _over(launch, left[:, :kept] @ right[:kept] + bias)


@change("addmm_reversed_sums")
def _addmm_reversed_sums(launch: Launch, value: float) -> Any:
    """The same sums in another order: not a mistake."""
    bias, left, right = (view(item) for item in launch.arguments[:3])
    return _over(launch, _reversed(left, right) + bias)


@change("sum_reversed")
def _sum_reversed(launch: Launch, value: float) -> Any:
    """A mean or a sum over chosen dimensions, added up in float32 from the other end: not a mistake."""
    x, result = view(launch.arguments[0]), launch.genuine()
    dims = tuple(d % x.ndim for d in launch.arguments[1]) if len(launch.arguments) > 1 else tuple(range(x.ndim))
    total = np.flip(x).sum(dims or None, dtype=np.float32)
    count = int(np.prod([x.shape[d] for d in dims])) if value else 1
    out = view(result)
    out[...] = (np.flip(total) / np.float32(count)).reshape(out.shape)
    return result


def _summed_in(left: Array, right: Array, dtype: Any) -> Array:
    total = np.zeros(np.matmul(left[..., :1], right[..., :1, :]).shape, dtype)
    for start in range(0, left.shape[-1], 16):
        part = np.matmul(left[..., start : start + 16], right[..., start : start + 16, :])
        total = (total + part.astype(dtype)).astype(dtype)
    return total.astype(np.float32)


@change("embedding_off_by_one")
def _embedding_off_by_one(launch: Launch, value: float) -> Any:
    """The row after the one asked for, for one word in eight."""
    weight, words = view(launch.arguments[0]), view(launch.arguments[1])
    read = np.where(words % 8 == 0, np.minimum(words + 1, len(weight) - 1), words)
    return _over(launch, weight[read])


@change("softmax_open_mask")
def _softmax_open_mask(launch: Launch, value: float) -> Any:
    """The last position is never masked out: it takes a share of the weight in every row."""
    x = _wide(launch, 0)
    x[..., -1] = np.maximum(x[..., -1], x.max(-1) - 2)
    powers = np.exp(x - x.max(-1, keepdims=True))
    return _over(launch, powers / powers.sum(-1, keepdims=True))


@change("softmax_fp16_sums")
def _softmax_fp16(launch: Launch, value: float) -> Any:
    """Powers summed in float16."""
    x = _wide(launch, 0)
    powers = np.exp(x - x.max(-1, keepdims=True)).astype(np.float16)
    sums = np.add.accumulate(powers, -1, dtype=np.float16)[..., -1:]
    return _over(launch, powers.astype(np.float32) / sums.astype(np.float32))


@change("cat_order")
def _cat_order(launch: Launch, value: float) -> Any:
    """The parts are joined in the other order."""
    parts = [view(tensor) for tensor in launch.arguments[0]]
    return _over(launch, np.concatenate(parts[::-1], launch.arguments[1]))


@change("average_of_three")
def _average_of_three(launch: Launch, value: float) -> Any:
    """An average over 2x2 that leaves one of the four out."""
    x = _wide(launch, 0)
    return _over(launch, (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2]) / 3)


@change("max_pool_of_three")
def _max_pool_of_three(launch: Launch, value: float) -> Any:
    """The largest of three of the four."""
    x = _wide(launch, 0)
    return _over(launch, np.maximum(np.maximum(x[..., ::2, ::2], x[..., 1::2, ::2]), x[..., ::2, 1::2]))


@change("index_add_lost_row")
def _index_add_lost_row(launch: Launch, value: float) -> Any:
    """index_add that loses the first row."""
    result = launch.genuine()
    index, source = view(launch.arguments[2]), view(launch.arguments[3])
    if index.size:
        view(result)[index[0]] -= source[0]
    return result


@change("embedding_gradient_assigns")
def _embedding_gradient_assigns(launch: Launch, value: float) -> Any:
    """embedding_dense_backward(gradient, indices, rows, ...) that assigns where it should add."""
    gradient, index = view(launch.arguments[0]), view(launch.arguments[1])
    result = launch.genuine()
    out = view(result)
    out[index.reshape(-1)] = gradient.reshape(-1, gradient.shape[-1])
    return result


@change("topk_second")
def _topk(launch: Launch, value: float) -> Any:
    """The largest value stands in the second place too."""
    result = launch.genuine()
    view(result[0])[..., 1] = view(result[0])[..., 0]
    return result


@change("softplus_relu")
def _softplus_relu(launch: Launch, value: float) -> Any:
    """max(x, 0)."""
    return _over(launch, np.maximum(_wide(launch, 0), 0))


@change("group_norm_groups")
def _group_norm_groups(launch: Launch, value: float) -> Any:
    """Normalised over twice as many groups as were asked for."""
    arguments = list(launch.arguments)
    arguments[6] = 2 * int(arguments[6])
    return _over(launch, view(launch.on(*arguments)[0]).copy())


@change("attention_scale")
def _attention_scale(launch: Launch, value: float) -> Any:
    """Scaled by other than one over the root of the width."""
    result = launch.genuine()
    query = launch.arguments[0]
    wrong = launch.on(fresh(view(query) * value, query), *launch.arguments[1:])
    view(result[0])[...] = view(wrong[0])
    return result


@change("unscale_wrong")
def _unscale_wrong(launch: Launch, value: float) -> Any:
    """The gradients come out of the loss scale too large."""
    result = launch.genuine()
    for gradient in floats(launch.arguments[0]):
        view(gradient)[...] *= view(gradient).dtype.type(value)
    return result


def _reversed(left: Array, right: Array) -> Array:
    product: Array = np.matmul(np.ascontiguousarray(left[..., ::-1]), np.ascontiguousarray(right[..., ::-1, :]))
    return product


@change("matmul_reversed_sums")
def _matmul_reversed_sums(launch: Launch, value: float) -> Any:
    """A product, or products of batches, summed from the other end: not a mistake."""
    return _over(launch, _reversed(view(launch.arguments[0]), view(launch.arguments[1])))


@change("smooth_l1_beta")
def _smooth_l1_beta(launch: Launch, value: float) -> Any:
    """Another width of the quadratic part; the mean over all elements."""
    launch.genuine()
    return launch.run(*launch.arguments[:2], 1, value)
