"""The planted faults.  What a right answer is, is not written here: it is found while the faulty run is recorded."""

from __future__ import annotations

from benchmarks.localisation import jobs
from benchmarks.localisation.rows import BETWEEN, Case, Kernel, Side, variant

GROUPS = (
    "wrong formula",
    "wrong constant",
    "low precision in one call",
    "one call of many",
    "all calls of an operator",
    "backward only",
    "accumulation",
    "index and mask",
    "bias",
    "broadcasting",
    "one channel",
    "one head",
    "last tile",
    "NaN and Inf",
    "overwritten input",
    "stale buffer",
    "optimizer",
    "loss scaling",
    "gradient accumulation",
    "collective",
    "structure",
    "fused operator",
    "seed, data, weights",
    "one rank of several",
    "ranks against others",
)
"""The classes of faults, each with at least one row."""


def _cpu(operator: str, change: str, value: float = 0.0, *calls: int, within: str = "") -> Side:
    return Side(kernels=(Kernel(operator, change, value, calls or None, within=within),))


def _npu(*faults: str) -> Side:
    return Side(simulated=faults)


def _script(name: str, model: str, group: str, kinds: tuple[str, ...] = ("operator", "structure")) -> Case:
    """A fault that is a variant of the script; the calls of its marked lines are to be named."""
    return Case(name, model, group, Side(variables=variant(name)), Side(), "marked", kinds)


def _kind(name: str, model: str, group: str, kinds: tuple[str, ...], *variables: tuple[str, str]) -> Case:
    """A fault that no call is to blame for: the kind tells."""
    return Case(name, model, group, Side(variables=variables), Side(), "kind", kinds)


_COLLECTIVE = "c10d::allreduce_"
_SDPA = "aten::_scaled_dot_product_flash_attention_for_cpu"
_BY_HAND = variant("by_hand")
_OPTIMIZER_STEP = ("optimizer", "operator", "nan_inf")

FORMULAS = (
    Case("gelu-tanh", "decoder", "wrong formula", _cpu("aten::gelu", "gelu_tanh")),
    Case("gelu-sigmoid-once", "decoder", "one call of many", _cpu("aten::gelu", "gelu_sigmoid", 0, 2)),
    Case("tanh-rational", "experts", "wrong formula", _cpu("aten::tanh", "tanh_rational")),
    Case("silu-hard", "unet", "wrong formula", _cpu("aten::silu", "silu_hard")),
    Case("elu-without-minus-one", "adversaries", "wrong formula", _cpu("aten::elu", "elu_no_minus_one")),
    Case("softplus-relu", "adversaries", "wrong formula", _cpu("aten::softplus", "softplus_relu")),
    Case("layer-norm-unbiased", "decoder", "wrong formula", _cpu("aten::native_layer_norm", "layer_norm_unbiased")),
    Case("batch-norm-unbiased", "convnet", "wrong formula", _cpu("aten::native_batch_norm", "batch_norm_unbiased")),
    Case("group-norm-groups", "unet", "wrong formula", _cpu("aten::native_group_norm", "group_norm_groups", 0, 1)),
    Case("layer-norm-eps-once", "decoder", "wrong constant", _cpu("aten::native_layer_norm", "argument_4", 1e-3, 3)),
    Case("batch-norm-eps", "convnet", "wrong constant", _cpu("aten::native_batch_norm", "batch_norm_eps", 1e-3)),
    Case("leaky-slope", "adversaries", "wrong constant", _cpu("aten::leaky_relu", "argument_1", 0.21)),
    Case("smooth-l1-beta", "scaled", "wrong constant", _cpu("aten::smooth_l1_loss", "smooth_l1_beta", 1.1)),
    Case("softmax-temperature", "decoder", "wrong constant", _cpu("aten::_softmax", "reads_scaled", 1.01)),
    Case("attention-scale", "translator", "wrong constant", _cpu(_SDPA, "attention_scale", 1.02, 4)),
    Case("rms-norm-eps", "scaled", "wrong constant", _cpu("aten::add_.Scalar", "argument_1", 1e-2)),
)

