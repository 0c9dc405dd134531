"""What lies behind a fault: the calls that read what it made, at first hand or through others.

How the error of a fault scatters is not known.  It may lie in few elements, along the values or against them, and an
operator may make more of it than of rounding.  So a call behind one fault is another only where it is off by many
times what it read explains (`noise.BEHIND`); what is less shows once the first is cured.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from acc_compare.judge.dataflow import Flow
from acc_compare.judge.origins import Origin
from acc_compare.measured.calls import MeasuredCall
from dump.format.names import forward_name

_OF_THE_MACHINE = "dtype"
"""A type that products are computed in is no fault of one call, and its error that of rounding."""


def behind(origins: Sequence[Origin], calls: Sequence[MeasuredCall], flow: Flow) -> frozenset[str]:
    """The names of the calls behind any of `origins`; of `calls`, in the order of execution, of the NPU side whose
    dataflow is `flow`.  A backward call is behind what its forward call is, and behind that call itself."""
    begun = {origin.call.full_name: origin for origin in origins if origin.kind != _OF_THE_MACHINE}
    values: set[Hashable] = set()
    found: set[str] = set()
    for call in calls:
        name = forward_name(call.full_name) if call.is_backward else call.full_name
        reads = any(flow.key(argument.npu) in values for argument in call.read)
        if reads or (call.is_backward and (name in found or name in begun)):
            found.add(call.full_name)
        origin = begun.get(call.full_name)
        if origin is not None:
            values.add(flow.key(origin.judged.argument.npu))
        if origin is not None or call.full_name in found:
            values.update(flow.key(argument.npu) for argument in call.wrote)
    return frozenset(found)
