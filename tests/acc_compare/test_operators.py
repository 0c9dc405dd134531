"""The table of operators, and the one way to name them."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from acc_compare.operators import (
    OPERATORS,
    UNIT_ROUNDOFF,
    Mark,
    draws,
    draws_with,
    functional_name,
    has,
    is_floating,
    is_mean,
    is_random_source,
    is_shaped_by_values,
    is_uninitialised,
    jumps,
    moves_layout_only,
    moves_memory_only,
    operator_class,
    overwrites,
    plain_name,
    product_of,
    roundoff,
)


@pytest.mark.parametrize(
    ("api", "expected"),
    [
        ("view", "exact"),
        ("relu", "exact"),
        ("__getitem__", "exact"),
        ("max_pool2d", "exact"),
        ("gelu", "elementwise"),
        ("__iadd__", "elementwise"),
        ("__rsub__", "elementwise"),
        ("__truediv__", "elementwise"),
        ("mul_", "elementwise"),
        ("arange", "elementwise"),  # start + i * step rounds
        ("linspace", "elementwise"),
        ("linear", "contraction"),
        ("__matmul__", "contraction"),
        ("scaled_dot_product_attention", "contraction"),
        ("mean", "reduction"),
        ("fold", "reduction"),  # adds up what overlaps
        ("linalg.norm", "reduction"),
        ("batch_norm", "normalisation"),
        ("softmax", "exponential"),
        ("cross_entropy", "exponential"),
        ("nobody_knows_this", "general"),
    ],
)
def test_operator_classes(api: str, expected: str) -> None:
    assert operator_class(api) == expected


def test_every_row_bears_its_plain_name() -> None:
    assert [name for name in OPERATORS if plain_name(name) != name] == []


def test_every_mark_is_used() -> None:
    assert set(get_args(Mark)) == {mark for row in OPERATORS.values() for mark in row.marks}


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        ("add add_ __add__ __iadd__ __radd__ _foreach_add _foreach_add_ add.Tensor aten.add", "add"),
        ("__rsub__ rsub subtract subtract_ __isub__", "sub"),
        ("__itruediv__ __rtruediv__ __rdiv__ true_divide divide_", "div"),
        ("__ifloordiv__ __rfloordiv__ floor_divide_", "floor_divide"),
        ("__imod__ __mod__", "remainder"),
        ("__imatmul__ __rmatmul__ linalg.matmul", "matmul"),
        ("__invert__ bitwise_not_", "bitwise_not"),
        ("__eq__ eq_", "eq"),
        ("round_ special.round _foreach_round_", "round"),
        ("special.expit expit", "sigmoid"),
        ("linalg.inv inverse linalg_inv", "inv"),
        ("view_copy _unsafe_view", "view"),
        ("index_copy_", "index_copy"),
        ("max_pool2d_with_indices", "max_pool2d"),
        ("npu_bmmV2", "bmm"),
        ("npu_rms_norm", "rms_norm"),
        ("npu_fusion_attention_v3 npu_fusion_attention", "fusion_attention"),
        ("_npu_dropout native_dropout", "dropout"),
        ("slow_conv_transpose2d", "conv_transpose2d"),
        ("mine.gelu", "mine.gelu"),  # an operator of the user's own namespace is not torch's
        ("_", "_"),
        ("____", "____"),
    ],
)
def test_all_spellings_have_one_name(spellings: str, name: str) -> None:
    assert {plain_name(spelling) for spelling in spellings.split()} == {name}


@pytest.mark.parametrize(
    ("module", "functional"),
    [
        ("LayerNorm", "layer_norm"),
        ("BatchNorm2d", "batch_norm"),
        ("SyncBatchNorm", "batch_norm"),
        ("InstanceNorm1d", "instance_norm"),
        ("RMSNorm", "rms_norm"),
        ("Conv2d", "conv2d"),
        ("ConvTranspose3d", "conv_transpose3d"),
        ("AdaptiveAvgPool2d", "adaptive_avg_pool2d"),
        ("GELU", "gelu"),
        ("ReLU", "relu"),
        ("ReLU6", "relu6"),
        ("SiLU", "silu"),
        ("LeakyReLU", "leaky_relu"),
        ("LSTM", "lstm"),
        ("LSTMCell", "lstm_cell"),
        ("RNN", "rnn_tanh"),
        ("MultiheadAttention", "multi_head_attention_forward"),
        ("LogSoftmax", "log_softmax"),
        ("CrossEntropyLoss", "cross_entropy"),
        ("MSELoss", "mse_loss"),
        ("BCEWithLogitsLoss", "binary_cross_entropy_with_logits"),
        ("KLDivLoss", "kl_div"),
        ("MyFancyBlock", "my_fancy_block"),
        ("Softmax2d", "softmax"),
        ("Normal", "Normal"),  # a class of the user's, which draws nothing
    ],
)
def test_functional_name(module: str, functional: str) -> None:
    assert functional_name(module) == functional


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("torch.float16", True),
        ("torch.bfloat16", True),
        ("torch.complex64", True),
        ("torch.float8_e5m2", True),
        ("torch.int64", False),
        ("torch.bool", False),
        ("torch.uint8", False),
    ],
)
def test_is_floating(dtype: str, expected: bool) -> None:
    assert is_floating(dtype) is expected


@pytest.mark.parametrize(
    ("ask", "yes", "no"),
    [
        (draws, "dropout", "gelu"),
        (draws, "bernoulli_", "softmax"),
        (is_random_source, "randn", "dropout"),
        (moves_memory_only, "empty_like", "clone"),
        (moves_memory_only, "__setitem__", "__getitem__"),
        (is_uninitialised, "new_empty", "new_zeros"),
        (overwrites, "copy_", "add_"),
        (overwrites, "normal_", "clone"),
        (is_shaped_by_values, "nonzero", "conv2d"),
        (moves_layout_only, "transpose", "mul"),
        (is_mean, "mse_loss", "sum"),
        (lambda api: has(api, "converts"), "to", "clone"),
        (lambda api: has(api, "compound"), "lstm", "linear"),
        (is_random_source, "bernoulli_", "bernoulli"),
        (lambda api: jumps(api, backward=True), "relu", "gelu"),
        (lambda api: jumps(api, backward=False), "round_", "relu"),
        (lambda api: jumps(api, {"input.1": 1.0}, backward=True), "selu", "elu"),
        (lambda api: jumps(api, {}, backward=True), "relu", "elu_"),
        (lambda api: jumps(api, {"input.alpha": 2.0}, backward=True), "elu", "celu"),
        (lambda api: jumps(api, None, backward=True), "elu", "celu"),
        (lambda api: jumps(api, {"input.reduce": "amax"}, backward=True), "index_reduce", "index_add"),
        (lambda api: jumps(api, {"input.3": "mean"}, backward=True), "relu", "scatter_reduce"),
    ],
)
def test_tables_say_yes_and_no(ask, yes: str, no: str) -> None:  # type: ignore[no-untyped-def]
    assert ask(yes)
    assert not ask(no)


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_unit_roundoffs_are_those_of_the_format(name: str) -> None:
    assert UNIT_ROUNDOFF[f"torch.{name}"] == float(np.finfo(name).eps) / 2


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (["torch.float32"], 2.0**-24),
        (["torch.float32", "torch.bfloat16"], 2.0**-8),
        (["torch.int64", "torch.bool"], 0.0),
        ([], 0.0),
    ],
)
def test_roundoff_is_that_of_the_shortest(dtypes: list[str], expected: float) -> None:
    assert roundoff(dtypes) == expected


@pytest.mark.parametrize(
    ("api", "setting"), [("linear", "matmul"), ("npu_bmmV2", "matmul"), ("conv2d", "conv"), ("gelu", "")]
)
def test_the_setting_that_governs_a_product(api: str, setting: str) -> None:
    assert product_of(api) == setting


@pytest.mark.parametrize(
    ("api", "values", "expected"),
    [
        ("dropout", {}, True),
        ("dropout", {"input.p": 0.0}, False),
        ("dropout", {"input.1": 0.1, "input.training": False}, False),
        ("alpha_dropout", {"input.1": 0.1}, False),  # trains only where it is told to
        ("scaled_dot_product_attention", {}, False),
        ("scaled_dot_product_attention", {"input.dropout_p": 0.1}, True),
        ("lstm", {"input.5": 0.1, "input.6": True}, True),
        ("lstm", {"input.5": 0.1, "input.6": False}, False),
        ("npu_fusion_attention", {"input.keep_prob": 0.9}, True),
        ("npu_fusion_attention", {}, False),
        ("bernoulli", {}, True),
        ("gelu", {}, False),
    ],
)
def test_a_call_draws_as_its_options_say(api: str, values: dict[str, object], expected: bool) -> None:
    assert draws_with(api, values) is expected