PRECISION = (
    Case("linear-bf16-once", "decoder", "low precision in one call", _cpu("aten::addmm", "reads_bf16", 0, 5)),
    Case("conv-fp16-once", "convnet", "low precision in one call", _cpu("aten::convolution", "reads_fp16", 0, 2)),
    Case("bmm-tf32-once", "decoder", "low precision in one call", _cpu("aten::bmm", "reads_tf32", 0, 2)),
    Case("layer-norm-fp16-once", "decoder", "low precision in one call", _npu("aten::native_layer_norm=fp16@6")),
    Case("linear-bf16-once-npu", "decoder", "low precision in one call", _npu("aten::addmm=bf16@5")),
    Case("lstm-bf16", "recurrent", "low precision in one call", _cpu("aten::mkldnn_rnn_layer", "bf16", 0, 1)),
    Case("gelu-bf16", "decoder", "all calls of an operator", _npu("aten::gelu=bf16")),
    Case("silu-bf16", "unet", "all calls of an operator", _npu("aten::silu=bf16")),
    Case("batch-norm-bf16", "convnet", "all calls of an operator", _npu("aten::native_batch_norm=bf16")),
    Case("softmax-bf16", "decoder", "all calls of an operator", _cpu("aten::_softmax", "bf16")),
    Case(
        "conv-tf32",
        "unet",
        "all calls of an operator",
        _cpu("aten::convolution", "reads_tf32"),
        kinds=("operator", "dtype"),  # nearly all of its products are convolutions
    ),
    Case("linear-tf32", "translator", "all calls of an operator", _cpu("aten::addmm", "reads_tf32")),
    Case("expert-linear-fp16", "experts", "all calls of an operator", _npu("aten::addmm=fp16")),
    Case("linear-off-1e-4", "decoder", "one call of many", _cpu("aten::addmm", "noise", 1e-4, 9)),
    Case("gelu-off-1e-5", "decoder", "one call of many", _cpu("aten::gelu", "noise", 1e-5, 2)),
    Case("group-norm-off-3e-5", "unet", "one call of many", _cpu("aten::native_group_norm", "noise", 3e-5, 1)),
    Case("conv-off-3e-5", "convnet", "one call of many", _cpu("aten::convolution", "noise", 3e-5, 2)),
    Case("gru-sigmoid-once", "recurrent", "one call of many", _cpu("aten::sigmoid_", "scale_in_place", 1.01, 7)),
    Case("second-step-only", "experts", "one call of many", _cpu("aten::silu", "bf16", 0, 5)),
)

BACKWARD = (
    Case("gelu-backward-cdf", "decoder", "backward only", _cpu("aten::gelu_backward", "gelu_backward_cdf")),
    Case("tanh-backward-linear", "experts", "backward only", _cpu("aten::tanh_backward", "tanh_backward_linear")),
    Case(
        "softmax-backward-unsummed",
        "decoder",
        "backward only",
        _cpu("aten::_softmax_backward_data", "softmax_backward_unsummed", 0, 1),
    ),
    Case("silu-backward-sigmoid", "unet", "backward only", _cpu("aten::silu_backward", "silu_backward_sigmoid")),
    Case(
        "conv-weight-gradient",
        "convnet",
        "backward only",
        _cpu("aten::convolution_backward", "scale_second", 1.01, 1),
    ),
    Case(
        "layer-norm-backward-bf16", "decoder", "backward only", _cpu("aten::native_layer_norm_backward", "bf16", 0, 3)
    ),
    Case("linear-backward-bf16", "decoder", "backward only", _cpu("aten::mm", "bf16", 0, 7)),
    Case("batch-norm-backward-bf16", "convnet", "backward only", _npu("aten::native_batch_norm_backward=bf16@2")),
    Case(
        "max-pool-backward-shift",
        "convnet",
        "backward only",
        _cpu("aten::max_pool2d_with_indices_backward", "shift", 1, 0),
    ),
    Case("bias-gradient-halved", "decoder", "backward only", _cpu("aten::sum.dim_IntList", "scale", 0.5, 4)),
    Case(
        "cross-entropy-backward",
        "translator",
        "backward only",
        _cpu("aten::_log_softmax_backward_data", "scale", 1.001),
    ),
    Case("key-gradient", "translator", "backward only", _cpu(f"{_SDPA}_backward", "scale_second", 1.02, 1)),
    Case("lstm-backward", "recurrent", "backward only", _cpu("aten::mkldnn_rnn_layer_backward", "scale_second", 1.02)),
    Case("elu-backward-npu", "adversaries", "backward only", _npu("aten::elu_backward=scale:1.01")),
)

