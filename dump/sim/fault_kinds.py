"""The sorts of fault that the simulated device can have: each a function under `@fault_kind`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch

from dump.format.errors import ConfigError
from dump.sim.operators import Plan

_aten: Any = torch.ops.aten

Takes: TypeAlias = Literal["nothing", "number", "index", "count"]


@dataclass(frozen=True, slots=True)
class Launch:
    """An operator about to run on the host tensors behind its npu arguments."""

    plan: Plan
    kernel: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def run(self) -> Any:
        return self.kernel(*self.arguments, **self.keywords)

    def written(self) -> Iterator[torch.Tensor]:
        """Floating tensors that the operator writes into: `self` in place, `out`."""
        for position in self.plan.written:
            yield from _floating(self.arguments[position : position + 1])
        for name in self.plan.written_names:
            yield from _floating(self.keywords.get(name))


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A sort of fault: what value it takes, and what it makes of a launch (the operator's result)."""

    name: str
    takes: Takes
    apply: Callable[[Launch, float], Any]

    def check(self, value: float | None) -> None:
        if self.takes == "nothing":
            if value is not None:
                raise ConfigError(f"The fault kind {self.name!r} takes no value, found {value:g}.")
            return
        if value is None:
            raise ConfigError(f"The fault kind {self.name!r} needs a {self.takes}, as in {self.name}:1.")
        if self.takes == "number":
            if not math.isfinite(value):
                raise ConfigError(f"The fault kind {self.name!r} needs a finite number, found {value}.")
            return
        least = 1 if self.takes == "count" else 0
        if not (math.isfinite(value) and value.is_integer() and value >= least):
            raise ConfigError(f"The fault kind {self.name!r} needs a whole number from {least}, found {value:g}.")


_KINDS: dict[str, FaultKind] = {}


def fault_kind(name: str, takes: Takes = "nothing") -> Callable[[Callable[[Launch, float], Any]], Any]:
    """Register a kind under a name that specs can use.  Raises ValueError where the name is taken.

    `apply` gets the launch and the value of the spec (0 where it takes none), and gives what the operator returns:

        @fault_kind("late_nan", "count")
        def _late_nan(launched, value): ...
    """

    def enter(apply: Callable[[Launch, float], Any]) -> Callable[[Launch, float], Any]:
        if name in _KINDS:
            raise ValueError(f"the fault kind {name!r} is registered twice")
        _KINDS[name] = FaultKind(name, takes, apply)
        return apply

    return enter


def kinds() -> tuple[FaultKind, ...]:
    """All registered kinds, in the order of registration."""
    return tuple(_KINDS.values())


def kind_named(name: str) -> FaultKind:
    kind = _KINDS.get(name)
    if kind is None:
        nearest = difflib.get_close_matches(name, _KINDS, n=1, cutoff=0.0)[0]
        raise ConfigError(f"Unknown fault kind {name!r}; did you mean {nearest!r}?  Known: {', '.join(_KINDS)}.")
    return kind


# ---- the kinds -------------------------------------------------------------------------------------------


