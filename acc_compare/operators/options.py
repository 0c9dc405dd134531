"""Arguments that make another operator of a call: whether it draws random numbers, how a quotient is rounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from acc_compare.operators.spelling import plain_name
from acc_compare.operators.table import OPERATORS


@dataclass(frozen=True, slots=True)
class DrawOption:
    """An argument on which drawing depends: the names that it may be recorded under, and what it is where it is not
    given.  A call draws unless one of its options is off (0, None, False); `keeps` says that it is off at 1."""

    names: tuple[str, ...]
    default: float | bool
    keeps: bool = False

    def is_on(self, values: Mapping[str, object]) -> bool:
        found = next((values[name] for name in self.names if name in values), self.default)
        return found != 1 if self.keeps else found not in (0, None)


def _option(position: int, keyword: str, default: float | bool, *, keeps: bool = False) -> DrawOption:
    return DrawOption((f"input.{position}", f"input.{keyword}"), default, keeps)


# Signatures of torch 2.13 (torch.nn.functional, torch._VF) and of torch_npu 2.13.
_DROPOUT = (_option(1, "p", 0.5), _option(2, "training", True), DrawOption(("input.train",), True))
_DROPOUT_OFF = (_option(1, "p", 0.5), _option(2, "training", False))
_RECURRENT = (DrawOption(("input.5",), 0.0), DrawOption(("input.6",), False))  # input, hx, weights, bias, layers, ...
_FUSION = (_option(9, "keep_prob", 1.0, keeps=True),)

_OPTIONS: Mapping[str, tuple[DrawOption, ...]] = {
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"), _DROPOUT),
    **dict.fromkeys(("alpha_dropout", "feature_alpha_dropout"), _DROPOUT_OFF),
    "rrelu": (_option(3, "training", False),),
    "scaled_dot_product_attention": (_option(4, "dropout_p", 0.0),),
    "multi_head_attention_forward": (_option(10, "dropout_p", 0.0), _option(13, "training", True)),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _RECURRENT),
    "fusion_attention": _FUSION,
}


def draws_with(api: str, values: Mapping[str, object]) -> bool:
    """Does a call of `api` draw, whose arguments that are no tensors are `values`, by name (`input.1`, `input.p`)?"""
    name = plain_name(api)
    row = OPERATORS.get(name)
    if row is None or "draws" not in row.marks:
        return False
    return all(option.is_on(values) for option in _OPTIONS.get(name, ()))


def is_smooth_with(api: str, values: Mapping[str, object]) -> bool:
    """Has the derivative of an operator that has a kink none with these arguments?  That of elu jumps at 0 from alpha
    to 1; of reductions by index the extremes alone choose."""
    name = plain_name(api)
    if name in ("index_reduce", "scatter_reduce"):
        return not {"amax", "amin"} & {value for value in values.values() if isinstance(value, str)}
    return name == "elu" and values.get("input.1", values.get("input.alpha", 1)) == 1


def has_variants(api: str) -> bool:
    """Is there an argument that makes another operator of it?"""
    return plain_name(api) == "div"


def variant(api: str, values: Mapping[str, object]) -> str:
    """The operator that a call of `api` is with such arguments: a `div` that is told to round is `floor_divide`."""
    return "floor_divide" if isinstance(values.get("input.rounding_mode"), str) and has_variants(api) else api


def factor(api: str, values: Mapping[str, object], place: int) -> float:
    """What a sum multiplies its argument at `place` by, an absolute value: alpha of `add` and `sub` the second, the
    weight of `lerp` the second and what is left of 1 the first; 1 where it is not a number.

    >>> factor("add_", {"input.alpha": -0.1}, 1), factor("lerp_", {"input.2": 0.25}, 0), factor("add", {}, 1)
    (0.1, 0.75, 1.0)
    """
    name = plain_name(api)
    if name == "lerp" and place < 2:
        weight = values.get("input.2", values.get("input.weight"))
        return abs(weight - (1 - place)) if isinstance(weight, int | float) else 1.0
    if name in ("add", "sub") and place == (0 if api == "rsub" else 1):
        alpha = values.get("input.alpha")
        return abs(float(alpha)) if isinstance(alpha, int | float) else 1.0
    return 1.0


_REDUCED_IN = {
    "allreduce_hook": "",
    "BuiltinCommHookType.ALLREDUCE": "",
    "fp16_compress_hook": "torch.float16",
    "BuiltinCommHookType.FP16_COMPRESS": "torch.float16",
    "bf16_compress_hook": "torch.bfloat16",
}


def reduced_in(hook: object) -> str | None:
    """The type in which a communication hook of DistributedDataParallel, by its name, reduces gradients: "" for their
    own; None where nobody knows.

    >>> reduced_in("fp16_compress_hook"), reduced_in("powerSGD_hook")
    ('torch.float16', None)
    """
    return "" if hook is None else _REDUCED_IN.get(str(hook))
