"""What lies behind a fault: the calls that read what it made, at first hand or through others.

How the error of a fault scatters is not known.  It may lie in few elements, along the values or against them, and an
operator may make more of it than of rounding.  So a call behind one fault is another only where it is off by many
times what it read explains (`noise.BEHIND`); what is less shows once the first is cured.  So is every call
of a step that starts from what a fault left (`walk`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from acc_compare.judge.dataflow import Flow
from acc_compare.judge.origins import Origin
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from dump.format.names import forward_name

_OF_THE_MACHINE = "dtype"
"""A type that products are computed in is no fault of one call, and its error that of rounding."""


def behind(origins: Sequence[Origin], calls: Sequence[MeasuredCall], flow: Flow) -> frozenset[str]:
    """The names of the calls behind any of `origins`; of `calls`, in the order of execution, of the NPU side whose
    dataflow is `flow`.  A backward call is behind what its forward call is, and behind that call itself."""
    begun: dict[str, list[MeasuredArgument]] = {}
    for origin in origins:
        if origin.kind != _OF_THE_MACHINE:
            begun.setdefault(origin.call.full_name, []).append(origin.judged.argument)
    wrong = _Values(flow)
    passed_back: set[str] = set()  # forward calls whose gradients are wrong
    readers: dict[Hashable, list[str]] = {}
    made: dict[str, list[Hashable]] = {}
    found: set[str] = set()
    for call in calls:
        name = call.full_name
        if call.is_backward:
            forward = forward_name(name)
            # Autograd sums gradients without a call: they are those of all that read what the forward call made.
            summed = (reader for key in made.get(forward, ()) for reader in readers.get(key, ()))
            is_behind = forward in found or forward in begun or any(reader in passed_back for reader in summed)
        else:
            is_behind = False
            made[name] = [key for argument in call.wrote for key in wrong.keys(argument)]
            for argument in call.read:
                for key in wrong.keys(argument):
                    readers.setdefault(key, []).append(name)
        for argument in begun.get(name, ()):
            wrong.add(argument)
        if is_behind or any(argument in wrong for argument in call.read):
            found.add(name)
        if name in begun or name in found:
            for argument in call.wrote:
                wrong.add(argument)
            if call.is_backward:
                passed_back.add(forward_name(name))
    return frozenset(found)


class _Values:
    """What is wrong: values, and the memory they lie in, which views that no call made share."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._found: set[Hashable] = set()

    def keys(self, argument: MeasuredArgument) -> Iterator[Hashable]:
        yield self._flow.key(argument.npu)
        if argument.npu.storage is not None:
            yield "memory", argument.npu.storage

    def add(self, argument: MeasuredArgument) -> None:
        self._found.update(self.keys(argument))

    def __contains__(self, argument: MeasuredArgument) -> bool:
        return any(key in self._found for key in self.keys(argument))
