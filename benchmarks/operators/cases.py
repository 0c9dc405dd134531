"""Every operator of torch's own list, in every spelling that torch and Python have for it.

The list is `torch.testing._internal.common_methods_invocations.op_db`, with the inputs that torch tests itself on.
"""

from __future__ import annotations

import importlib.util
import sys
import types
import unittest
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch

from dump.intercept import catalog

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int64": torch.int64,
    "bool": torch.bool,
}
# Of torch's list: what runs a compiler for CUDA, moves to a device, or is no operator of the catalog.
_LEFT_OUT = (
    "jiterator",
    "torch.ops.",
    "signal.windows",
    "_refs.",
    "item",
    "broadcast_shapes",
    "linear_cross_entropy",
    "hash_tensor",
    "to_sparse",
)
_MOST_ELEMENTS = 200_000
_LOOKED_AT = 10
"""Samples of an operator among which those to run are chosen."""


@dataclass(frozen=True, slots=True)
class Case:
    """One call to be made: `run` takes the arguments of the sample.  `operator` is the name in torch's list."""

    operator: str
    spelling: str
    dtype: str
    number: int
    run: Callable[..., Any] = field(compare=False, repr=False)
    args: tuple[Any, ...] = field(compare=False, repr=False)
    kwargs: dict[str, Any] = field(compare=False, repr=False)
    backward: bool = False

    def __str__(self) -> str:
        direction = " backward" if self.backward else ""
        return f"{self.operator} {self.spelling} {self.dtype} #{self.number}{direction}"


def operator_list() -> Sequence[Any]:
    """torch's list of operators.  The module that holds it imports `expecttest` for a class that is not used here."""
    if "expecttest" not in sys.modules and importlib.util.find_spec("expecttest") is None:
        stand_in = types.ModuleType("expecttest")
        stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
        stand_in.ACCEPT = False  # type: ignore[attr-defined]
        sys.modules["expecttest"] = stand_in
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    return [entry for entry in op_db if not any(word in entry.name for word in _LEFT_OUT)]


def cases(entries: Sequence[Any], dtype: str, *, samples: int, backward: bool = False) -> Iterator[Case]:
    """The calls of `entries` in one dtype; of each as many samples in each spelling.  With `backward` those that
    autograd knows, as functions, whose backward is to be run."""
    where = _places()
    kind = DTYPES[dtype]
    for entry in entries:
        if kind not in (entry.supported_backward_dtypes("cpu") if backward else entry.supported_dtypes("cpu")):
            continue
        if backward and not entry.supports_autograd:
            continue
        name = f"{entry.name}.{entry.variant_test_name}" if entry.variant_test_name else entry.name
        torch.manual_seed(sum(map(ord, name)))
        for number, sample in enumerate(_chosen(entry, kind, samples, grads=backward)):
            args, kwargs = (sample.input, *sample.args), dict(sample.kwargs)
            for spelling, run in _spellings(entry, where):
                if backward and spelling != "function":
                    continue
                yield Case(name, spelling, dtype, number, run, args, kwargs, backward)


def _chosen(entry: Any, dtype: torch.dtype, most: int, *, grads: bool) -> list[Any]:
    """The sample with the most elements, and others spread over the list."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = list(islice(entry.sample_inputs("cpu", dtype, requires_grad=grads), _LOOKED_AT))
    except Exception:  # a generator of torch's that does not know this dtype
        return []
    sizes = [sum(leaf.numel() for leaf in tensors((sample.input, sample.args, sample.kwargs))) for sample in found]
    places = [place for place, size in enumerate(sizes) if 0 < size <= _MOST_ELEMENTS]
    places.sort(key=lambda place: (-sizes[place], place))
    step = max(1, len(places) // most)
    return [found[place] for place in places[::step][:most]]


def tensors(tree: Any) -> Iterator[torch.Tensor]:
    """The tensors in a tree of arguments."""
    return (leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor))


def _places() -> dict[int, tuple[Any, str]]:
    """Where an operator stands, by its identity: it is looked up when it is called, since recorders replace it."""
    found: dict[int, tuple[Any, str]] = {}
    for operator in catalog.operators():
        found.setdefault(id(getattr(operator.owner, operator.attribute)), (operator.owner, operator.attribute))
    return found


def _spellings(entry: Any, where: dict[int, tuple[Any, str]]) -> Iterator[tuple[str, Callable[..., Any]]]:
    seen: set[Any] = set()
    for one in (entry, *entry.aliases):
        for spelling, function in (
            ("function", one.op),
            ("method", one.method_variant),
            ("in-place", one.inplace_variant),
            ("dunder", getattr(one, "operator_variant", None)),
            ("in-place dunder", getattr(one, "inplace_operator_variant", None)),
        ):
            if function is None:
                continue
            place = where.get(id(function))
            key = place[::-1] if place is not None else id(function)
            if key in seen:
                continue
            seen.add(key)
            yield (spelling if one is entry else f"{spelling} {one.name}"), _late(function, place)
    if entry.supports_out:
        yield "out=", _into(_late(entry.op, where.get(id(entry.op))))


def _late(function: Callable[..., Any], place: tuple[Any, str] | None) -> Callable[..., Any]:
    if place is None:
        return function
    owner, attribute = place
    if isinstance(owner, type):  # as scripts call methods: of the tensor, not of the class
        return lambda self, *args, **kwargs: getattr(self, attribute)(*args, **kwargs)
    return lambda *args, **kwargs: getattr(owner, attribute)(*args, **kwargs)


def _into(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with `out=`, into memory that holds other numbers."""

    def run(*args: Any, out: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs, out=out)

    run.takes_out = True  # type: ignore[attr-defined]
    return run