SUMS_AND_PLACES = (
    Case("bmm-fp16-sums", "decoder", "accumulation", _cpu("aten::bmm", "matmul_fp16_sums", 0, 3)),
    Case("linear-fp16-sums", "convnet", "accumulation", _cpu("aten::addmm", "addmm_fp16_sums")),
    Case("softmax-fp16-sums", "experts", "accumulation", _cpu("aten::_softmax", "softmax_fp16_sums")),
    Case("mean-fp16", "scaled", "accumulation", _cpu("aten::mean.dim", "fp16", 0, 3)),
    Case(
        "embedding-gradient-assigns",
        "recurrent",
        "accumulation",
        _cpu("aten::embedding_dense_backward", "embedding_gradient_assigns"),
    ),
    Case("index-add-lost-row", "experts", "accumulation", _cpu("aten::index_add", "index_add_lost_row", 0, 2)),
    Case("embedding-off-by-one", "translator", "index and mask", _cpu("aten::embedding", "embedding_off_by_one")),
    Case("softmax-open-mask", "decoder", "index and mask", _cpu("aten::_softmax", "softmax_open_mask", 0, 2)),
    Case("index-swapped-rows", "experts", "index and mask", _cpu("aten::index.Tensor", "swap_rows", 0, 1)),
    Case("max-pool-of-three", "convnet", "index and mask", _cpu("aten::max_pool2d_with_indices", "max_pool_of_three")),
    Case("average-of-three", "unet", "index and mask", _cpu("aten::avg_pool2d", "average_of_three")),
    Case("cat-order", "unet", "index and mask", _cpu("aten::cat", "cat_order", 0, 0)),
    Case("bmm-transposed", "decoder", "index and mask", _cpu("aten::bmm", "transposed", 0, 4)),
    Case("topk-second", "experts", "index and mask", _cpu("aten::topk", "topk_second")),
    Case("conv-flipped", "unet", "index and mask", _cpu("aten::convolution", "convolution_flipped", 0, 1)),
    _script("mask_off_by_one", "decoder", "index and mask"),
    _script("wrong_lengths", "translator", "index and mask"),
    Case("bias-dropped", "decoder", "bias", _cpu("aten::addmm", "bias_scaled", 0.0, 3)),
    Case("bias-doubled", "adversaries", "bias", _cpu("aten::addmm", "bias_scaled", 2.0)),
    Case("conv-bias-dropped", "unet", "bias", _cpu("aten::convolution", "convolution_no_bias", 0, 0)),
    Case("conv-bias-doubled", "convnet", "bias", _cpu("aten::convolution", "convolution_bias_twice", 0, 3)),
    Case("bias-of-first-column", "experts", "broadcasting", _cpu("aten::addmm", "bias_of_first", 0, 0)),
    Case("gain-by-row", "decoder", "broadcasting", _cpu("aten::native_layer_norm", "gain_of_first", 1e-3, 8)),
    Case("conv-channel", "convnet", "one channel", _cpu("aten::convolution", "channel", 1.01, 1)),
    Case("group-norm-channel", "unet", "one channel", _cpu("aten::native_group_norm", "channel", 0.99, 2)),
    Case("linear-feature", "scaled", "one channel", _cpu("aten::mm", "last_axis_channel", 1.05, 1)),
    Case("score-head", "decoder", "one head", _cpu("aten::bmm", "head", 1.02, 4)),
    Case("value-head", "decoder", "one head", _cpu("aten::bmm", "head", 0.97, 5)),
    Case("linear-last-tile", "decoder", "last tile", _npu("aten::addmm=zero_tail:5@3")),
    Case("linear-lost-k", "translator", "last tile", _cpu("aten::addmm", "addmm_lost_k", 3, 1)),
    Case("silu-last-tile", "scaled", "last tile", _cpu("aten::silu", "last_tile", 2, 1)),
    Case("hardswish-last-rows", "replicas", "last tile", _cpu("aten::hardswish", "last_rows", 3)),
    Case("tanh-scattered", "adversaries", "one call of many", _cpu("aten::tanh", "scattered", 1e-2, 1)),
    Case("gelu-one-element", "decoder", "one call of many", _cpu("aten::gelu", "one_element", 0.1, 1)),
)

