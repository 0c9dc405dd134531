"""Settings that change what operators compute: switches of torch and of the devices, environment variables.

Two runs that differ in one of them differ without any operator being wrong, so a dump's header says what was in force
when its step ended, and `acc compare` lays both sides' beside each other before it accuses anybody.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch

Setting: TypeAlias = "bool | int | str"

VARIABLES = (
    # Ascend: collectives, order of summation in matrix products, saturation in place of Inf.
    "HCCL_DETERMINISTIC", "LCCL_DETERMINISTIC", "HCCL_ALGO", "ATB_MATMUL_SHUFFLE_K_ENABLE", "CLOSE_MATMUL_K_SHIFT",
    "INF_NAN_MODE_ENABLE", "INF_NAN_MODE_FORCE_DISABLE",
    # NVIDIA: TF32 by force, workspaces that cuBLAS may choose among, collectives.
    "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "NCCL_ALGO", "NCCL_PROTO",
    # CPU: number of threads, instruction set, reduced precision inside oneDNN and MKL.
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "ATEN_CPU_CAPABILITY", "MKL_CBWR",
    "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
    # Python: the order of sets and of anything that goes through them.
    "PYTHONHASHSEED",
)  # fmt: skip
"""Environment variables that change results, or the order in which they are summed."""

_FULL = "full"
_LONGEST = 200


def in_force() -> dict[str, object]:
    """What holds now, by name; a switch that this torch does not have is absent.

    `float32_matmul.{device}` and `float32_conv.{device}` are "full", or the narrower type in which products of
    float32 are computed there ("tf32", "hf32", "bf16"); of the NPU they are known where one is in use.
    """
    found: dict[str, object] = {}
    for name, read in _SWITCHES.items():
        try:
            value = read()
        except (
            AttributeError,
            AssertionError,
            RuntimeError,
        ):  # not in this torch; or a script mixed torch's old and new switches
            continue
        if value is not None:
            found[name] = value
    found["environment"] = variables()
    return found


def variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Those of `VARIABLES` that are set, each cut to 200 characters."""
    known = os.environ if environment is None else environment
    return {name: known[name][:_LONGEST] for name in VARIABLES if name in known}


def _narrowed(precision: str) -> str:
    """torch's word for a precision of float32 products, where "ieee" and "none" both mean no narrower type."""
    return _FULL if precision in ("ieee", "none") else precision


def _cuda_matmul() -> str:
    matmul: Any = torch.backends.cuda.matmul
    try:
        return _narrowed(matmul.fp32_precision)  # since torch 2.9; the older switch raises where this one was used
    except (AttributeError, AssertionError):  # the latter before torch 2.9
        return "tf32" if matmul.allow_tf32 else _FULL


def _cuda_conv() -> str:
    cudnn: Any = torch.backends.cudnn
    try:
        return _narrowed(cudnn.conv.fp32_precision)
    except (AttributeError, AssertionError):
        return "tf32" if cudnn.allow_tf32 else _FULL


def _cpu(kind: str) -> str:
    """`torch.backends.mkldnn.{kind}`, which only newer releases have."""
    return _narrowed(getattr(torch.backends.mkldnn, kind).fp32_precision)


def _npu(kind: str) -> str | None:
    """`torch.npu.{kind}.allow_hf32`; None where no NPU, real or simulated, is in this process."""
    npu = getattr(torch, "npu", None)
    if npu is None:
        return None
    return "hf32" if getattr(npu, kind).allow_hf32 else _FULL


def _flushes_denormals() -> bool:
    """Does this thread round denormal numbers to zero?  There is no switch to read, so the smallest is doubled."""
    with np.errstate(all="ignore"):
        return bool(np.float32(1e-45) * np.float32(2) == 0)


_matmul: Any = torch.backends.cuda.matmul
_SWITCHES: dict[str, Callable[[], Setting | None]] = {
    "deterministic_algorithms": torch.are_deterministic_algorithms_enabled,
    "cudnn.deterministic": lambda: torch.backends.cudnn.deterministic,
    "cudnn.benchmark": lambda: torch.backends.cudnn.benchmark,
    "float32_matmul.cpu": lambda: _cpu("matmul"),
    "float32_matmul.cuda": _cuda_matmul,
    "float32_matmul.npu": lambda: _npu("matmul"),
    "float32_conv.cpu": lambda: _cpu("conv"),
    "float32_conv.cuda": _cuda_conv,
    "float32_conv.npu": lambda: _npu("conv"),
    "float16_reduction.cuda": lambda: bool(_matmul.allow_fp16_reduced_precision_reduction),
    "bfloat16_reduction.cuda": lambda: bool(_matmul.allow_bf16_reduced_precision_reduction),
    "default_dtype": lambda: str(torch.get_default_dtype()),
    "flush_denormals": _flushes_denormals,
    "threads": torch.get_num_threads,
}
