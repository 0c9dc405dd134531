"""What is known of operators and number formats beforehand: tables, each with its source.

An operator's class says how its error grows, not what it computes.  One that is in no table is judged as `general`:
smooth, with a growth of sqrt(K) over its inputs, which is lenient.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal, TypeAlias

OperatorClass: TypeAlias = Literal[
    "exact", "elementwise", "contraction", "reduction", "normalisation", "exponential", "general"
]

# Unit roundoff u = 2^-p for p bits of significand: IEEE 754-2019 (binary16/32/64); bfloat16: Intel, BFLOAT16 Hardware
# Numerics Definition (2018); float8: Micikevicius et al., FP8 Formats for Deep Learning (2022).
UNIT_ROUNDOFF: Mapping[str, float] = {
    "torch.float64": 2.0**-53,
    "torch.complex128": 2.0**-53,
    "torch.float32": 2.0**-24,
    "torch.complex64": 2.0**-24,
    "torch.float16": 2.0**-11,
    "torch.complex32": 2.0**-11,
    "torch.bfloat16": 2.0**-8,
    "torch.float8_e4m3fn": 2.0**-4,
    "torch.float8_e4m3fnuz": 2.0**-4,
    "torch.float8_e5m2": 2.0**-3,
    "torch.float8_e5m2fnuz": 2.0**-3,
    "torch.float8_e8m0fnu": 2.0**-1,
}
# Rounding of inputs that hardware may apply inside a float32 matmul: 10-bit mantissas (NVIDIA TF32, Ascend HF32).
TENSOR_FLOAT_ROUNDOFF = 2.0**-11

_CLASSES: Mapping[OperatorClass, str] = {
    # Results are copies, selections or sign changes of inputs: no rounding (PyTorch, "Tensor Views"; IEEE 754, 5.5.1).
    "exact": """
        view reshape view_as reshape_as permute transpose t movedim moveaxis swapaxes swapdims squeeze unsqueeze
        flatten unflatten ravel expand expand_as broadcast_to repeat repeat_interleave tile narrow select chunk split
        split_with_sizes tensor_split unbind hsplit vsplit dsplit unfold getitem setitem index index_select gather
        take take_along_dim masked_select masked_fill masked_fill_ where cat concat concatenate stack hstack vstack
        dstack column_stack flip fliplr flipud rot90 roll diagonal diag diag_embed tril triu pad pixel_shuffle
        pixel_unshuffle channel_shuffle native_channel_shuffle clone contiguous copy_ detach to type_as float double
        half bfloat16 cpu cuda npu as_strided embedding one_hot neg negative abs absolute relu relu_ relu6 hardtanh
        hardtanh_ threshold threshold_ clamp clamp_ clamp_min clamp_min_ clamp_max clamp_max_ clip clip_ maximum
        minimum max min amax amin aminmax max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d
        adaptive_max_pool3d max_pool2d_with_indices sort topk argsort argmax argmin kthvalue unique eq ne lt le gt ge
        logical_and logical_or logical_not isnan isfinite zeros zeros_like ones ones_like full full_like new_zeros
        new_ones new_full eye tensor as_tensor from_numpy zero_ fill_ scatter scatter_ index_fill index_copy
        broadcast all_gather all_gather_into_tensor send recv isend irecv all_to_all all_to_all_single broadcast_tensors
        meshgrid nonzero sign bool long int floor ceil round trunc narrow_copy view_as_real
        view_as_complex real imag conj glu_split positive swapaxes_ squeeze_ unsqueeze_ t_ transpose_
    """,
    # One rounding or a few for each element (Higham, Accuracy and Stability of Numerical Algorithms, 2002, 2.2).
    "elementwise": """
        add add_ sub sub_ subtract rsub mul mul_ multiply div div_ divide true_divide remainder fmod addcmul addcdiv
        addcmul_ addcdiv_ lerp lerp_ sqrt rsqrt reciprocal square pow pow_ float_power sin cos tan asin acos atan atan2
        sinh cosh tanh sigmoid logsigmoid hardsigmoid silu mish gelu elu elu_ selu celu leaky_relu leaky_relu_ prelu
        rrelu softplus softsign tanhshrink hardswish hardshrink softshrink glu swiglu erf erfc erfinv lgamma digamma
        dropout dropout_ dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout complex polar hypot
        interpolate upsample upsample_nearest upsample_bilinear grid_sample affine_grid npu_swiglu npu_fast_gelu
        npu_gelu npu_rotary_mul special.expit special.erf deg2rad rad2deg xlogy nan_to_num arange linspace logspace
    """,
    # Sums of K products (Higham 2002, 3.1 and 3.5; Higham and Mary 2019 for the sqrt(K) of random rounding).
    "contraction": """
        linear matmul mm bmm mv dot vdot inner outer ger addmm addmm_ addbmm addmv addr baddbmm baddbmm_ einsum
        tensordot bilinear conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d kron
        chain_matmul linalg.matmul linalg.multi_dot linalg.vecdot npu_linear npu_bmmV2 npu_grouped_matmul grouped_mm
        scaled_mm cdist lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell
        scaled_dot_product_attention multi_head_attention_forward npu_fusion_attention npu_fusion_attention_v3
        npu_prompt_flash_attention npu_incre_flash_attention
    """,
    # Sums of K terms.
    "reduction": """
        sum mean nansum nanmean var std var_mean std_mean norm linalg.norm linalg.vector_norm linalg.matrix_norm prod
        cumsum cumsum_ cumprod logcumsumexp trace avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
        adaptive_avg_pool2d adaptive_avg_pool3d lp_pool1d lp_pool2d index_add index_add_ scatter_add scatter_add_
        scatter_reduce scatter_reduce_ index_reduce segment_reduce bincount histc embedding_bag all_reduce reduce
        reduce_scatter reduce_scatter_tensor mse_loss l1_loss smooth_l1_loss huber_loss kl_div cosine_similarity
        pairwise_distance cosine_embedding_loss hinge_embedding_loss margin_ranking_loss triplet_margin_loss
        index_put index_put_ grid_sampler fold
    """,
    # Differences from a mean over a deviation: relative error grows where the mean is large against it.
    "normalisation": """
        layer_norm batch_norm group_norm instance_norm rms_norm local_response_norm normalize native_layer_norm
        native_batch_norm native_group_norm npu_rms_norm npu_add_rms_norm npu_layer_norm_eval npu_group_norm_silu
    """,
    # exp turns the absolute error of its input into the relative error of its output (Higham 2002, 1.6).
    "exponential": """
        softmax log_softmax softmin gumbel_softmax exp exp_ expm1 exp2 logsumexp log log_ log2 log10 log1p cross_entropy
        nll_loss binary_cross_entropy binary_cross_entropy_with_logits soft_margin_loss multilabel_margin_loss
        multilabel_soft_margin_loss multi_margin_loss poisson_nll_loss gaussian_nll_loss ctc_loss linear_cross_entropy
        special.softmax special.log_softmax special.logsumexp npu_scaled_masked_softmax npu_cross_entropy_loss
    """,
}

# Derivative jumps, or a choice among inputs: an input that moves by a rounding can change a whole element of the
# gradient (or of the result, for the second table).
_THRESHOLDS_BACKWARD = frozenset(
    """
    relu relu_ relu6 hardtanh hardtanh_ threshold threshold_ clamp clamp_ clamp_min clamp_max clip leaky_relu
    leaky_relu_ prelu rrelu hardswish hardsigmoid hardshrink softshrink abs l1_loss smooth_l1_loss huber_loss
    margin_ranking_loss triplet_margin_loss sign elu selu celu
    """.split()
)
_CHOICES_BACKWARD = frozenset(
    """
    max min amax amin maximum minimum max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d max_pool2d_with_indices sort topk where
    """.split()
)
_JUMPS_FORWARD = frozenset(
    """
    argmax argmin argsort sort topk sign round floor ceil trunc eq ne lt le gt ge unique nonzero multinomial bernoulli
    floor_divide floordiv int long bool one_hot kthvalue mode searchsorted bucketize
    """.split()
)

# Draw from a generator (PyTorch, "Reproducibility"; torch.Generator users in native_functions.yaml).
_RANDOM = frozenset(
    """
    dropout dropout_ dropout1d dropout2d dropout3d alpha_dropout alpha_dropout_ feature_alpha_dropout feature_dropout
    native_dropout rrelu rrelu_ gumbel_softmax bernoulli bernoulli_ multinomial normal normal_ poisson rand rand_like
    randn randn_like randint randint_like randperm random_ uniform_ exponential_ cauchy_ geometric_ log_normal_
    fractional_max_pool2d fractional_max_pool3d npu_dropout npu_dropout_add_layer_norm _npu_dropout
    scaled_dot_product_attention multi_head_attention_forward npu_fusion_attention npu_fusion_attention_v3 lstm gru
    rnn_tanh rnn_relu
    """.split()
)
_RANDOM_SOURCES = frozenset(
    """
    rand rand_like randn randn_like randint randint_like randperm normal normal_ random_ uniform_ exponential_ cauchy_
    geometric_ log_normal_ bernoulli_ poisson
    """.split()
)

# Only make or move memory: not judged by the classic rules (results.md).
_MEMORY_ONLY = frozenset(
    """
    empty empty_like empty_strided new_empty new_empty_strided to numpy setitem empty_with_format resize_ resize_as_
    pin_memory share_memory_
    """.split()
)

# Make memory whose contents mean nothing until something is written to it.
_UNINITIALISED = frozenset(
    "empty empty_like empty_strided new_empty new_empty_strided empty_with_format resize_ resize_as_".split()
)

# The shape of the result depends on the values read.
_SHAPED_BY_VALUES = frozenset(
    "nonzero argwhere masked_select unique unique_consecutive getitem index where repeat_interleave bincount".split()
)

_BY_NAME: dict[str, OperatorClass] = {name: kind for kind, text in _CLASSES.items() for name in text.split()}


_SPELLINGS: dict[str, str] = {name.replace("_", ""): name for name in _BY_NAME if not name.endswith("_")}


def known_spelling(flat: str) -> str | None:
    """The operator whose name without underscores is `flat` (`layernorm` -> `layer_norm`); None for none known."""
    return _SPELLINGS.get(flat)


@cache
def plain_api(api: str) -> str:
    """An api's name without the dress that Python gives it: `__iadd__` and `__radd__` are `add`."""
    if api.startswith("__") and api.endswith("__"):
        inner = api[2:-2]
        for prefix in ("i", "r"):
            if inner.startswith(prefix) and inner[1:] in _BY_NAME and inner not in _BY_NAME:
                return inner[1:]
        return {"truediv": "div", "itruediv": "div", "rtruediv": "div", "imatmul": "matmul"}.get(inner, inner)
    return api


