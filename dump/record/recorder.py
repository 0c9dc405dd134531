"""One step's recording: names the calls, measures each distinct value once, hands whole records to the writer.

The interceptors call this on the training thread, so it only measures and stores; text is made by the writer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..config import DumpConfig
from . import contents, deferred, stack, statistics, tree
from .identity import Identities, Identity

_FETCH_AFTER = 2048
_PLAIN_TYPES = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


class Measured:
    """What is known of one distinct content; filled in late where a device or a digest takes its time."""

    __slots__ = ("data_name", "launched", "md5", "statistics")

    def __init__(self) -> None:
        self.statistics: statistics.Statistics | None = None
        self.launched: deferred.Launched | None = None
        self.data_name: str | None = None
        self.md5: str | None = None


@dataclass(slots=True)
class Entry:
    """One mention of a tensor in a call's arguments."""

    dtype: torch.dtype
    shape: torch.Size
    requires_grad: bool
    measured: Measured | None
    identity: Identity | None
    grad_fn: str | None = None
    unrecorded: str | None = None


@dataclass(slots=True)
class Emission:
    """One finished record on its way to the writer; `body` nests entries where arguments had tensors."""

    name: str
    body: dict[str, Any]
    owner: str | None
    stack: stack.RawStack | None


class Sink(Protocol):
    """Where records go (`dump.writer`)."""

    def record(self, emission: Emission) -> None: ...
    def store(self, measured: Measured, place: str | None, payload: contents.Contents) -> None: ...


