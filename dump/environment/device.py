"""The only file that knows how cpu, cuda and npu differ."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

from .. import torch_internals
from .torch_loading import AUTOLOAD

NpuState: TypeAlias = Literal["ok", "simulated", "no-device", "broken", "absent"]

_UNCLAIMED = "privateuseone"  # torch's name for its slot for a foreign device while nobody has it


@dataclass(frozen=True, slots=True)
class Detected:
    """What stands behind the device type `npu`, and a sentence about it."""

    state: NpuState
    detail: str


def detect_npu() -> Detected:
    """Find out what `npu` is in this process, importing torch_npu where it is installed.

    Leaves no trace where that fails: no environment variable, nothing printed, no half-imported package.
    """
    if "torch_npu" not in sys.modules:
        owner = torch_internals.private_device_owner()
        if owner == "npu" and getattr(getattr(torch, "npu", None), "is_simulated", False):
            return Detected("simulated", "dump.sim")
        if owner not in (_UNCLAIMED, "npu"):
            return Detected("absent", f"the private device slot belongs to {owner}")
        failure = _import_torch_npu()
        if failure is not None:
            return failure
    try:
        npu = getattr(torch, "npu", None)
        count = npu.device_count() if npu is not None and npu.is_available() else 0
    except (RuntimeError, OSError, AttributeError) as error:  # a driver that is not in order
        return Detected("broken", _first_line(error))
    return Detected("ok", f"{count} devices") if count else Detected("no-device", "torch_npu finds no device")


@functools.cache
def _import_torch_npu() -> Detected | None:
    """None where the import succeeds.  Tried once: a second try meets half-registered operators."""
    if importlib.util.find_spec("torch_npu") is None:
        return Detected("absent", "torch_npu is not installed")
    try:
        with _without_autoload(), contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module("torch_npu")
    except Exception as error:
        # The one guard at this edge: without CANN torch_npu raises ImportError, OSError, RuntimeError
        # or a plain Exception, depending on what is missing.
        for name in [n for n in sys.modules if n == "torch_npu" or n.startswith("torch_npu.")]:
            del sys.modules[name]
        return Detected("broken", _first_line(error))
    return None


@contextlib.contextmanager
def _without_autoload() -> Iterator[None]:
    """torch_npu sets the variable to "0" while it imports and restores it only when it succeeds."""
    before = os.environ.get(AUTOLOAD)
    os.environ[AUTOLOAD] = "0"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(AUTOLOAD, None)
        else:
            os.environ[AUTOLOAD] = before


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def measuring() -> AbstractContextManager[None]:
    """Around the recorder's own work on a device: faults planted in a simulated NPU are meant for the run, and must
    not change how it is measured."""
    faults = sys.modules.get("dump.sim.faults")
    return faults.suspended() if faults is not None else contextlib.nullcontext()


def upload(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on `device`, made there in its turn.  Where the host's memory cannot be pinned, this waits."""
    if device.type in ("cpu", "meta") or _is_simulated(device):
        return host.to(device)
    try:
        pinned = host.pin_memory()
    except RuntimeError:
        return host.to(device)
    return pinned.to(device, non_blocking=True)


def download(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of contiguous memory on the host, made in the device's turn: good once it was waited for (`wait_for`).

    Where the host's memory cannot be pinned, this waits.
    """
    base: Any = torch_internals.TensorBase  # past what a script may have put in its place
    if _is_simulated(base.device.__get__(tensor)):
        return base.cpu(tensor)  # type: ignore[no-any-return]
    try:
        shape, dtype = base.shape.__get__(tensor), base.dtype.__get__(tensor)
        host = torch.empty(shape, dtype=dtype, device="cpu", pin_memory=True)
    except RuntimeError:
        return base.cpu(tensor)  # type: ignore[no-any-return]
    return base.copy_(host, tensor, non_blocking=True)  # type: ignore[no-any-return]


def _is_simulated(device: torch.device) -> bool:
    return bool(getattr(getattr(torch, device.type, None), "is_simulated", False))


def wait_for(device: torch.device) -> None:
    """Until a device has done all that it was given."""
    module = getattr(torch, device.type, None)
    if module is not None and hasattr(module, "synchronize"):
        module.synchronize(device)


def current_stream(device: torch.device) -> Any:
    """The stream that work for a device is queued in now; None where it has none."""
    find = None if device.type == "cpu" else getattr(getattr(torch, device.type, None), "current_stream", None)
    return None if find is None else find(device)


def on_stream(stream: Any, device: torch.device) -> AbstractContextManager[object]:
    """Queue work in a stream that `current_stream` gave."""
    if stream is None:
        return contextlib.nullcontext()
    found: AbstractContextManager[object] = getattr(torch, device.type).stream(stream)
    return found


def best_device() -> str:
    """`npu`, else `cuda`, else `cpu`: the first that can be used here."""
    if detect_npu().state in ("ok", "simulated"):
        return "npu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name(kind: str) -> str:
    """What the device calls itself, for the header: "NVIDIA H100", "Ascend910B", "SimulatedNPU", "cpu"."""
    module = getattr(torch, kind, None)
    if kind in ("cuda", "npu") and module is not None and module.is_available():
        return str(module.get_device_name(module.current_device()))
    stand_in = sys.modules.get("dump.sim.on_cpu")
    if kind == "cpu" and stand_in is not None and stand_in.is_planted():
        return str(stand_in.NAME)
    return kind


def usable(npu: Detected) -> tuple[str, ...]:
    """Every device that can be used here, with its name: "npu:0 Ascend910B2", "cuda:1 NVIDIA H100", "cpu"."""
    found = []
    for kind, is_there in (("npu", npu.state in ("ok", "simulated")), ("cuda", torch.cuda.is_available())):
        module = getattr(torch, kind, None)
        if is_there and module is not None:
            found += [f"{kind}:{index} {module.get_device_name(index)}" for index in range(module.device_count())]
    return (*found, "cpu")


def current_rank() -> int | None:
    """This process's rank: from the process group, else from the launcher's environment, else None."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_rank())
    for variable in ("RANK", "RANK_ID"):
        number = _number_in(variable)
        if number is not None:
            return number
    return None


def has_joined_ranks() -> bool:
    """Has the process joined a process group, be it alone?"""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def world_size() -> int:
    """How many processes run together; 1 where nothing says so."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_world_size())
    return _number_in("WORLD_SIZE") or 1


def _number_in(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdigit() else None
