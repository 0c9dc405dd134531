"""One step's recording: names the calls, measures each distinct value once, hands whole records to the
writer.

The interceptors call this on the training thread, so it only measures and stores; text is made by the writer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined,unused-ignore]

from .. import native
from ..config import DumpConfig
from ..environment import device
from ..torch_internals import (
    is_in_transform,
    is_zerotensor,
    sparse_values,
    storage_address,
    without_autocast,
    without_dispatch,
    without_overrides,
)
from . import contents, deferred, filters, reading, stack, statistics, tree
from .entries import Emission, Entry, Expected, Measured, Sink
from .identity import CheckedIdentities, Identities, Identity
from .observer import ObservedCalls, Observer
from .reading import Facts, dtype_of, facts_of, is_meta, is_on_host, layout_of, shape_of
from .sharded import Wrappers, dispatches_itself, local_of, partition_of

_FETCH_AFTER = 2048
_PLAIN_TYPES = (torch.Tensor, torch.nn.Parameter)
_LONGEST_REASON = 200
_STILL_RUNNING = "result of a running collective"

# What torch and numpy raise at a tensor that they cannot take, or where a copy takes more memory than there is.
_UNMEASURABLE = (RuntimeError, TypeError, ValueError, ArithmeticError, MemoryError)


class StepRecorder:
    """Records one step into one sink.  Not reusable: close it at the step's end."""

    def __init__(self, config: DumpConfig, sink: Sink, observer: Observer | None = None) -> None:
        self._config = config
        self.observer = observer
        self._sink = sink
        self._identities: Identities = CheckedIdentities() if config.remeasure else Identities()
        self._wrappers = Wrappers()
        self._numbers: dict[str, int] = {}
        self._measured: dict[tuple[Any, ...], Measured] = {}
        self._pending: list[Measured] = []
        self._waves = device.current_rank() is not None
        self._queue = deferred.Queue()
        self._held: list[Emission] = []
        self._expected: dict[int, Expected] = {}
        chosen = filters.Selection if observer is None or not observer.samples else ObservedCalls
        self.selection = chosen(config.scope, config.api_list)
        self._in_tensor_list = filters.picks(config.tensor_list) if config.tensor_list else None
        kept = filters.sides_kept(config.data_mode)
        self.reads_forward, self.writes_forward, self.reads_backward, self.writes_backward = (
            (direction, side) in kept for direction in ("forward", "backward") for side in ("input", "output")
        )
        self.follows_backward = self.reads_backward or self.writes_backward
        # Are whole tensors recorded, so that a call can be made again from its record?
        self.keeps_tensors = config.task == "tensor" or observer is not None
        native.share(torch.get_num_threads())
        self._measures = config.task != "structure" or observer is not None
        self._digest = None if self.keeps_tensors else config.digest
        # A file holds one shape, so where files are written what is known is kept for each value, else for
        # each content.
        self._by_value = self.keeps_tensors or bool(config.tensor_list)
        self.calls = 0
        self.repeated = 0
        self.skipped: dict[str, int] = {}
        self.devices: set[str] = set()

    # ---- names and filters

    def number(self, key: str) -> int:
        """How many calls of `key` came before, counted per step."""
        count = self._numbers.get(key, 0)
        self._numbers[key] = count + 1
        return count

    def overwrite(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
        """Give tensors, by place, the values that an observer has for them, past the version counter: to autograd each
        is the tensor that it was."""
        with _quiet():
            for place, value in values.items():
                tensor = tensors.get(place)
                if tensor is not None and shape_of(tensor) == value.shape and dtype_of(tensor) == value.dtype:
                    reading.fill(reading.uncounted(tensor), value)
                    self.touch(tensor)

    # ---- values

    def read(self, thing: Any, name: str) -> Any:
        """Capture arguments that a call reads; `name` prefixes the files of tensor mode."""
        with without_overrides(), without_dispatch():
            return tree.capture(thing, name, on_tensor=self.consumed)

    def wrote(self, thing: Any, name: str) -> Any:
        """Capture what a call returned or wrote."""
        with without_overrides(), without_dispatch():
            return tree.capture(thing, name, on_tensor=self.produced)

    def value_of(self, tensor: torch.Tensor) -> int | None:
        """The number of the tensor's present value, without measuring it."""
        identity = self._identities.identify(local_of(tensor).tensor)
        return None if identity is None else identity.value

    def touch(self, tensor: torch.Tensor) -> None:
        """The tensor's memory was written without its version counter moving."""
        self._identities.touch(local_of(tensor).tensor)

    def put_back(self, tensor: torch.Tensor, was: int) -> None:
        """The version counter of the tensor was put back from `was` to what it was before."""
        self._identities.put_back(local_of(tensor).tensor, was)

    def settle(self, thing: Any) -> None:
        """A collective has written the tensors in `thing`, whose record says so."""
        for tensor in tree.tensors_of(thing):
            self._identities.settle(local_of(tensor).tensor)

    def touch_unsettled(self, tensor: torch.Tensor) -> None:
        """The same as `touch`, where no recorded collective has written it: then somebody may have, unseen."""
        local = local_of(tensor).tensor
        if not self._identities.is_settled(local):
            self._identities.touch(local)

    def emptied(self, storage: torch.UntypedStorage) -> None:
        """The storage has got new memory, to which nothing was written yet."""
        self._identities.emptied(storage)

    def expect(self, result: torch.Tensor) -> None:
        """A collective still writes `result`: whoever mentions its memory is measured when it has `arrived`."""
        self._expected[storage_address(reading.storage_of(result))] = Expected()

    def arrived(self, result: torch.Tensor) -> Expected | None:
        """The collective has written `result`, and nobody has changed it since.  Those who mentioned it, to be told
        when the result itself is measured; None where nobody did."""
        expected = self._expected.pop(storage_address(reading.storage_of(result)), None) if self._expected else None
        return expected if expected is not None and expected.mentions else None

    def tell(self, expected: Expected) -> None:
        """Measure for those who mentioned a result that has arrived."""
        for entry, tensor, place in expected.mentions:
            entry.unrecorded = None
            self._identify_and_measure(entry, tensor, place)

    @property
    def overwritten(self) -> int:
        """How many values were found changed past the version counter, where `remeasure` looks for them."""
        return self._identities.overwritten

    def take_stack(self) -> stack.RawStack | None:
        """The caller's stack, where the configuration asks for stacks."""
        return stack.take() if self._config.extra_info else None

    def consumed(self, tensor: torch.Tensor, place: str) -> Entry:
        """One tensor that a call reads; `place` names its file.  Function modes of the user's are off (`Watch.guard`),
        dispatch modes are switched off where an operator of torch's is called."""
        entry = self.produced(tensor, place)
        if entry.requires_grad and entry.identity is not None and entry.identity.fresh:
            entry.grad_fn = _maker(tensor)
        if type(tensor) is torch.nn.Parameter:
            entry.partition = partition_of(tensor)
        if self.keeps_tensors and entry.unrecorded is None and not reading.is_contiguous(tensor):
            entry.stride = reading.strides_of(tensor)
        return entry

    def produced(self, tensor: torch.Tensor, place: str) -> Entry:
        """One tensor that a call returned or wrote, likewise."""
        facts = facts_of(tensor)
        if facts is None:
            with without_overrides(), without_dispatch():
                return self._produced_out_of_the_ordinary(tensor, place)
        entry = Entry(facts[4], facts[5], facts[8], None, None)
        self._identify_and_measure(entry, tensor, place, facts)
        return entry

    def _produced_out_of_the_ordinary(self, given: torch.Tensor, place: str) -> Entry:
        if (local := local_of(given)).tensor is not given and self._wrappers.is_written(given):
            self._identities.touch(local.tensor)
        tensor = _values(local.tensor)
        is_followed = reading.requires_grad(given)
        entry = Entry(dtype_of(tensor), _shape(tensor), is_followed, None, None, layout=local.layout)
        if (reason := _not_recordable(tensor)) is not None:
            self._skip(reason)
            entry.unrecorded = reason
        else:
            self._identify_and_measure(entry, tensor, place)
        return entry

    def _is_expected(self, tensor: torch.Tensor) -> bool:
        try:
            return storage_address(reading.storage_of(tensor)) in self._expected
        except RuntimeError:
            return False

    def _identify_and_measure(self, entry: Entry, tensor: torch.Tensor, place: str, facts: Facts | None = None) -> None:
        if self._expected and self._is_expected(tensor):
            entry.unrecorded = _STILL_RUNNING
            expected = self._expected[storage_address(reading.storage_of(tensor))]
            if not expected.mentions:
                expected.since = len(self._held)
            expected.mentions.append((entry, tensor, place))
            return
        try:
            entry.identity = self._identities.identify(tensor, facts)
            entry.measured = self._measure(tensor, entry.identity, place, facts)
        except _UNMEASURABLE as error:
            entry.unrecorded = _reason(error)
            self._skip("measuring failed")

    def repeat(self) -> None:
        """A module's backward ran again, which is not recorded; its operators' backward is, where they are."""
        self.repeated += self._config.level == "L0"

    def _skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def _measure(self, tensor: torch.Tensor, identity: Identity | None, place: str, facts: Facts | None) -> Measured:
        key = None if identity is None else (identity.value,) if self._by_value else identity.content
        key = key if key is None or not self._waves else (*key, shape_of(tensor))  # contents may have several
        measured = None if key is None else self._measured.get(key)
        if measured is None:
            measured = Measured()
            self._look_at(tensor, measured, facts)
            if key is not None:
                self._measured[key] = measured
        stores = self.keeps_tensors or (self._in_tensor_list is not None and self._in_tensor_list(place))
        if stores and not measured.stored and not contents.is_too_long(tensor):
            measured.stored = True
            self._sink.store(measured, place, _borrow(tensor, facts))
        return measured

    def _look_at(self, tensor: torch.Tensor, measured: Measured, facts: Facts | None) -> None:
        """Measure or digest contents seen for the first time, now or behind the run's back."""
        self.devices.add("cpu" if is_on_host(tensor) else reading.device_of(tensor).type)
        if not self._measures:
            return
        self._waves = self._waves or device.has_joined_ranks()  # as a script may that has begun
        if self._digest is not None:
            contents.refuse_too_long(tensor)
            payload = _borrow(tensor, facts)
            if contents.is_cheaper_than_a_copy(payload, self._digest):
                measured.md5 = contents.digest(payload, self._digest)
            else:
                self._sink.store(measured, None, payload)
        elif is_on_host(tensor) or contents.is_repeated(tensor):
            measured.statistics = self._measure_here(tensor, facts)
        else:
            with _quiet():
                measured.launched = self._queue.take(tensor, waves=self._waves)
            if measured.launched is None:
                measured.statistics = statistics.EMPTY
            else:
                self._pending.append(measured)

    def _measure_here(self, tensor: torch.Tensor, facts: Facts | None) -> statistics.Statistics:
        if facts is not None and (found := statistics.as_it_lies(tensor, facts, waves=self._waves)) is not None:
            return found
        with without_dispatch():
            return statistics.measure(tensor, facts, waves=self._waves)

    # ---- records

    def emit(self, emission: Emission, *, place: int | None = None) -> None:
        """Hand a finished record on; it waits while statistics before it are still on a device, or while a collective
        runs whose result it mentions.  `place` is one before records that wait."""
        self.calls += 1
        if self.observer is not None and self._pending:
            self.fetch()
        if place is not None:
            self._held.insert(place, emission)
            if not self._pending and not self._is_waiting():
                self._release()
            return
        if not self._pending and not self._held and not self._is_waiting():
            self._sink.record(emission)
            return
        self._held.append(emission)
        if len(self._pending) >= _FETCH_AFTER:
            self.fetch()

    def _is_waiting(self) -> bool:
        """Are there records that mention the result of a collective that still runs?"""
        return bool(self._expected) and any(expected.mentions for expected in self._expected.values())

    def fetch(self) -> None:
        """Bring statistics back from the device and release the records that waited for them, or that say it failed."""
        pending, self._pending, self._queue = self._pending, [], deferred.Queue()
        results: Sequence[deferred.Result]
        try:
            with _quiet():
                results = deferred.fetch([measured.launched for measured in pending])
        except RuntimeError as error:
            results = [error] * len(pending)
        for measured, result in zip(pending, results, strict=True):
            measured.launched = None
            if not isinstance(result, RuntimeError):
                measured.statistics = result
                continue
            measured.failure = _reason(result)
            self._skip("measuring failed")
        if not self._is_waiting():
            self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        for emission in held:
            self._sink.record(emission)

    def close(self) -> None:
        """Release what still waits, and the storages."""
        self._expected.clear()
        self.fetch()
        self._identities.close()
        self._measured.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Our own torch calls leave no trace: no graph, no autocast, no function or dispatch mode sees them."""
    with (
        device.measuring(),
        without_overrides(),  # before `no_grad`, which a function mode would see
        without_dispatch(),
        without_autocast(),
        torch.no_grad(),
    ):
        yield


def _borrow(tensor: torch.Tensor, facts: Facts | None) -> contents.Contents:
    if (found := contents.as_it_lies(tensor, facts)) is not None:
        return found
    with _quiet():
        return contents.borrow(tensor)


def _values(tensor: torch.Tensor) -> torch.Tensor:
    """What a sparse tensor holds, a row for each index, in its own order: adding up rows of one index is left to the
    run, whose kernels may be at fault.  Zeros that have no memory, with memory.  Any other tensor as it is."""
    if is_zerotensor(tensor):
        with _quiet():
            return reading.copied(reading.detached(tensor))
    if layout_of(tensor) is not torch.sparse_coo or is_meta(tensor):
        return tensor
    values: torch.Tensor = sparse_values(reading.detached(tensor))
    return values


def _maker(tensor: torch.Tensor) -> str | None:
    """The name of the autograd node that made a tensor which no recorded call made."""
    try:
        with without_dispatch():  # a view may be made anew for it
            node = reading.maker_of(tensor)
    except RuntimeError:  # a view that the run may not write to, and has: its own error comes later
        return None
    return None if node is None else node.name()


def _not_recordable(tensor: torch.Tensor) -> str | None:
    """Why a tensor has no contents that can be measured; None where it has."""
    if type(tensor) not in _PLAIN_TYPES:
        if issubclass(type(tensor), UninitializedTensorMixin):
            return "uninitialized"
        if dispatches_itself(type(tensor)):
            return f"subclass {type(tensor).__name__}"
    if is_meta(tensor):
        return "meta tensor"
    if reading.is_quantized(tensor):
        return "quantized"
    if (layout := layout_of(tensor)) is not torch.strided:
        return f"layout {str(layout).removeprefix('torch.')}"
    if reading.is_nested(tensor):
        return "nested"
    if is_in_transform(tensor):
        return "inside a function transform"
    return None


def _shape(tensor: torch.Tensor) -> tuple[int, ...]:
    try:
        shape = tuple(shape_of(tensor))
    except RuntimeError:  # nested and uninitialized tensors have none
        return ()
    return shape if all(type(extent) is int for extent in shape) else ()  # jagged and traced ones have symbols


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:_LONGEST_REASON]