class StepRecorder:
    """Records one step into one sink.  Not reusable: close it at the step's end."""

    def __init__(self, config: DumpConfig, sink: Sink) -> None:
        self._config = config
        self._sink = sink
        self._identities = Identities()
        self._numbers: dict[str, int] = {}
        self._measured: dict[tuple[Any, ...], Measured] = {}
        self._stored: dict[int, str] = {}
        self._pending: list[Measured] = []
        self._held: list[Emission] = []
        self._in_scope = not config.scope
        self._stacks = config.extra_info
        self.calls = 0
        self.skipped: dict[str, int] = {}
        self.devices: set[str] = set()

    # ---- names and filters

    def number(self, key: str) -> int:
        """How many calls of `key` came before, counted per step."""
        count = self._numbers.get(key, 0)
        self._numbers[key] = count + 1
        return count

    def wanted(self, name: str) -> bool:
        """Do `list` and `scope` ask for this call?  Called once for each call, in order of execution."""
        config = self._config
        if config.scope:
            if name == config.scope[0]:
                self._in_scope = True
            inside = self._in_scope
            if name == config.scope[-1]:
                self._in_scope = False
            if not inside:
                return False
        return not config.api_list or any(part in name for part in config.api_list)

    def keeps(self, direction: str, side: str) -> bool:
        """Does `data_mode` ask for this direction (forward, backward) and side (input, output)?"""
        modes = self._config.data_mode
        if not modes or "all" in modes:
            return True
        directions = [mode for mode in modes if mode in ("forward", "backward")]
        sides = [mode for mode in modes if mode in ("input", "output")]
        return (not directions or direction in directions) and (not sides or side in sides)

    # ---- values

    def read(self, thing: Any, name: str) -> Any:
        """Capture arguments that a call reads; `name` prefixes the files of tensor mode."""
        return self._capture(thing, name, produced=False)

    def wrote(self, thing: Any, name: str) -> Any:
        """Capture what a call returned or wrote."""
        return self._capture(thing, name, produced=True)

    def value_of(self, tensor: torch.Tensor) -> int | None:
        """The number of the tensor's present value, without measuring it."""
        identity = self._identities.identify(tensor)
        return None if identity is None else identity.value

    def touch(self, tensor: torch.Tensor) -> None:
        """The tensor's memory was written without its version counter moving."""
        self._identities.touch(tensor)

    def take_stack(self) -> stack.RawStack | None:
        return stack.take() if self._stacks else None

    def _capture(self, thing: Any, name: str, *, produced: bool) -> Any:
        entry_of = self._produced if produced else self._consumed
        return tree.capture(thing, name, entry_of)

    def _produced(self, tensor: torch.Tensor, place: str) -> Entry:
        return self._entry(tensor, place)

    def _consumed(self, tensor: torch.Tensor, place: str) -> Entry:
        entry = self._entry(tensor, place)
        identity = entry.identity
        if identity is not None and identity.fresh and tensor.grad_fn is not None:
            entry.grad_fn = tensor.grad_fn.name()  # made by a call that nobody recorded
        return entry

    def _entry(self, tensor: torch.Tensor, place: str) -> Entry:
        reason = _not_recordable(tensor)
        if reason is not None:
            self.skipped[reason] = self.skipped.get(reason, 0) + 1
            return Entry(tensor.dtype, tensor.shape, tensor.requires_grad, None, None, unrecorded=reason)
        identity = self._identities.identify(tensor)
        entry = Entry(tensor.dtype, tensor.shape, tensor.requires_grad, None, identity)
        try:
            entry.measured = self._measure(tensor, identity, place)
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            entry.unrecorded = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            self.skipped["measuring failed"] = self.skipped.get("measuring failed", 0) + 1
        return entry

    def _measure(self, tensor: torch.Tensor, identity: Identity | None, place: str) -> Measured:
        # In tensor mode a file holds one shape, so the memo is per value; else per content.
        whole = self._config.task == "tensor"
        key = None if identity is None else ((identity.value,) if whole else identity.content)
        if key is not None:
            found = self._measured.get(key)
            if found is not None:
                return found
        measured = Measured()
        digesting = self._config.summary_mode == "md5" and not whole
        if not digesting:
            self.devices.add(tensor.device.type)
            if tensor.device.type == "cpu":
                measured.statistics = statistics.measure(tensor)
            else:
                with _quiet():
                    measured.launched = deferred.launch(tensor)
                if measured.launched is None:
                    measured.statistics = statistics.EMPTY
                else:
                    self._pending.append(measured)
        if digesting or whole or self._stores(place):
            with _quiet():
                payload = contents.copy_contents(tensor)
            self._sink.store(measured, None if digesting else place, payload)
        if key is not None:
            self._measured[key] = measured
        return measured

    def _stores(self, place: str) -> bool:
        return any(name in place for name in self._config.tensor_list)

    # ---- records

    def emit(self, emission: Emission) -> None:
        """Hand a finished record on; it waits while statistics before it are still on a device."""
        self.calls += 1
        if not self._pending and not self._held:
            self._sink.record(emission)
            return
        self._held.append(emission)
        if len(self._pending) >= _FETCH_AFTER:
            self.fetch()

    def fetch(self) -> None:
        """Bring statistics back from the device and release the records that waited for them."""
        results = deferred.fetch([measured.launched for measured in self._pending])
        for measured, result in zip(self._pending, results, strict=True):
            measured.statistics, measured.launched = result, None
        self._pending.clear()
        for emission in self._held:
            self._sink.record(emission)
        self._held.clear()

    def close(self) -> None:
        self.fetch()
        self._identities.close()
        self._measured.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Our own torch calls leave no trace: no graph, no autocast, no `__torch_function__`."""
    with torch.no_grad(), torch._C._DisableAutocast(), torch._C.DisableTorchFunction():
        yield


def _not_recordable(tensor: torch.Tensor) -> str | None:
    """Why a tensor has no contents that can be measured; None where it has."""
    if tensor.device.type == "meta":
        return "meta tensor"
    if tensor.layout is not torch.strided:
        return f"layout {str(tensor.layout).removeprefix('torch.')}"
    if tensor.is_quantized:
        return "quantized"
    if tensor.is_nested:
        return "nested"
    if type(tensor) not in _PLAIN_TYPES and hasattr(type(tensor), "__tensor_flatten__"):
        return f"subclass {type(tensor).__name__}"
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return "inside a function transform"
    return None
