"""What `torch.cuda` answers while CUDA means another device: one device a process, with nothing pending.

Functions that are not in these tables stay as they are: on a machine without CUDA they raise, which is better than an
answer that is made up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from .. import torch_internals
from ..environment.synchronous import Event, Stream
from ..intercept.patching import Patches
from .arguments import Target

_NOTHING = (
    "init", torch_internals.initialise_device, "synchronize", "empty_cache", "ipc_collect", "reset_peak_memory_stats",
    "reset_max_memory_allocated", "reset_max_memory_cached", "reset_accumulated_memory_stats", "set_stream",
    "set_per_process_memory_fraction", "set_sync_debug_mode", "manual_seed", "manual_seed_all", "seed", "seed_all",
    "set_rng_state", "set_rng_state_all",
)  # fmt: skip
"""Done at once, or nothing to do.  Seeds and states of generators: `torch.manual_seed` seeds the CPU's generator, from
which everything is drawn here; another seed for a device of its own must not disturb it."""

_BYTES = (
    "memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved", "memory_cached",
    "max_memory_cached",
)  # fmt: skip
_TENSOR_TYPES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_MADE_UP_BYTES = 16 << 30


@dataclass(frozen=True, slots=True)
class Properties:
    """What `get_device_properties` answers.  `total_memory`, in bytes, is made up."""

    name: str
    total_memory: int = _MADE_UP_BYTES
    major: int = 0
    minor: int = 0
    multi_processor_count: int = 1
    warp_size: int = 32


class _Devices:
    """The device that the script has chosen: the only one there is goes by every number."""

    def __init__(self, target: Target) -> None:
        self._current = 0
        self._name = f"{target.kind} in place of CUDA"

    def current_device(self) -> int:
        return self._current

    def set_device(self, device: Any) -> None:
        number = device if isinstance(device, int) else torch.device(device).index
        if number is not None and number >= 0:
            self._current = number

    def device_count(self) -> int:
        """One for each process on this machine, so that a rank finds the device of its number."""
        processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
        return max(1, int(processes)) if processes.isdecimal() else 1

    def name(self, device: Any = None) -> str:
        return self._name

    def properties(self, device: Any = None) -> Properties:
        return Properties(self._name)


def install(patches: Patches, target: Target) -> None:
    """Let `torch.cuda` answer for the target."""
    cuda, devices, stream = torch.cuda, _Devices(target), Stream()
    answers: dict[str, Callable[..., Any]] = {name: _nothing() for name in _NOTHING}
    answers |= {name: lambda *_, **__: 0 for name in _BYTES}
    answers |= {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        torch_internals.is_in_bad_fork: lambda: False,
        "device_count": devices.device_count,
        "current_device": devices.current_device,
        "set_device": devices.set_device,
        "get_device_name": devices.name,
        "get_device_properties": devices.properties,
        "get_device_capability": lambda device=None: (0, 0),
        "can_device_access_peer": lambda device, peer_device: False,
        "mem_get_info": lambda device=None: (_MADE_UP_BYTES, _MADE_UP_BYTES),
        "memory_stats": lambda device=None: {},
        "memory_summary": lambda device=None, abbreviated=False: "",
        "memory_snapshot": lambda *_, **__: [],
        "is_bf16_supported": lambda including_emulation=True: True,
        "is_current_stream_capturing": lambda: False,
        "current_stream": lambda device=None: stream,
        "default_stream": lambda device=None: stream,
        "stream": _on_stream,
        "device": _Nowhere,
        "device_of": _NowhereOf,
        "Stream": Stream,
        "ExternalStream": _ExternalStream,
        "Event": Event,
        "initial_seed": torch.initial_seed,
        "get_rng_state": _state,
        "get_rng_state_all": lambda: [_state()],
    }
    for name, answer in answers.items():
        if hasattr(cuda, name):
            patches.replace(cuda, name, answer)
    if target.kind == "cpu":
        for name in _TENSOR_TYPES:
            patches.replace(cuda, f"{name}Tensor", getattr(torch, f"{name}Tensor"))
    patches.replace(cuda, "nvtx", _markers())
    patches.replace(cuda, "profiler", SimpleNamespace(start=_nothing(), stop=_nothing(), profile=nullcontext))


_get_state = torch.default_generator.get_state


def _state(device: Any = None) -> torch.Tensor:
    """The state of the CPU's generator, a uint8 tensor."""
    return _get_state()


def _nothing() -> Callable[..., None]:
    """A function that does nothing: one for each name, since torch.compile tells torch's functions by identity."""

    def nothing(*_: Any, **__: Any) -> None:
        return None

    return nothing


def _on_stream(stream: Stream | None) -> AbstractContextManager[Any]:
    return nullcontext() if stream is None else stream


class _Nowhere:
    """`with torch.cuda.device(1):`, which has nowhere else to go."""

    def __init__(self, device: Any) -> None:
        self.idx = device if isinstance(device, int) else 0

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc_info: object) -> None:
        return None


class _NowhereOf(_Nowhere):
    """`with torch.cuda.device_of(tensor):`."""


class _ExternalStream(Stream):
    """A stream that another library made; all are one."""


def _markers() -> SimpleNamespace:
    """`torch.cuda.nvtx`: marks for a profiler that does not run."""
    return SimpleNamespace(
        range_push=lambda message: 0,
        range_pop=lambda: 0,
        range_start=lambda message: 0,
        range_end=_nothing(),
        mark=_nothing(),
        range=lambda message, *_, **__: nullcontext(),
    )
