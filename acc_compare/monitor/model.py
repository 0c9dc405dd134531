"""What a comparison of two monitored runs finds: the values that its stages and reports hand over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from acc_compare.monitor.rows import Numbers

OriginKind = Literal["nan_inf", "optimizer", "gradient", "activation", "communication", "input", "dtype", "drift"]
MonitorVerdict = Literal["same", "different", "incomplete"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the runs part: one series at the first step at which that cannot be noise.

    `table` is the kind of file it was seen in.  `apart` is the relative distance there (None for NaN and Inf),
    `expected` what a healthy pair stays below, `excess` their ratio.  `alike` names series that part at the same
    moment, worst first, `alike_count` says how many they are, of `series` compared.  `spread` says where the runs
    part afterwards.
    """

    kind: OriginKind
    name: str
    table: str
    step: int
    rank: int
    apart: float | None
    expected: float | None
    message: str
    alike: tuple[str, ...] = ()
    alike_count: int = 0
    series: int = 0
    spread: str = ""
    advice: tuple[str, ...] = ()

    @property
    def excess(self) -> float | None:
        if self.apart is None or not self.expected:
            return None
        return self.apart / self.expected


@dataclass(frozen=True, slots=True)
class Furthest:
    """The telling parameter that is furthest apart at a step, by how much, and the median of all of them."""

    name: str
    apart: float
    median: float


@dataclass(frozen=True, slots=True)
class Curve:
    """One series of both runs over the steps, thinned for drawing.  `steps`, `npu`, `bench`, `apart`, `limit`: (n,);
    a number that a side does not have is NaN.  `statistic` names what `npu` and `bench` are."""

    name: str
    table: str
    rank: int
    statistic: str
    steps: Numbers
    npu: Numbers
    bench: Numbers
    apart: Numbers
    limit: Numbers


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The worst series of a table by steps.  `apart` (rows, bins): the largest distance in a bin of steps, inf where
    one side alone holds NaN or Inf, NaN where nothing was compared; `edges` (bins + 1,): the bins' first steps."""

    table: str
    rank: int
    names: tuple[str, ...]
    edges: Numbers
    apart: Numbers
    hidden: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was compared, and what only one side has."""

    ranks: tuple[int, ...]
    tables: tuple[str, ...]
    series: int
    steps: int
    first_step: int
    last_step: int
    cells: int
    only_npu: tuple[str, ...] = ()
    only_bench: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MonitorFinding:
    """The outcome: `origins` the likeliest first, none where the verdict is "same", or "incomplete":
    most series of a side have no counterpart.

    `parted` is the first step from which noise alone has made the runs incomparable step by step, None where it did
    not; after it only the course of the curves was judged.
    """

    verdict: MonitorVerdict
    summary: str
    npu_path: Path
    bench_path: Path
    coverage: Coverage
    origins: tuple[Origin, ...] = ()
    notes: tuple[str, ...] = ()
    parted: int | None = None
    loudest: float = 0.0
    curves: tuple[Curve, ...] = ()
    heat_maps: tuple[HeatMap, ...] = ()
