"""Planting faults in the simulated device: an operator that computes something else than it should.

A fault names an operator, a kind and, where the kind takes one, a value:

    aten::gelu=bf16             every gelu is computed in bfloat16 and its result widened again
    aten::gelu=bf16@3           only the fourth call of it
    aten::gelu_backward=scale:1.01
    aten::addmm=nan:0           the first element of the result is NaN

The operator is named without its overload; `aten::` may be left out.  Backward and in-place operators have
names of their own (`aten::gelu_backward`, `aten::add_`).  A new kind is one function under `fault_kinds.fault_kind`.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dump.format.errors import ConfigError
from dump.sim.fault_kinds import Launch, kind_named
from dump.sim.operators import Plan, why_unreachable

_SPEC = re.compile(r"(?P<op>[^=]+)=(?P<kind>[^:@=]+)(?::(?P<value>[^@]*))?(?:@(?P<call>.*))?")


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
        kind = kind_named(self.kind)
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
        kind_named(kind)  # before the value, whose mistakes are the smaller ones
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


# ---- what is injected now --------------------------------------------------------------------------------


@dataclass(slots=True)
class Injected:
    """A fault in force, with its count of calls so far."""

    fault: Fault
    calls: Iterator[int]
    has_hit: bool = False

    def is_due(self) -> bool:
        call = next(self.calls)
        due = self.fault.call is None or call == self.fault.call
        self.has_hit |= due
        return due


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


def missed() -> tuple[Fault, ...]:
    """Those that no call of this process has met."""
    return tuple(entry.fault for entries in ACTIVE.values() for entry in entries if not entry.has_hit)


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
    apply, value = kind_named(fault.kind).apply, 0.0 if fault.value is None else fault.value

    def run(*args: Any, **kwargs: Any) -> Any:
        return apply(Launch(plan, kernel, args, kwargs), value)

    return run