NON_FINITE_AND_BUFFERS = (
    Case("gelu-nan-npu", "decoder", "NaN and Inf", _npu("aten::gelu=nan:5@1")),
    Case("batch-norm-inf", "convnet", "NaN and Inf", _cpu("aten::native_batch_norm", "inf", 40, 1)),
    Case("inf-gone-by-tanh", "experts", "NaN and Inf", _cpu("aten::addmm", "inf", 7, 0)),
    Case("nan-gone-by-mask", "decoder", "NaN and Inf", _cpu("aten::bmm", "nan_above", 0, 4)),
    Case("inf-gone-by-mask", "decoder", "NaN and Inf", _cpu("aten::bmm", "inf_above", 0, 2)),
    Case("conv-backward-nan", "unet", "NaN and Inf", _cpu("aten::convolution_backward", "nan", 3, 2)),
    Case("loss-nan", "adversaries", "NaN and Inf", _npu("aten::softplus=nan:0@4")),
    _script("overwritten", "decoder", "overwritten input", BETWEEN),
    Case(
        "norm-overwrites-input",
        "decoder",
        "overwritten input",
        _cpu("aten::native_layer_norm", "overwrites_input", 1.5, 2),
        kinds=BETWEEN,
    ),
    Case(
        "gelu-overwrites-input",
        "decoder",
        "overwritten input",
        _cpu("aten::gelu", "overwrites_input", 1.5, 1),
        kinds=BETWEEN,
    ),
    Case("norm-stale", "decoder", "stale buffer", _cpu("aten::native_layer_norm", "stale", 0, 4)),
    Case("silu-stale-tail", "scaled", "stale buffer", _cpu("aten::silu", "stale_tail", 0, 3)),
    Case("elu-stale", "adversaries", "stale buffer", _cpu("aten::elu", "stale", 0, 1)),
)

