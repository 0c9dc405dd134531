"""One name for one operator, however it was called.

Python dresses names (`__iadd__`, `__radd__`, `add_`), torch has several for one thing (`multiply`, `special.expit`,
`_foreach_add_`, `view_copy`), a vendor has more (`npu_bmmV2`), and modules have the names of classes (`BatchNorm2d`).
`out=` is no spelling: it is an argument, which a call writes and does not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from acc_compare.operators.table import OPERATORS

_NAMESPACES = ("special.", "linalg.", "fft.", "sparse.", "nn.functional.", "aten.", "functional.")
_PREFIXES = (
    "_foreach_", "_", "npu_", "native_", "unsafe_", "slow_", "thnn_", "miopen_", "mkldnn_", "cudnn_", "special_",
    "linalg_", "fft_", "sparse_",
)  # fmt: skip
_SUFFIXES = ("_copy", "_with_indices", "_with_noise", "_nd", "_npu", "V2")
_VERSION = re.compile(r"_v\d+$")

# Two names of torch for one operator, and those that Python gives operators (the data model's emulated numbers).
_SAME = {
    alias: name
    for name, aliases in {
        "add": "stride_add",
        "sub": "subtract rsub",
        "mul": "multiply",
        "div": "divide true_divide truediv",
        "floor_divide": "floordiv",
        "remainder": "mod",
        "bitwise_and": "and",
        "bitwise_or": "or",
        "bitwise_xor": "xor",
        "bitwise_not": "invert",
        "bitwise_left_shift": "lshift",
        "bitwise_right_shift": "rshift",
        "neg": "negative",
        "abs": "absolute",
        "clamp": "clip",
        "trunc": "fix",
        "cat": "concat concatenate",
        "vstack": "row_stack",
        "movedim": "moveaxis",
        "transpose": "swapaxes swapdims npu_transpose confusion_transpose",
        "gt": "greater",
        "ge": "greater_equal",
        "lt": "less",
        "le": "less_equal",
        "ne": "not_equal",
        "acos": "arccos",
        "acosh": "arccosh",
        "asin": "arcsin",
        "asinh": "arcsinh",
        "atan": "arctan",
        "atanh": "arctanh",
        "atan2": "arctan2",
        "sigmoid": "expit",
        "digamma": "psi",
        "lgamma": "gammaln",
        "mvlgamma": "multigammaln",
        "igamma": "gammainc",
        "igammac": "gammaincc",
        "logsigmoid": "log_sigmoid",
        "gelu": "fast_gelu",
        "trapezoid": "trapz",
        "fold": "col2im",
        "unfold": "im2col",
        "roll": "fftshift ifftshift",
        "outer": "ger",
        "mm": "dsmm hsmm smm spmm hspmm",
        "addmm": "saddmm sspaddmm",
        "batchmatmul": "transpose_batchmatmul",
        "householder_product": "orgqr",
        "inv": "inverse",
        "pinv": "pinverse",
        "solve_triangular": "triangular_solve",
        "linear": "fbgemm_linear_fp16_weight fbgemm_linear_fp16_weight_fp32_activation",
        "conv2d": "conv2d_forward miopen_depthwise_convolution miopen_convolution_relu miopen_convolution_add_relu",
        "convolution": "miopen_convolution",
        "multi_head_attention_forward": "_native_multi_head_attention npu_multi_head_attention",
        "scaled_dot_product_attention": "fused_attention_score",
        "cross_entropy": "cross_entropy_loss",
        "layer_norm": "layer_norm_eval",
        "nll_loss": "nll_loss2d",
        "embedding": "embedding_renorm",
        "to": "to_copy",
        "batch_norm": "batch_norm_with_update batch_norm_legit",
        "softmax": "safe_softmax",
        "all_reduce": "all_reduce_coalesced ddp_all_reduce",
        "all_gather": "all_gather_coalesced",
        "all_gather_into_tensor": "all_gather_base all_gather_into_tensor_coalesced",
        "all_to_all_single": "shard_dim_alltoall",
        "reduce_scatter_tensor": "reduce_scatter_base reduce_scatter_tensor_coalesced",
    }.items()
    for alias in aliases.split()
}

# Module classes that do not spell the name of their functional.
_CLASSES = {
    "bceloss": "binary_cross_entropy",
    "bcewithlogitsloss": "binary_cross_entropy_with_logits",
    "multiheadattention": "multi_head_attention_forward",
    "rnn": "rnn_tanh",
    "rnncell": "rnn_tanh_cell",
    "syncbatchnorm": "batch_norm",
}
_DIMENSIONS = re.compile(r"[123]d$")
_NO_MODULE = frozenset({"source", "source_in_place", "memory", "uninitialised", "converts"})
_FLAT = {name.replace("_", ""): name for name, row in OPERATORS.items() if not row.marks & _NO_MODULE}
_FLAT |= {alias.replace("_", ""): name for alias, name in _SAME.items() if not OPERATORS[name].marks & _NO_MODULE}


@lru_cache(maxsize=1 << 12)
def plain_name(api: str) -> str:
    """The operator that an api stands for, in torch's plainest spelling; of an unknown api its name undressed.

    >>> [plain_name(api) for api in ("__iadd__", "add_", "_foreach_add_", "special.expit", "npu_bmmV2", "mine.gelu")]
    ['add', 'add', 'add', 'sigmoid', 'bmm', 'mine.gelu']
    """
    candidates = list(_undressed(api))
    return next((found for name in candidates if (found := _known(name)) is not None), candidates[0])


def _known(name: str) -> str | None:
    return name if name in OPERATORS else _SAME.get(name)


def _undressed(api: str) -> Iterator[str]:
    """What `api` may be a spelling of, the likeliest first."""
    name = api
    if name.startswith("__") and name.endswith("__") and len(name) > 4:
        name = name[2:-2]
        if _known(name) is None and name[:1] in ("i", "r") and _known(name[1:]) is not None:
            name = name[1:]
    for namespace in _NAMESPACES:
        name = name.removeprefix(namespace)
    name = name.rstrip("_") or name
    yield name
    head, _, overload = name.partition(".")
    if overload:  # `add.Tensor`, as the dispatcher has it
        yield head.rstrip("_") or head
        return
    bare = name
    for prefix in _PREFIXES:
        bare = bare.removeprefix(prefix)
    yield bare
    plain = _VERSION.sub("", bare)
    for suffix in _SUFFIXES:
        plain = plain.removesuffix(suffix)
    yield plain


@lru_cache(maxsize=1 << 12)
def functional_name(module_class: str) -> str:
    """The functional that a module's class stands for: `LayerNorm` -> `layer_norm`, `ReLU` -> `relu`, `BatchNorm2d` ->
    `batch_norm`, `Conv2d` -> `conv2d`, `CrossEntropyLoss` -> `cross_entropy`; of an unknown class its snake case."""
    flat = module_class.lower()
    for candidate in (flat, _DIMENSIONS.sub("", flat), flat.removesuffix("loss")):
        known = _CLASSES.get(candidate) or _FLAT.get(candidate)
        if known is not None:
            return known
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", module_class).lower()
    return module_class if _known(words) is not None else words  # a user's `Normal` draws nothing