def _floating(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        if value.dtype.is_floating_point:
            yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _floating(item)


def _run_and_edit(launched: Launch, edit: Callable[[torch.Tensor], object]) -> Any:
    """Run, then change every floating result in place; written arguments are results too."""
    out = launched.run()
    results = {id(x): x for x in (*_floating(out), *launched.written())}
    for tensor in results.values():
        if tensor.numel():
            edit(tensor)
    return out


@fault_kind("bf16")
def _bf16(launched: Launch, value: float) -> Any:
    return _run_in(launched, torch.bfloat16)


@fault_kind("fp16")
def _fp16(launched: Launch, value: float) -> Any:
    return _run_in(launched, torch.float16)


@fault_kind("hf32")
def _hf32(launched: Launch, value: float) -> Any:
    """float32 arguments rounded to HF32, Ascend's type of 8 bits of exponent and 11 of mantissa; sums stay float32.

    Rounded half to even on the bits: 12 of float32's 23 bits of mantissa go.  NaN and Inf stay what they are.
    """
    written = {id(x) for x in launched.written()}

    def rounded(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return [rounded(item) for item in x]
        if not isinstance(x, torch.Tensor) or x.dtype is not torch.float32 or id(x) in written:
            return x
        bits = _aten.view.dtype(_aten.clone.default(x), torch.int32)
        last = _aten.bitwise_and.Scalar(_aten.__rshift__.Scalar(bits, 12), 1)
        up = _aten.bitwise_and.Scalar(_aten.add.Scalar(_aten.add.Tensor(bits, last), 0x7FF), ~0xFFF)
        return _aten.where.self(_aten.isfinite.default(x), _aten.view.dtype(up, torch.float32), x)

    return replace(launched, arguments=tuple(rounded(x) for x in launched.arguments)).run()


@fault_kind("scale", "number")
def _scale(launched: Launch, value: float) -> Any:
    return _run_and_edit(launched, lambda x: _aten.mul_.Scalar(x, value))


@fault_kind("add", "number")
def _add(launched: Launch, value: float) -> Any:
    return _run_and_edit(launched, lambda x: _aten.add_.Scalar(x, value))


@fault_kind("sign")
def _sign(launched: Launch, value: float) -> Any:
    return _run_and_edit(launched, _aten.neg_.default)


@fault_kind("nan", "index")
def _nan(launched: Launch, value: float) -> Any:
    """NaN at a flat index, counted modulo the number of elements so that it fires for every shape."""

    def edit(x: torch.Tensor) -> None:
        place, rest = x, int(value) % x.numel()
        for extent in reversed(x.shape):
            rest, index = divmod(rest, extent)
            place = _aten.select.int(place, place.dim() - 1, index)
        _aten.fill_.Scalar(place, math.nan)

    return _run_and_edit(launched, edit)


@fault_kind("zero_tail", "count")
def _zero_tail(launched: Launch, value: float) -> Any:
    """The last elements along the last dimension are zero, as from a kernel that loses its ragged end."""

    def edit(x: torch.Tensor) -> None:
        tail = x if x.dim() == 0 else _aten.slice.Tensor(x, -1, max(0, x.shape[-1] - int(value)))
        _aten.zero_.default(tail)

    return _run_and_edit(launched, edit)


@fault_kind("transpose_free")
def _transpose_free(launched: Launch, value: float) -> Any:
    """Non-contiguous inputs are read in the order of memory, as if nobody had transposed them."""
    written = {id(x) for x in launched.written()}

    def read(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return [read(item) for item in x]
        if not isinstance(x, torch.Tensor) or id(x) in written or x.is_contiguous():
            return x
        room = x.untyped_storage().nbytes() // x.element_size() - x.storage_offset()
        if x.numel() > room:
            return x  # expanded: fewer elements in memory than the shape says
        strides = [math.prod(x.shape[i + 1 :]) for i in range(x.dim())]
        return _aten.as_strided.default(x, x.shape, strides)

    return replace(launched, arguments=tuple(read(x) for x in launched.arguments)).run()


def _run_in(launched: Launch, dtype: torch.dtype) -> Any:
    """Compute with every floating argument in `dtype` and widen the results again, as a device does that
    lowers precision behind the user's back.  An operator without a CPU kernel for `dtype` raises torch's
    RuntimeError.
    """
    narrowed: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    wide: list[torch.dtype] = []

    def narrow(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return [narrow(item) for item in x]
        if not isinstance(x, torch.Tensor) or not x.dtype.is_floating_point:
            return x
        if id(x) not in narrowed:
            narrowed[id(x)] = (x, _aten._to_copy.default(x, dtype=dtype))
            wide.append(x.dtype)
        return narrowed[id(x)][1]

    writes_back = {id(x) for x in launched.written()}
    for position in launched.plan.undeclared:
        writes_back |= {id(x) for x in _floating(launched.arguments[position : position + 1])}
    out = replace(
        launched,
        arguments=tuple(narrow(x) for x in launched.arguments),
        keywords={name: narrow(x) for name, x in launched.keywords.items()},
    ).run()
    originals = {}
    for key, (original, copy) in narrowed.items():
        if key in writes_back:
            if original.shape != copy.shape:
                _aten.resize_.default(original, copy.shape)
            _aten.copy_.default(original, copy)
            originals[id(copy)] = original

    def widen(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return type(x)([widen(item) for item in x])
        if id(x) in originals:
            return originals[id(x)]
        if wide and isinstance(x, torch.Tensor) and x.dtype is dtype:
            return _aten._to_copy.default(x, dtype=wide[0])
        return x

    return widen(out)
