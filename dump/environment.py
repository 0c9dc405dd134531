"""What this process runs on: for `acc env`, and in short for the header of every dump."""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from typing import Any

import torch

from . import ascend, device, numerics


@dataclass(frozen=True, slots=True)
class Environment:
    """Versions are None where the thing is not installed or its version cannot be read.

    `npu` is the state that `device.detect_npu` tells apart, `devices` what can be used here: "npu:0 Ascend910B2".
    `numerics` holds the settings that change results (`numerics.in_force`).
    """

    python: str
    platform: str
    torch: str
    npu: device.Detected
    torch_npu: str | None
    cann: str | None
    driver: str | None
    cuda: str | None
    cudnn: str | None
    devices: tuple[str, ...]
    numerics: dict[str, object]


def found() -> Environment:
    """Look at this process and this machine; imports torch_npu where it is installed."""
    npu = device.detect_npu()
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        torch=torch.__version__,
        npu=npu,
        torch_npu=ascend.torch_npu_version(),
        cann=ascend.cann_version(),
        driver=ascend.driver_version(),
        cuda=torch.version.cuda,
        cudnn=_cudnn_version(),
        devices=device.usable(npu),
        numerics=numerics.in_force(),
    )


def _cudnn_version() -> str | None:
    cudnn: Any = torch.backends.cudnn
    return str(cudnn.version()) if cudnn.is_available() else None


@functools.cache
def _versions() -> dict[str, object]:
    versions = {
        "torch_npu": ascend.torch_npu_version(),
        "cann": ascend.cann_version(),
        "driver": ascend.driver_version(),
        "cuda": torch.version.cuda,
    }
    return {name: version for name, version in versions.items() if version is not None}


_asked: list[str] = []


def asked_for(option: str | None) -> None:
    """Remember for headers what `--device` said; None where the script is left alone again."""
    _asked[:] = [] if option is None else [option]


def header() -> dict[str, object]:
    """What the header of a dump says from its first line on: the state of the NPU, the versions that are known, and
    `asked_for`, the device that a script written for CUDA was sent to."""
    sent: dict[str, object] = {"asked_for": _asked[0]} if _asked else {}
    return {"npu": device.detect_npu().state, **sent, **_versions()}
