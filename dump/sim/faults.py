"""Planting faults in the simulated device: an operator that computes something else than it should.

A fault names an operator, a kind and, where the kind takes one, a value:

    aten::gelu=bf16             every gelu is computed in bfloat16 and its result widened again
    aten::gelu=bf16@3           only the fourth call of it
    aten::gelu_backward=scale:1.01
    aten::addmm=nan:0           the first element of the result is NaN

The operator is named without its overload; `aten::` may be left out.  Backward and in-place operators have
names of their own (`aten::gelu_backward`, `aten::add_`).  A new kind is one function under `@fault_kind`.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch

from dump.format.errors import ConfigError
from dump.sim.operators import Plan, why_unreachable

_aten: Any = torch.ops.aten
_SPEC = re.compile(r"(?P<op>[^=]+)=(?P<kind>[^:@=]+)(?::(?P<value>[^@]*))?(?:@(?P<call>.*))?")

Takes: TypeAlias = Literal["nothing", "number", "index", "count"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault.  `call` is the 0-based call of the operator, counted from the injection, that is
    hit; None hits every call.

    Raises ConfigError where the kind is unknown, or its value is missing, superfluous or not of its sort.
    """

    op: str
    kind: str
    value: float | None = None
    call: int | None = None

    def __post_init__(self) -> None:
        kind = _kind(self.kind)
        if "::" not in self.op:
            object.__setattr__(self, "op", f"aten::{self.op}")
        if self.value is not None:
            object.__setattr__(self, "value", float(self.value))
        kind.check(self.value)
        if self.call is not None and self.call < 0:
            raise ConfigError(f"A fault's call is counted from 0, found {self.call}.")

    @classmethod
    def parse(cls, spec: str) -> Fault:
        """Read `operator=kind[:value][@call]`.  Raises ConfigError that says what is wrong with it."""
        match = _SPEC.fullmatch(spec.strip())
        if match is None:
            raise ConfigError(
                f"A fault is written operator=kind[:value][@call], such as aten::gelu=bf16@3; found {spec!r}."
            )
        kind = match["kind"].strip()
        _kind(kind)  # before the value, whose mistakes are the smaller ones
        value = None if match["value"] is None else _number(match["value"], f"the value of {spec!r}")
        call = None if match["call"] is None else _number(match["call"], f"the call of {spec!r}")
        if call is not None and not call.is_integer():
            raise ConfigError(f"A fault's call is a whole number, found {match['call']!r} in {spec!r}.")
        return cls(match["op"].strip(), kind, value=value, call=None if call is None else int(call))

    def __str__(self) -> str:
        value = "" if self.value is None else f":{int(self.value) if self.value.is_integer() else self.value}"
        call = "" if self.call is None else f"@{self.call}"
        return f"{self.op}={self.kind}{value}{call}"


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"Expected a number as {what}, found {text!r}.") from None


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
    """Register a kind under a name that specs can use.  Raises ValueError where the name is taken."""

    def enter(apply: Callable[[Launch, float], Any]) -> Callable[[Launch, float], Any]:
        if name in _KINDS:
            raise ValueError(f"the fault kind {name!r} is registered twice")
        _KINDS[name] = FaultKind(name, takes, apply)
        return apply

    return enter


def kinds() -> tuple[FaultKind, ...]:
    """All registered kinds, in the order of registration."""
    return tuple(_KINDS.values())


def _kind(name: str) -> FaultKind:
    kind = _KINDS.get(name)
    if kind is None:
        nearest = difflib.get_close_matches(name, _KINDS, n=1, cutoff=0.0)[0]
        raise ConfigError(f"Unknown fault kind {name!r}; did you mean {nearest!r}?  Known: {', '.join(_KINDS)}.")
    return kind


# ---- what is injected now --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault in force, with its count of calls so far."""

    fault: Fault
    calls: Iterator[int]

    def is_due(self) -> bool:
        call = next(self.calls)
        return self.fault.call is None or call == self.fault.call


ACTIVE: dict[str, tuple[Injected, ...]] = {}
"""Faults in force by operator; the kernels look here on every call."""


def inject(fault: Fault | str) -> Fault:
    """Put a fault in force, after those on the same operator; a string is parsed first.

    Raises ConfigError for a bad spec, and for an operator that never reaches the device under that name.
    """
    found = Fault.parse(fault) if isinstance(fault, str) else fault
    reason = why_unreachable(found.op)
    if reason is not None:
        raise ConfigError(f"The fault {found} would never fire: {reason}.")
    ACTIVE[found.op] = (*ACTIVE.get(found.op, ()), Injected(found, itertools.count()))
    return found


def injected() -> tuple[Fault, ...]:
    """The faults in force."""
    return tuple(entry.fault for entries in ACTIVE.values() for entry in entries)


def snapshot() -> dict[str, tuple[Injected, ...]]:
    """What is in force, for `restore`."""
    return dict(ACTIVE)


def restore(before: dict[str, tuple[Injected, ...]]) -> None:
    """Put exactly those faults in force that `snapshot` found, with their counts of calls."""
    ACTIVE.clear()
    ACTIVE.update(before)


@contextlib.contextmanager
def suspended() -> Iterator[None]:
    """No fault fires and no call is counted inside: for what measures the run, and is no part of it."""
    before = snapshot()
    ACTIVE.clear()
    try:
        yield
    finally:
        restore(before)


def withdraw(fault: Fault) -> None:
    """Take one fault out of force, wherever it stands; nothing happens where it is not."""
    rest = tuple(entry for entry in ACTIVE.get(fault.op, ()) if entry.fault != fault)
    if rest:
        ACTIVE[fault.op] = rest
    else:
        ACTIVE.pop(fault.op, None)


def clear() -> None:
    """Take all faults out of force."""
    ACTIVE.clear()


def launch(plan: Plan, kernel: Callable[..., Any], arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Run a CPU kernel under the faults in force for its operator, the first injected innermost."""
    for entry in ACTIVE.get(plan.name, ()):
        if entry.is_due():
            kernel = _faulty(plan, kernel, entry.fault)
    return kernel(*arguments, **keywords)


def _faulty(plan: Plan, kernel: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    apply, value = _KINDS[fault.kind].apply, 0.0 if fault.value is None else fault.value

    def run(*args: Any, **kwargs: Any) -> Any:
        return apply(Launch(plan, kernel, args, kwargs), value)

    return run


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
