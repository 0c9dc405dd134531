"""The module `torch.npu` of the simulated device: what scripts ask of a device besides tensors.

There is one device, it computes when it is told to, and it shares memory and random numbers with the CPU:
waiting is a no-op, nothing is allocated, and seeding it seeds `torch.default_generator`.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from dump.environment import synchronous
from dump.environment.synchronous import Event
from dump.sim import faults

DeviceLike: TypeAlias = "torch.device | str | int | None"

NAME = "SimulatedNPU"
_ALLOCATOR_FIGURES = (
    "memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved", "memory_cached",
)  # fmt: skip

# Taken before a recorder can patch them.
_seed = torch.default_generator.manual_seed
_get_state = torch.default_generator.get_state
_set_state = torch.default_generator.set_state
_initial_seed = torch.default_generator.initial_seed


@dataclass(frozen=True, slots=True)
class DeviceProperties:
    """What `torch.npu.get_device_properties` answers.  `total_memory` is in bytes, and made up."""

    name: str = NAME
    total_memory: int = 16 << 30
    major: int = 0
    minor: int = 0
    multi_processor_count: int = 1


class Stream(synchronous.Stream):
    """The device's only stream."""

    def __init__(self, device: DeviceLike = None, priority: int = 0) -> None:
        _check(device)
        super().__init__(device, priority)

    @property
    def device(self) -> torch.device:
        return torch.device("npu", 0)


class OnDevice:
    """`with torch.npu.device(0):`, which has nowhere else to go."""

    def __init__(self, device: DeviceLike) -> None:
        _check(device)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc_info: object) -> None:
        return None


class Hf32Switch:
    """`torch.npu.matmul` and `torch.npu.conv`: with `allow_hf32` the products of float32 are computed in HF32.

    A real NPU begins with it on for convolutions; this one begins with it off, equal to the CPU.
    """

    def __init__(self, *operators: str) -> None:
        self._faults = tuple(faults.Fault(operator, "hf32") for operator in operators)

    @property
    def allow_hf32(self) -> bool:
        return self._faults[0] in faults.injected()

    @allow_hf32.setter
    def allow_hf32(self, allow: bool) -> None:
        for fault in self._faults:
            faults.withdraw(fault)
            if allow:
                faults.inject(fault)


class SimulatedNpu(types.ModuleType):
    """`torch.npu`.  `is_simulated` tells it from the real one."""

    is_simulated = True

    def __init__(self) -> None:
        super().__init__("torch.npu", __doc__)
        self.Event, self.Stream, self.device = Event, Stream, OnDevice
        self.default_generators = (torch.default_generator,)
        self.amp = types.SimpleNamespace(autocast=_autocast, GradScaler=_grad_scaler)
        self.config = types.SimpleNamespace(allow_internal_format=False)
        self.matmul = Hf32Switch("mm", "addmm", "bmm", "baddbmm", "addbmm", "addmv_")
        self.conv = Hf32Switch("convolution", "convolution_backward")
        self._stream = Stream()
        for name in _ALLOCATOR_FIGURES:
            setattr(self, name, _no_bytes)
        for name in ("reset_peak_memory_stats", "reset_max_memory_allocated", "empty_cache", "ipc_collect"):
            setattr(self, name, _nothing)

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def init(self) -> None:
        """The device needs no starting."""

    _lazy_init = init

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def set_device(self, device: DeviceLike) -> None:
        """Raises RuntimeError for any device but npu:0."""
        _check(device)

    def synchronize(self, device: DeviceLike = None) -> None:
        """Nothing is ever pending."""

    def get_device_name(self, device: DeviceLike = None) -> str:
        return NAME

    def get_device_properties(self, device: DeviceLike = None) -> DeviceProperties:
        return DeviceProperties()

    def get_device_capability(self, device: DeviceLike = None) -> tuple[int, int]:
        return (0, 0)

    def mem_get_info(self, device: DeviceLike = None) -> tuple[int, int]:
        """Free and total bytes, both made up."""
        return (DeviceProperties().total_memory, DeviceProperties().total_memory)

    def set_compile_mode(self, jit_compile: bool = False) -> None:
        """Nothing is compiled."""

    def memory_stats(self, device: DeviceLike = None) -> dict[str, int]:
        return {}

    def is_bf16_supported(self) -> bool:
        return True

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def current_stream(self, device: DeviceLike = None) -> Stream:
        return self._stream

    default_stream = current_stream

    def stream(self, stream: Stream | None) -> Stream:
        return self._stream if stream is None else stream

    def set_stream(self, stream: Stream) -> None:
        """All streams are one."""

    def manual_seed(self, seed: int) -> None:
        """Seed the generator that the device shares with the CPU."""
        _seed(int(seed))

    manual_seed_all = manual_seed

    def seed(self) -> None:
        torch.default_generator.seed()

    seed_all = seed

    def initial_seed(self) -> int:
        return _initial_seed()

    def get_rng_state(self, device: DeviceLike = "npu") -> torch.Tensor:
        """State of the shared generator, a uint8 CPU tensor."""
        return _get_state()

    def set_rng_state(self, new_state: torch.Tensor, device: DeviceLike = "npu") -> None:
        _set_state(new_state)

    def get_rng_state_all(self) -> list[torch.Tensor]:
        return [_get_state()]

    def set_rng_state_all(self, new_states: list[torch.Tensor]) -> None:
        for state in new_states:
            _set_state(state)


def _check(device: DeviceLike) -> None:
    if device is None:
        return
    index = device if isinstance(device, int) else torch.device(device).index
    if index not in (None, 0, -1):
        raise RuntimeError(f"the simulated NPU has one device, npu:0; there is no npu:{index}")


def _no_bytes(device: DeviceLike = None) -> int:
    """The device allocates nothing of its own: its tensors lie in host memory."""
    return 0


def _nothing(device: DeviceLike = None) -> None:
    """The device keeps no cache and no peaks."""


def _autocast(enabled: bool = True, dtype: torch.dtype | None = None, cache_enabled: bool = True) -> Any:
    """`torch.npu.amp.autocast`; positional as there."""
    return torch.autocast("npu", dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)


def _grad_scaler(**options: Any) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("npu", **options)
