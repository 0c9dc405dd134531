"""Who produced what a call reads: the dataflow graph of one side.

Our dumps say which tensors are the same value.  A foreign dump does not, so there two tensors are taken for the same
value when shape, dtype and statistics agree to the last digit.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property

import msgspec

from acc_compare.measured.calls import place_of_gradient
from dump.format.names import BACKWARD, FORWARD, forward_name, parse
from dump.format.schema import CallRecord, Dump, TensorRecord, tensor_records


class Producer(msgspec.Struct, frozen=True, gc=False):
    """The call that wrote a value, and its argument's name there."""

    call: str
    argument: str
    index: int


class Contribution(msgspec.Struct, frozen=True, gc=False):
    """What one backward call added to the gradient of a value."""

    call: str
    argument: str
    tensor: TensorRecord
    index: int


class Flow:
    """Producers and consumers of the values of one dump.  `exact` says that values come from the recorder."""

    def __init__(self, dump: Dump) -> None:
        self._dump = dump
        self.exact = any(tensor.value is not None for call in dump.calls for _, tensor in call.tensors())
        self._producers: dict[Hashable, Producer] = {}
        self._parameters: dict[Hashable, str] = {}
        self._gradients: set[int] = set()
        self._passed_back: set[Hashable] = set()
        self._trained: set[int] = set()
        self._updated: dict[Hashable, str] = {}
        self._begun_with: dict[int, list[tuple[CallRecord, TensorRecord]]] = {}
        for call in dump.calls:
            self._note_parameters(call)
            if parse(call.name).direction == BACKWARD:
                read = [argument.leaf for argument in call.inputs if isinstance(argument.leaf, TensorRecord)]
                self._passed_back.update(self.key(leaf) for leaf in read)
            for argument, leaf in _written_by(call):
                key = self.key(leaf)
                if key not in self._producers:
                    self._producers[key] = Producer(call.name, argument, call.index)

    def _note_parameters(self, call: CallRecord) -> None:
        for argument in call.parameters:
            if isinstance(argument.leaf, TensorRecord):
                label = f"{parse(call.name).path}.{argument.name.removeprefix('parameters.')}"
                self._parameters.setdefault(self.key(argument.leaf), label)
        if not call.name.startswith("Optimizer."):
            return
        for argument in call.inputs:
            leaf = argument.leaf
            if isinstance(leaf, TensorRecord) and argument.name.startswith("input.param."):
                self._updated[self.key(leaf)] = name = argument.name.removeprefix("input.param.")
                self._parameters.setdefault(self.key(leaf), name)
                if leaf.storage is not None:
                    self._trained.add(leaf.storage)
                    self._begun_with.setdefault(leaf.storage, []).append((call, leaf))
            elif (
                isinstance(leaf, TensorRecord) and argument.name.startswith("input.grad.") and leaf.storage is not None
            ):
                self._gradients.add(leaf.storage)

    def key(self, tensor: TensorRecord) -> Hashable:
        """Equal for two tensors of this dump that are the same value, as far as the dump can tell."""
        if tensor.value is not None:
            return tensor.value
        return (tensor.dtype, tensor.shape, tensor.max, tensor.min, tensor.mean, tensor.norm, tensor.md5)

    def producer(self, tensor: TensorRecord, before: int) -> Producer | None:
        """The call that first wrote this value, if it ran before the call number `before`: a later one that has it
        among its results has passed it on (an in-place view, dropout in evaluation).

        A backward call of several nodes (LSTM) is recorded when the last has run; calls that read what the first nodes
        handed on may stand before it.
        """
        found = self._producers.get(self.key(tensor))
        if found is None or found.index == before:
            return None
        late = self.exact and parse(found.call).direction == BACKWARD
        return found if found.index < before or late else None

    def writers(self, tensor: TensorRecord, before: int) -> list[Producer]:
        """Calls before `before` that wrote to the memory of this tensor, latest first."""
        if tensor.storage is None:
            return []
        return [p for p in reversed(self._writers.get(tensor.storage, [])) if p.index < before]

    @cached_property
    def _writers(self) -> dict[int, list[Producer]]:
        """By storage, in order of execution."""
        found: dict[int, list[Producer]] = {}
        for call in self._dump.calls:
            for argument, leaf in _written_by(call):
                if leaf.storage is not None:
                    found.setdefault(leaf.storage, []).append(Producer(call.name, argument, call.index))
        return found

    def grad_fn(self, tensor: TensorRecord) -> str | None:
        """The autograd node that made this value, where no recorded call did.  The record of the first call that began
        with it has it, which a module around others is although it stands behind them."""
        return tensor.grad_fn or self._nodes.get(self.key(tensor))

    @cached_property
    def _nodes(self) -> dict[Hashable, str]:
        read = (leaf for call in self._dump.calls for leaf in tensor_records(call.inputs)) if self.exact else ()
        return {self.key(leaf): leaf.grad_fn for leaf in read if leaf.grad_fn is not None}

    def contributions(self, tensor: TensorRecord) -> Sequence[Contribution]:
        """What went into the gradient of this value, in order of execution."""
        return self._contributions.get(self.key(tensor), ())

    def every_contribution(self, shape: tuple[int, ...]) -> Iterator[Sequence[Contribution]]:
        """What went into the gradient of each value, where that has this shape."""
        return (parts for parts in self._contributions.values() if parts[0].tensor.shape == shape)

    def gives(self, call: str, argument: str) -> bool:
        """Is there a tensor of this name among what the call writes?"""
        return (call, argument) in self._given

    @cached_property
    def _given(self) -> frozenset[tuple[str, str]]:
        calls = self._dump.calls
        return frozenset((c.name, a.name) for c in calls for a in c.outputs if isinstance(a.leaf, TensorRecord))

    @cached_property
    def _contributions(self) -> dict[Hashable, list[Contribution]]:
        found: dict[Hashable, list[Contribution]] = {}
        read: dict[str, list[TensorRecord]] = {}
        for call in self._dump.calls:
            name = parse(call.name)
            if name.is_module or name.prefix == "Optimizer":
                continue
            if name.direction == FORWARD:
                read[call.name] = list(tensor_records(call.inputs))
            elif name.direction == BACKWARD:
                given = read.get(forward_name(call.name), [])
                for argument in call.outputs:
                    leaf = argument.leaf
                    if not isinstance(leaf, TensorRecord):
                        continue
                    place = place_of_gradient(argument.name, leaf.shape, [each.shape for each in given])
                    if place is not None:
                        contribution = Contribution(call.name, argument.name, leaf, call.index)
                        found.setdefault(self.key(given[place]), []).append(contribution)
        return found

    def parameter(self, tensor: TensorRecord) -> str | None:
        """The name of the parameter that this value is, where modules or an optimizer recorded it."""
        return self._parameters.get(self.key(tensor))

    def updated(self, tensor: TensorRecord) -> str:
        """What an optimizer that begins with this value calls the parameter, "" where none is known to."""
        return self._updated.get(self.key(tensor), "") if self.exact else ""

    def stepping(self, tensor: TensorRecord, at: int) -> str:
        """The optimizer inside whose step the call number `at` reads this parameter, "" where none is known.

        Values are numbered as they are met: where the optimizer, whose record ends after that call, began with an
        earlier value of the same parameter, it has moved it since, for its closure to be run anew.
        """
        if not self.exact or tensor.storage is None or tensor.value is None:
            return ""
        for call, begun in self._begun_with.get(tensor.storage, ()):
            if call.index > at and begun.value is not None and begun.value < tensor.value:
                return call.name if begun.shape == tensor.shape and begun.dtype == tensor.dtype else ""
        return ""

    def is_trained(self, tensor: TensorRecord) -> bool:
        """Is its memory that of a parameter which an optimizer updates, or may?"""
        return bool(tensor.requires_grad) or self.is_updated(tensor)

    def optimizer(self, tensor: TensorRecord) -> str:
        """The optimizer of this step that updates what lies there, "" where none is known."""
        if tensor.storage is None:
            return ""
        return next((call.name for call, _ in self._begun_with.get(tensor.storage, ())), "")

    def is_updated(self, tensor: TensorRecord) -> bool:
        """Does an optimizer of this step update what lies there?"""
        return tensor.storage in self._trained

    def is_gradient(self, tensor: TensorRecord) -> bool:
        """Is its memory that of a gradient which an optimizer reads?  Backward sums it without a call of its own."""
        return tensor.storage in self._gradients

    def is_passed_back(self, tensor: TensorRecord) -> bool:
        """Does a backward call read this value?  Then autograd made it, be it read by calls that a custom backward
        makes."""
        return self.exact and self.key(tensor) in self._passed_back


def _written_by(call: CallRecord) -> Iterator[tuple[str, TensorRecord]]:
    for argument in (*call.outputs, *call.written):
        if isinstance(argument.leaf, TensorRecord):
            yield argument.name, argument.leaf