@cache
def operator_class(api: str) -> OperatorClass:
    """The class of an api as a call name has it (`gelu`, `__iadd__`, `linalg.norm`)."""
    name = plain_api(api)
    found = _BY_NAME.get(name) or _BY_NAME.get(name.rstrip("_"))
    return found if found is not None else "general"


def jumps(api: str, *, backward: bool) -> bool:
    """Can a rounding of what this call reads change whole elements of what it writes?"""
    name = plain_api(api)
    return name in _THRESHOLDS_BACKWARD or name in _CHOICES_BACKWARD if backward else name in _JUMPS_FORWARD


def jumps_at_thresholds(api: str) -> bool:
    """Does its gradient jump where an element crosses a fixed value, and nowhere else?  Other jumps come from ties
    between elements, which may be exact on one side."""
    return plain_api(api) in _THRESHOLDS_BACKWARD


def draws(api: str) -> bool:
    """May this operator draw random numbers?"""
    return plain_api(api) in _RANDOM


def is_random_source(api: str) -> bool:
    """Does it make random numbers from nothing, rather than apply them to an input?"""
    return plain_api(api) in _RANDOM_SOURCES


def moves_memory_only(api: str) -> bool:
    return plain_api(api) in _MEMORY_ONLY


def is_uninitialised(api: str) -> bool:
    """Does it make memory that holds whatever was there before?"""
    return plain_api(api) in _UNINITIALISED


