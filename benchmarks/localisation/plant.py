"""Puts wrong kernels behind torch's operators, in the process that is about to record."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.localisation import edits, formulas  # noqa: F401 (they register their changes)
from benchmarks.localisation.kernels import CHANGES, HF32, ROUNDING, UPDATES, Counted, ten_bits
from benchmarks.localisation.launches import Launch, bytes_of, find_change, floats, number, view
from benchmarks.localisation.rows import Kernel

if TYPE_CHECKING:
    from benchmarks.localisation.truth import Tracer

COLLECTIVE = "c10d::allreduce_"
_current_node: Callable[[], Any] = torch._C._current_autograd_node  # type: ignore[attr-defined]
_libraries: list[torch.library.Library] = []


def install(kernels: tuple[Kernel, ...], tracer: Tracer, *, rank: int = 0, counted: Counted | None = None) -> None:
    """Override the kernels, for as long as the process lives; `tracer` is told each time that a fault fires, `counted`
    each time that a kernel runs.  Kernels that only round otherwise are put below the faults of their operator.

    Raises KeyError for an unknown change, RuntimeError for an unknown operator.
    """
    chosen = [kernel for kernel in kernels if kernel.rank in (None, rank)]
    operators = [kernel.operator for kernel in chosen]
    for operator in dict.fromkeys((*operators, *(UPDATES if counted is not None else ()))):
        namespace, _, name = operator.partition("::")
        genuine = torch.library.get_kernel(operator, "CPU")
        library = torch.library.Library(namespace, "IMPL")
        takes = _tensor_places(namespace, name)

        def run(*arguments: Any, genuine: Any = genuine, takes: tuple[int, ...] = takes, **keywords: Any) -> Any:
            return genuine.call_boxed(*_with_tensors(arguments, takes), **keywords)

        for kernel in sorted((k for k in chosen if k.operator == operator), key=lambda k: k.change not in CHANGES):
            make = _collective if operator == COLLECTIVE else _rounding if kernel.change in CHANGES else _wrong
            run = make(kernel, run, tracer)
        library.impl(name, run if counted is None else _counting(operator, run, counted), "CPU", with_keyset=True)
        _libraries.append(library)


def _counting(operator: str, run: Callable[..., Any], counted: Counted) -> Callable[..., Any]:
    def counting(*arguments: Any, **keywords: Any) -> Any:
        counted.add(operator)
        return run(*arguments, **keywords)

    return counting


def _rounding(kernel: Kernel, genuine: Any, tracer: Tracer) -> Callable[..., Any]:
    """In good health, and rounded otherwise."""
    numbers = itertools.count()

    def run(keyset: Any, *arguments: Any, **keywords: Any) -> Any:
        with torch._C.DisableTorchFunction():
            if kernel.change == HF32:
                return genuine(keyset, *ten_bits(arguments), **keywords)
            result = genuine(keyset, *arguments, **keywords)
            for tensor in floats(result):
                ROUNDING[kernel.change](tensor, kernel.value, next(numbers))
            return result

    return run


def _tensor_places(namespace: str, name: str) -> tuple[int, ...]:
    """The positions, after the key set, of the arguments that are one tensor."""
    base, _, overload = name.partition(".")
    schema = getattr(getattr(getattr(torch.ops, namespace), base), overload or "default")._schema
    return tuple(number + 1 for number, part in enumerate(schema.arguments) if str(part.type) == "Tensor")


def _with_tensors(arguments: tuple[Any, ...], places: tuple[int, ...]) -> list[Any]:
    """A number given where a tensor is wanted reaches us as a number: it becomes a tensor again."""
    given = list(arguments)
    for place in places:
        if place < len(given) and isinstance(given[place], (int, float)):
            given[place] = number(given[place])
    return given


def _wrong(kernel: Kernel, genuine: Any, tracer: Tracer) -> Callable[..., Any]:
    change, numbers = find_change(kernel.change), itertools.count()
    memory: dict[str, Any] = {}

    def run(keyset: Any, *arguments: Any, **keywords: Any) -> Any:
        def original(*args: Any, **rest: Any) -> Any:
            return genuine(keyset, *args, **rest)

        if kernel.within and not _runs_within(kernel.within):
            return original(*arguments, **keywords)
        count = next(numbers)
        is_due = kernel.calls is None or count in kernel.calls
        with torch._C.DisableTorchFunction():
            launch = Launch(original, arguments, keywords, count, memory)
            if not is_due and kernel.change not in _REMEMBER:
                return original(*arguments, **keywords)
            result = change(launch, kernel.value)
            effect = launch.effect(result)
            if not is_due and launch.wanted is not None:  # it only remembers this time
                for tensor, wanted in zip(floats(result), launch.wanted, strict=True):
                    view(tensor)[...] = wanted
            elif effect != 0 or launch.overwritten:
                _tell(tracer, kernel, launch, result, effect)
            return result

    return run


_REMEMBER = ("stale", "stale_tail")


def _tell(tracer: Tracer, kernel: Kernel, launch: Launch, result: Any, effect: float | None) -> None:
    tracer.fired(kernel.operator, effect, overwrote=bool(launch.overwritten))
    for tensor in launch.overwritten:
        tracer.await_reader(kernel.operator, tensor, bytes_of(tensor))
    if not tracer.is_inside():
        written = list(floats(result)) or list(floats(launch.arguments[:1]))
        for tensor in written:
            tracer.await_reader(kernel.operator, tensor, None)


def _runs_within(name: str) -> bool:
    node = _current_node()
    return node is not None and name in node.name()


def _collective(kernel: Kernel, genuine: Any, tracer: Tracer) -> Callable[..., Any]:
    """An allreduce whose result is edited on this rank once it has arrived."""
    numbers, inner = itertools.count(), []

    def run(keyset: Any, tensors: Any, *rest: Any, **keywords: Any) -> Any:
        if inner:
            inner[-1] = genuine(keyset, tensors, *rest, **keywords)
            return inner[-1]
        count = next(numbers)
        if kernel.calls is not None and count not in kernel.calls:
            return genuine(keyset, tensors, *rest, **keywords)
        with torch._C.DisableTorchFunction(), _one_deeper(inner):
            # The work handle of the dispatcher cannot be waited for; the process group's own can.
            torch.distributed.ProcessGroup.unbox(rest[0]).allreduce(list(tensors)).wait()
            result = inner[-1]
            for tensor in tensors:
                array = view(tensor)
                launch = Launch(lambda wrote=tensor: wrote, (), {}, count)
                launch.genuine()
                array *= array.dtype.type(kernel.value)
                tracer.fired(kernel.operator, launch.effect(tensor))
                tracer.await_collective(kernel.operator, launch.effect(tensor))
                if not tracer.is_inside():
                    tracer.await_reader(kernel.operator, tensor, None)
        return result

    return run


@contextmanager
def _one_deeper(inner: list[Any]) -> Iterator[None]:
    inner.append(None)
    try:
        yield
    finally:
        inner.pop()