TRAINING = (
    _kind("wrong_lr", "decoder", "optimizer", ("optimizer",), *variant("wrong_lr")),
    _kind("wrong_beta", "decoder", "optimizer", ("optimizer",), *variant("wrong_beta")),
    _kind("wrong_adam_eps", "decoder", "optimizer", ("optimizer",), *variant("wrong_adam_eps")),
    _kind("wrong_decay", "decoder", "optimizer", ("optimizer",), *variant("wrong_decay")),
    _kind("wrong_momentum", "convnet", "optimizer", ("optimizer",), *variant("wrong_momentum")),
    _kind("wrong_generator_beta", "adversaries", "optimizer", ("optimizer",), *variant("wrong_generator_beta")),
    Case(
        "update-scaled",
        "experts",
        "optimizer",
        _cpu("aten::addcdiv_", "scale_update", 1.05),
        kinds=_OPTIMIZER_STEP,
    ),
    _script("undivided_loss", "scaled", "loss scaling"),
    _script("not_unscaled", "scaled", "loss scaling"),
    Case(
        "unscale-wrong",
        "scaled",
        "loss scaling",
        _cpu("aten::_amp_foreach_non_finite_check_and_unscale_", "unscale_wrong", 1.1),
        kinds=BETWEEN,
    ),
    Case(
        "lost_part",
        "scaled",
        "gradient accumulation",
        Side(variables=variant("lost_part")),
        answer="one side",
        kinds=("structure", "operator"),
    ),
    Case(
        "accumulation-halved",
        "scaled",
        "gradient accumulation",
        _cpu("aten::add_.Tensor", "scale_in_place", 0.5, 3, within="AccumulateGrad"),
        kinds=BETWEEN,
    ),
    _script("wrong_balance", "experts", "wrong constant"),
    _script("wrong_clip", "recurrent", "wrong constant"),
    Case(
        "all-reduce-on-rank-1",
        "replicas",
        "collective",
        Side(_BY_HAND, (Kernel(_COLLECTIVE, "", 1.5, (2,), rank=1),), ranks=2),
        Side(_BY_HAND, ranks=2),
        kinds=BETWEEN,
    ),
    Case(
        "ddp-bucket-on-rank-1",
        "replicas",
        "collective",
        Side(kernels=(Kernel(_COLLECTIVE, "", 1.01, (0,), rank=1),), ranks=2),
        Side(ranks=2),
        kinds=BETWEEN,
    ),
    Case(
        "loss-mean-on-rank-0",
        "replicas",
        "collective",
        Side(kernels=(Kernel(_COLLECTIVE, "", 0.5, (1,), rank=0),), ranks=2),
        Side(ranks=2),
        kinds=BETWEEN,
    ),
)

STRUCTURE = (
    _script("extra_call", "decoder", "structure"),
    _script("missing_norm", "decoder", "structure"),
    _script("act_before_norm", "convnet", "structure"),
    _script("swapped_order", "translator", "structure"),
    _script("skip_swapped", "unet", "structure"),
    _script("normalised_routes", "experts", "structure"),
    _script("clipped", "convnet", "structure"),
    _script("norm_eps", "decoder", "wrong constant"),
    Case(
        "fused-attention-scale",
        "decoder",
        "fused operator",
        Side(variant("fused_attention"), (Kernel(_SDPA, "attention_scale", 1.02),)),
        kinds=BETWEEN,
    ),
    Case(
        "fused-attention-bf16",
        "decoder",
        "fused operator",
        Side(variant("fused_attention"), (Kernel(_SDPA, "reads_bf16", 0, (1,)),)),
        kinds=BETWEEN,
    ),
    Case(
        "dropout_other_seed",
        "decoder",
        "seed, data, weights",
        Side(variables=variant("dropout_other_seed")),
        Side(variables=variant("dropout")),
        "kind",
        ("random",),
    ),
    _kind("other-data", "convnet", "seed, data, weights", ("input", "random"), ("DATA_SEED", "2")),
    _kind("other-tokens", "translator", "seed, data, weights", ("input", "random"), ("DATA_SEED", "2")),
    _kind("other-weights", "unet", "seed, data, weights", ("input",), ("SEED", "5")),
    _kind("weights_touched", "convnet", "seed, data, weights", ("input",), *variant("weights_touched")),
    _kind("forget_bias", "recurrent", "seed, data, weights", ("input",), *variant("forget_bias")),
    _kind("wrong_label", "convnet", "seed, data, weights", ("input",), *variant("wrong_label")),
)

FAULTS = (
    *FORMULAS,
    *PRECISION,
    *BACKWARD,
    *SUMS_AND_PLACES,
    *NON_FINITE_AND_BUFFERS,
    *TRAINING,
    *STRUCTURE,
    *jobs.FAULTS,
)
