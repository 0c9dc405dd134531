"""The matrix: every operator x spelling x dtype, healthy and at fault, recorded and judged for real."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from acc_compare.operators import is_uninitialised
from benchmarks.operators.cases import Case, cases
from benchmarks.operators.expected import reason_for
from benchmarks.operators.judging import Judgement, Tensor, judgement, mixed, operator_of
from benchmarks.operators.recording import Recorded, Side, record
from dump.format.names import parse

TIMES = 50.0
"""How many times the error beyond which a result is improbable a planted one is."""

_FOLDS = 20
"""One of so many calls is at fault at a time, as the other calls show what is normal."""

_TRIED = 4
"""One of so many calls has its turn for each dtype and error of the inputs, another in the next."""

_BLIND = 0.2
"""Where more than this would be let pass, fifty times as much is no error of that size any more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One dtype: relative errors of the inputs that are tried, and with which of them results are put at fault."""

    dtype: str
    offs: tuple[float, ...]
    faults: tuple[float, ...] = ()
    samples: int = 1
    backward: bool = False


_OFFS = (0.0, 1e-6, 1e-4, 1e-2)
WHOLE = (
    Plan("float32", _OFFS, (0.0, 1e-4), samples=2),
    Plan("bfloat16", _OFFS, (0.0, 1e-2)),
    Plan("float16", _OFFS, (0.0,)),
    Plan("int64", _OFFS, (0.0,)),
    Plan("bool", (0.0, 1e-2), (0.0,)),
    Plan("float32", (1e-6, 1e-4, 1e-2), backward=True),
    Plan("bfloat16", (1e-2,), backward=True),
)
SAMPLED = (Plan("float32", (0.0, 1e-4), (1e-4,)), Plan("bfloat16", (1e-2,)))


@dataclass(slots=True)
class Figures:
    """What came out for one dtype and error of the inputs.  `accused` and `missed` are lines for people, `known` those
    of them that are expected; `unknown` results could not be predicted from what was recorded, `blind` ones not so
    that fifty times the limit is still an error of that size."""

    dtype: str
    direction: str
    off: float
    cases: int
    operators: int
    tensors: int
    accused: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    faults: int = 0
    seen: int = 0
    blind: int = 0
    unknown: int = 0
    missed: list[str] = field(default_factory=list)


def run(entries: Sequence[Any], plans: Sequence[Plan], folder: Path) -> Iterator[Figures]:
    """Record and judge what `plans` ask for."""
    turn = 0
    for number, plan in enumerate(plans):
        found = list(cases(entries, plan.dtype, samples=plan.samples, backward=plan.backward))
        here = folder / f"{number}-{plan.dtype}"
        bench = record(found, here / "bench", Side())
        if not bench.calls:
            continue  # none of the operators takes this type
        for off in plan.offs:
            # Backward has no kernels of another type to put in the place of torch's.
            side = Side(off=off, is_wide=not plan.backward)
            npu = record(found, here / f"off-{off}", side)
            judged = judgement(npu.folder, bench.folder)
            figures = _healthy(plan, off, found, npu, judged)
            if off in plan.faults:
                turn += 1
                _at_fault(figures, found, npu, bench, judged, here / f"fault-{off}", off, turn)
            yield figures


def _healthy(plan: Plan, off: float, found: Sequence[Case], npu: Recorded, judged: Judgement) -> Figures:
    direction = "backward" if plan.backward else "forward"
    figures = Figures(
        dtype=plan.dtype,
        direction=direction,
        off=off,
        cases=len(found) - len(npu.failed),
        operators=len({operator_of((call, "")) for call in npu.calls}),
        tensors=len(judged.limits),
    )
    for tensor, excess in judged.accused.items():
        operator = operator_of(tensor)
        reason = reason_for(operator, backward=tensor[0].endswith("backward"))
        line = f"{'.'.join(tensor)} excess {excess:.2g} ({_case(tensor[0], found, npu)})"
        if reason is None:
            figures.accused.append(line)
        else:
            figures.known.append(f"{line}: {reason}")
    return figures


def _case(call: str, found: Sequence[Case], npu: Recorded) -> str:
    number = npu.calls.get(call.replace(".backward", ".forward"))
    return str(found[number]) if number is not None else "?"


def _at_fault(
    figures: Figures,
    found: Sequence[Case],
    npu: Recorded,
    bench: Recorded,
    judged: Judgement,
    folder: Path,
    off: float,
    turn: int,
) -> None:
    """Put a call of each case at fault, in its first result that can be judged, and see whether it is accused."""
    results: dict[str, list[Tensor]] = {}
    for tensor in judged.limits:
        if tensor[1].removeprefix("output.").isdecimal() and not is_uninitialised(parse(tensor[0]).api):
            results.setdefault(tensor[0], []).append(tensor)
    sizes: dict[Tensor, float] = {}
    done: set[int] = set()
    for call, number in npu.calls.items():
        tensors = results.get(call, [])
        known = [tensor for tensor in tensors if math.isfinite(judged.limits[tensor])]
        sharp = [tensor for tensor in known if judged.limits[tensor] < _BLIND and judged.sizes[tensor] > 0.0]
        if number in done or not tensors or (number + turn) % _TRIED:
            continue
        if sharp:
            done.add(number)
            sizes[sharp[0]] = min(1.0, TIMES * judged.limits[sharp[0]]) or 1e-3
        elif known:
            figures.blind += 1
        else:
            figures.unknown += 1
    spoiled = record(found, folder, Side(off=off, is_wide=True, faults=sizes))
    figures.faults = len(sizes)
    folds = -(-_FOLDS // _TRIED)
    for fold in range(folds):
        chosen = [tensor for number, tensor in enumerate(sizes) if number % folds == fold]
        cases_at_fault = {npu.calls[call] for call, _ in chosen}
        calls = frozenset(call for call, number in npu.calls.items() if number in cases_at_fault)
        accused = {call for call, _ in mixed(npu.folder, spoiled.folder, bench.folder, calls).accused}
        for tensor in chosen:
            if tensor[0] in accused:
                figures.seen += 1
                continue
            figures.missed.append(
                f"{'.'.join(tensor)} off {sizes[tensor]:.2g}, limit {judged.limits[tensor]:.2g}"
                f" ({_case(tensor[0], found, npu)})"
            )


def as_json(figures: Sequence[Figures]) -> str:
    """The figures as a JSON list."""
    return json.dumps([asdict(each) for each in figures], indent=1)


def table(figures: Sequence[Figures]) -> str:
    """The figures as a table for a terminal."""
    head = ("dtype", "direction", "inputs off", "cases", "operators", "tensors", "accused", "known", "faults", "seen")
    rows = [
        (
            f.dtype,
            f.direction,
            f"{f.off:g}",
            f.cases,
            f.operators,
            f.tensors,
            len(f.accused),
            len(f.known),
            f.faults,
            f.seen,
        )
        for f in figures
    ]
    lines = [head, *[tuple(map(str, row)) for row in rows]]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def totals(figures: Sequence[Figures]) -> Mapping[str, int]:
    """Sums over all figures."""
    return {
        "judged calls": sum(f.cases for f in figures),
        "tensors": sum(f.tensors for f in figures),
        "accused": sum(len(f.accused) for f in figures),
        "accused, known": sum(len(f.known) for f in figures),
        "faults": sum(f.faults for f in figures),
        "faults seen": sum(f.seen for f in figures),
        "not to be predicted": sum(f.unknown for f in figures),
        "too weak a limit": sum(f.blind for f in figures),
    }
