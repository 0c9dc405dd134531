"""Settings that change results and differ between the two sides: told before anybody is accused.

A dump says which settings were in force (`Header.numerics`); one without that part, an older one or msprobe's, is
silent about its side.  Everything read here comes from a file that anybody may have written: what is not of the
expected type is not told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from acc_compare import operators
from acc_compare.messages import Message, Value, say
from dump.format.names import parse
from dump.format.schema import Dump

_LONGEST = 60
_FULL = "full"
_DEVICES = ("npu", "cuda", "cpu")


@dataclass(frozen=True, slots=True)
class _Products:
    """One sort of operator whose float32 products a device may compute in a narrower type (`operators.product_of`);
    `switch` is how to turn that off, by device."""

    key: str
    switch: Mapping[str, str]


_PRODUCTS = (
    _Products(
        "matmul",
        {
            "npu": "torch.npu.matmul.allow_hf32 = False",
            "cuda": "torch.backends.cuda.matmul.allow_tf32 = False",
            "cpu": 'torch.backends.mkldnn.matmul.fp32_precision = "ieee"',
        },
    ),
    _Products(
        "conv",
        {
            "npu": "torch.npu.conv.allow_hf32 = False",
            "cuda": "torch.backends.cudnn.allow_tf32 = False",
            "cpu": 'torch.backends.mkldnn.conv.fp32_precision = "ieee"',
        },
    ),
)
_SWITCHES = ("deterministic_algorithms", "default_dtype", "flush_denormals")
"""Settings of the run as a whole, whatever its device."""

_OF_DEVICE = {"cuda": ("cudnn.deterministic", "float16_reduction.cuda", "bfloat16_reduction.cuda")}
"""Settings that are compared where both sides ran on the device."""

_VARIABLES = {
    "npu": (
        "HCCL_DETERMINISTIC", "LCCL_DETERMINISTIC", "HCCL_ALGO", "ATB_MATMUL_SHUFFLE_K_ENABLE", "CLOSE_MATMUL_K_SHIFT",
        "INF_NAN_MODE_ENABLE", "INF_NAN_MODE_FORCE_DISABLE",
    ),
    "cuda": (
        "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "NCCL_ALGO",
        "NCCL_PROTO",
    ),
    "cpu": (
        "ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE",
        "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
    ),
}  # fmt: skip
"""Environment variables that are compared where both sides ran on the device; what they do elsewhere is nothing."""

_SATURATING = {"INF_NAN_MODE_ENABLE": "0", "INF_NAN_MODE_FORCE_DISABLE": "1"}
"""With one of these an NPU is asked for saturation, the largest number in place of Inf and 0 in place of NaN, as
torch_npu documents INF_NAN_MODE_ENABLE: told whatever the other side is."""


@dataclass(frozen=True, slots=True)
class _Side:
    """The settings of one dump: `values` by name, `variables` of the environment."""

    device: str
    values: Mapping[str, object]
    variables: Mapping[str, object]

    def products(self, kind: str) -> str | None:
        """How products of float32 were computed on this side's device: "full", "hf32", ...; None where unknown."""
        forced = {"0": _FULL, "1": "tf32"}.get(str(self.variables.get("NVIDIA_TF32_OVERRIDE")))
        if self.device == "cuda" and forced is not None:
            return forced
        value = self.values.get(f"float32_{kind}.{self.device}")
        return value[:_LONGEST] if isinstance(value, str) else None


def differing_settings(npu: Dump, bench: Dump) -> tuple[Message, ...]:
    """A message for each setting that matters and differs, those that explain the most first."""
    ours, theirs = _side(npu), _side(bench)
    if ours is None and theirs is None:
        return ()
    told = [
        _narrow(products, ours, theirs)
        for products in _PRODUCTS
        if _differ(products.key, ours, theirs) and any(_has(dump, products) for dump in (npu, bench))
    ]
    if ours is not None:
        told += _saturating(ours)
    if ours is not None and theirs is not None:
        told += _others(ours, theirs)
    return tuple(told)


def _side(dump: Dump) -> _Side | None:
    numerics, device = dump.header.numerics, dump.header.device
    if numerics is None or device not in _DEVICES:
        return None
    variables = numerics.get("environment")
    return _Side(device, numerics, variables if isinstance(variables, Mapping) else {})


def _differ(kind: str, ours: _Side | None, theirs: _Side | None) -> bool:
    """Does one side compute in a narrower type, and the other otherwise or nobody knows how?"""
    found = [side.products(kind) if side is not None else None for side in (ours, theirs)]
    return found[0] != found[1] and any(precision not in (None, _FULL) for precision in found)


def _has(dump: Dump, products: _Products) -> bool:
    """Does the dump hold a call of this sort on float32?"""
    for call in dump.calls:
        name = parse(call.name)
        operator = operators.functional_name(name.api) if name.is_module else name.api
        if operators.product_of(operator) == products.key and any(
            record.dtype == "torch.float32" for _, record in call.tensors()
        ):
            return True
    return False


def _narrow(products: _Products, ours: _Side | None, theirs: _Side | None) -> Message:
    sides = (ours, theirs)
    found = [side.products(products.key) if side is not None else None for side in sides]
    switches = [
        products.switch[side.device]
        for side, precision in zip(sides, found, strict=True)
        if side is not None and precision not in (None, _FULL)
    ]
    return say(
        "settings.products",
        what=say(f"settings.{products.key}"),
        npu=_precision(found[0]),
        bench=_precision(found[1]),
        switch="; ".join(dict.fromkeys(switches)),
    )


def _precision(precision: str | None) -> Message:
    if precision is None:
        return say("settings.unknown_type")
    return say("settings.full") if precision == _FULL else say("settings.narrow", type=precision.upper())


def _saturating(ours: _Side) -> Iterator[Message]:
    if ours.device == "npu":
        for variable, value in _SATURATING.items():
            if ours.variables.get(variable) == value:
                yield say("settings.saturating", variable=f"{variable}={value}")


def _others(ours: _Side, theirs: _Side) -> Iterator[Message]:
    both = ours.device if ours.device == theirs.device else ""
    for name in (*_SWITCHES, *_OF_DEVICE.get(both, ())):
        found = ours.values.get(name), theirs.values.get(name)
        if found[0] != found[1] and all(isinstance(value, (bool, str)) for value in found):
            yield say("settings.differs", name=name, npu=_shown(found[0]), bench=_shown(found[1]))
    for variable in _VARIABLES.get(both, ()):
        found = ours.variables.get(variable), theirs.variables.get(variable)
        if found[0] != found[1] and not (variable in _SATURATING and found[0] == _SATURATING[variable]):
            yield say("settings.differs", name=variable, npu=_shown(found[0]), bench=_shown(found[1]))


def _shown(value: object) -> Value:
    if value is None:
        return say("settings.unset")
    if isinstance(value, bool):
        return say("settings.on") if value else say("settings.off")
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