def overwrites(api: str) -> bool:
    """Does it write every element of the tensor that it is called on, whatever that held?"""
    return plain_api(api) in ("fill_", "zero_", "copy_") or is_random_source(api)


def is_shaped_by_values(api: str) -> bool:
    """Does the shape of what it makes depend on the values it reads?"""
    return plain_api(api) in _SHAPED_BY_VALUES


def roundoff(dtypes: Iterable[str]) -> float:
    """The largest unit roundoff among floating dtypes; 0 where there is none (integers, bool)."""
    return max((UNIT_ROUNDOFF.get(dtype, 0.0) for dtype in dtypes), default=0.0)


def growth(terms: float) -> float:
    """How rounding grows over a sum of `terms` terms, in unit roundoffs: sqrt(K), the random walk of Higham and Mary
    (2019), with 4 for the last digits of one rounding."""
    return 4.0 + math.sqrt(max(terms, 1.0))


_ADDITIVE = frozenset("add add_ sub sub_ rsub subtract lerp lerp_".split())


def is_additive(api: str) -> bool:
    """Is the result a sum or a difference, so that errors of the inputs add as they are?"""
    return plain_api(api) in _ADDITIVE


def is_mean(api: str) -> bool:
    """Is a sum divided by the number of its terms?"""
    return any(part in api for part in ("mean", "avg_pool", "loss"))


def is_logarithmic(api: str) -> bool:
    return any(part in api for part in ("log", "loss", "entropy"))


def is_indexed(api: str) -> bool:
    return any(part in api for part in ("embedding", "index", "gather", "getitem", "scatter", "take"))


def overlaps(api: str) -> bool:
    return any(part in api for part in ("pool", "pad", "amax", "amin"))
