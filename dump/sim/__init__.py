"""A simulated NPU for machines without one: demos, tests, and faults that one can plant and look for.

    import dump.sim

    with dump.sim.npu(faults=["aten::gelu=bf16"]):
        model.to("npu")(x.to("npu"))

`enable` registers the device `npu`: genuine tensors with `device.type == "npu"`, autograd, optimizers,
autocast, saving and loading, computed by the CPU's kernels, and so equal to the CPU to the bit.
`torch.npu.is_simulated` tells the device from a real one.

torch.compile works with the backends eager and aot_eager; streams, events and generators are there, and `allow_hf32`
rounds as an NPU would.  It adds some microseconds to every operator, knows one device, draws all random numbers on the
CPU, does not mind CPU tensors among npu tensors, and rests on private parts of torch, from 2.10 on.  For older torches
there is a stand-in on the device `cpu`, with the same faults (`on_cpu`); `acc dump --simulated-npu` takes it there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch

from dump import torch_internals
from dump.format.errors import ConfigError
from dump.sim.faults import Fault, clear, inject, missed, restore, snapshot

__all__ = [
    "Fault",
    "clear",
    "device_kind",
    "enable",
    "inject",
    "is_enabled",
    "missed",
    "nearest",
    "npu",
    "op_counts",
    "register_hccl",
]

_SUPPORTED = torch_internals.available("setup_private_device")

if _SUPPORTED:  # these take names from torch on import that older releases do not have
    from dump.sim import kernels, registration


def enable() -> None:
    """Register the simulated device `npu` in this process; a second call does nothing.

    It cannot be unregistered.  Raises ConfigError where torch is older than 2.10, or where something else has
    its PrivateUse1 device (torch_npu).
    """
    if not _SUPPORTED:
        raise ConfigError(
            f"The simulated NPU needs torch 2.10 or newer, found {torch.__version__}; before, acc dump --simulated-npu"
            " and dump.sim.nearest plant its faults in the CPU's kernels."
        )
    registration.register()


def is_enabled() -> bool:
    """Whether this process has the simulated device."""
    return _SUPPORTED and registration.is_registered()


@contextlib.contextmanager
def npu(*, faults: Iterable[Fault | str] = ()) -> Iterator[None]:
    """Enable the device and put faults in force; on leaving, those in force before are restored.

    The device itself stays: torch has no way to unregister one.  Raises ConfigError as `enable` and `inject`
    do.

    >>> with nearest(faults=["aten::neg=scale:2"]) as device:  # on any torch
    ...     torch.ones(1, device=device).neg().item()
    -2.0
    """
    enable()
    before = snapshot()
    try:
        for fault in faults:
            inject(fault)
        yield
    finally:
        restore(before)


def device_kind() -> str:
    """What `nearest` gives on this torch: "npu" or "cpu"."""
    return "npu" if _SUPPORTED else "cpu"


@contextlib.contextmanager
def nearest(*, faults: Iterable[Fault | str] = ()) -> Iterator[str]:
    """As `npu`, on any torch: gives the device to use within, "npu", or "cpu" where torch has no simulated device.

    Raises ConfigError as `npu` does where there could be one.
    """
    if device_kind() == "npu":
        with npu(faults=faults):
            yield "npu"
        return
    from dump.sim import on_cpu

    before = snapshot()
    try:
        for fault in faults:
            inject(fault)
        with on_cpu.planted():
            yield "cpu"
    finally:
        restore(before)


def op_counts() -> dict[str, int]:
    """Calls the device answered so far in this process, by operator (`aten::addmm`); views are not
    counted.
    """
    return kernels.op_counts() if _SUPPORTED else {}


def register_hccl() -> None:
    """Let `torch.distributed.init_process_group("hccl")` work for npu tensors, over gloo.

    Enables the device.  Raises ConfigError where gloo is missing or another backend is called hccl.
    """
    enable()
    from dump.sim import hccl  # pulls in torch.distributed, which most runs never need

    hccl.register_hccl()
