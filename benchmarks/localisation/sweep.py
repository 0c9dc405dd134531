"""How small may a fault be?  The same faults at sizes from 1e-1 to 1e-6, with the sketch and without it.

`noise` moves every element by a random share of itself and leaves the norm alone, as rounding does; `scale` moves all
of them by one share, which the norm shows.  Without the sketch means: from copies of the dumps that hold none.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.localisation import judging, pool, running
from benchmarks.localisation.events import read_events
from benchmarks.localisation.recording import DONE, DUMP, EVENTS, TIME_LIMIT
from benchmarks.localisation.rows import Case, Kernel, Side
from benchmarks.localisation.running import Work
from benchmarks.localisation.scoring import score

SIZES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
PLACES = (
    ("decoder", "aten::gelu", 2),
    ("decoder", "aten::addmm", 9),
    ("translator", "aten::native_layer_norm", 3),
    ("convnet", "aten::convolution", 2),
    ("unet", "aten::native_group_norm", 1),
    ("experts", "aten::tanh", 0),
    ("adversaries", "aten::elu_backward", 1),
    ("scaled", "aten::silu", 3),
)
_SKETCH = re.compile(r',\s*"sketch":\s*"[^"]*"')


@dataclass(frozen=True, slots=True)
class Point:
    """Of `cases` faults of one size, how many are named first, with the sketch and without."""

    change: str
    size: float
    cases: int
    with_sketch: int
    without: int


def cases(change: str, size: float) -> list[Case]:
    value = 1 + size if change == "scale" else size
    return [
        Case(
            f"sweep-{change}-{size:.0e}-{operator.removeprefix('aten::')}",
            model,
            "sweep",
            Side(kernels=(Kernel(operator, change, value, (call,)),)),
        )
        for model, operator, call in PLACES
    ]


def run_sweep(out: Path, *, workers: int, keep: bool, again: bool) -> list[Point]:
    """Record, compare and compare without sketches; the points, the largest faults first."""
    grid = [(change, size) for change in ("noise", "scale") for size in SIZES]
    works = {point: running.works(out, cases(*point), ("statistics",), ("L1",)) for point in grid}
    todo = [work for part in works.values() for work in part]
    problems = running.record_all(todo, workers=workers, keep=keep)
    running.compare_all(todo, problems, workers=workers, again=again)
    ready = [work for work in todo if not any(part.folder in problems for part in work.recordings)]
    missing = [work for work in ready if again or _done(work) != running.judged_by(work)]
    pool.run_each(missing, _compare_plain, _note, workers=workers, limit=TIME_LIMIT)
    return [
        Point(
            change,
            size,
            len(works[change, size]),
            _first(works[change, size], problems),
            sum(_is_first_plain(work) for work in works[change, size]),
        )
        for change, size in grid
    ]


def without_sketches(dump: Path, copy: Path) -> None:
    """A copy of a dump in which no tensor has a sketch."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(dump, copy)
    for path in copy.rglob("dump.json"):
        path.write_text(_SKETCH.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")


def _first(works: Sequence[Work], problems: dict[Path, str]) -> int:
    return sum(running.outcome(work, problems).is_first for work in works)


def _plain(work: Work) -> Path:
    return work.compared.with_name("no-sketch")


def _done(work: Work) -> str:
    path = _plain(work) / DONE
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _note(work: Work, code: int) -> None:
    if code in (0, 1):
        (_plain(work) / DONE).write_text(running.judged_by(work), encoding="utf-8")


def _compare_plain(work: Work) -> None:
    out = _plain(work)
    copies = []
    for name, part in zip(("npu", "bench"), work.recordings, strict=True):
        copies.append(out / name)
        without_sketches(part.folder / DUMP, copies[-1])
    judging.compare(*copies, out / "result")


def _is_first_plain(work: Work) -> bool:
    events = tuple(read_events(part.folder / EVENTS) for part in work.recordings)
    place, unsound = score(work.case, judging.read_verdict(_plain(work) / "result"), *events)
    return place == 1 and not unsound
