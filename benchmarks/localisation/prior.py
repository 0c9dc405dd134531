"""What rounding does, operator by operator: the table that the judging begins with.

    python benchmarks/localisation/draws.py --seeds 100-189 --task tensor --healthy-only --out FOLDER
    python benchmarks/localisation/prior.py FOLDER --seeds 100-189

Every output of every pair is laid against its prediction, once with the error of the whole tensors and once with that
of the sketches which the same dumps hold.  For an operator (forward and backward, vectors apart) and for its class this
gives the location of log(e / predicted), its spread within a run by both ways of measuring, the spread of an operator's
median between runs, and how far the channels of systematic error reach.  Spreads are those of the upper side, by the
quantile that asks for most, since only what is too large is ever accused.

Writes acc_compare/judge/noise_prior.json, which names the runs that it comes from.  They are healthy by construction
and of seeds that no published score uses.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist, fmean, median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acc_compare.measured.calls import MeasuredCall

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

TABLE = ROOT / "acc_compare" / "judge" / "noise_prior.json"
CHANNELS = ("norm", "mean", "max", "min")

# What a key is worth against its class, and a class against nothing known: so many runs.
_TRUST = 4
_UNKNOWN_SPREAD, _UNKNOWN_BETWEEN, _UNKNOWN_SHIFT = 0.5, 0.4, 2.0
_LEAST_SPREAD, _LEAST_BETWEEN, _LEAST_SHIFT = 0.08, 0.1, 0.8
_FAR_BELOW = -3.0
"""Outputs that both sides rounded alike say nothing of how far rounding reaches."""

_REROUTED = 10.0
_MANY_FLIPS = 20.0

Key = tuple[str, bool, bool]


@dataclass
class Sample:
    """What one pair of recordings shows of one key."""

    exact: list[float] = field(default_factory=list)
    sketch: list[float] = field(default_factory=list)
    shifts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def observe(npu: Path, bench: Path) -> dict[Key, Sample]:
    """The residuals and the shifts of one pair, by key."""
    from acc_compare.judge.lowered import LOWERED, lowered_products
    from acc_compare.judge.noise import Noise

    found: dict[Key, Sample] = defaultdict(Sample)
    lowered = 0.0
    for sides in _steps(npu, bench):
        # A pair whose products run in a narrower type on one side is judged with that taken as normal.
        first = _measured_calls(sides, "exact")
        if any(call.reads_other_integers() for call in first):
            continue  # a route or an index changed: what other rows come to says nothing of rounding
        lowered = lowered or LOWERED.get(lowered_products(first, Noise(first, {})), 0.0)
        for way in ("exact", "sketch"):
            calls = _measured_calls(sides, way)
            noise = Noise(calls, {}, lowered=lowered)
            for (call, argument), output in noise.observed().items():
                if 0.0 < output.flips < _MANY_FLIPS:
                    continue  # their number scatters as no rounding does, and is judged by itself (`judge.flips`)
                if output.error > 0 and output.residual > _FAR_BELOW:
                    getattr(found[tuple(output.key)], way).append(output.residual)
                if way == "exact":
                    for channel, ratio in noise.channel_ratios(call, argument).items():
                        found[tuple(output.key)].shifts[channel].append(ratio)
    return dict(found)


def _steps(npu: Path, bench: Path) -> Iterator[tuple[Path, Path]]:
    """The folders of each step on both sides."""
    from dump.format.layout import find_dumps

    for ours, theirs in zip(find_dumps(npu), find_dumps(bench), strict=True):
        yield ours.path, theirs.path


def _measured_calls(sides: tuple[Path, Path], way: str) -> list[MeasuredCall]:
    from acc_compare.align.calls import align
    from acc_compare.judge.walk import judged_calls
    from acc_compare.measured.pairs import measure_pairs
    from dump.format.reader import read_dump

    parts = measure_pairs(align(*map(read_dump, sides)), "tensor" if way == "exact" else "statistics")
    return judged_calls([part.call for part in parts if part.call is not None], by_module=False)


def upper_spread(residuals: Sequence[float]) -> float:
    """The standard deviation of a normal distribution that reaches as high above the median as the sample does, at the
    worst of its upper quantiles."""
    ordered = sorted(residuals)
    middle, count = median(ordered), len(ordered)
    return (
        max(
            (max(0.0, ordered[-1 - above] - middle) / NormalDist().inv_cdf(1 - (above + 0.7) / (count + 0.4)))
            for above in {0, count // 100, count // 10}
            if above + 0.7 < 0.45 * (count + 0.4)
        )
        if count >= 4
        else max(abs(value - middle) for value in ordered)
    )


def upper_reach(ratios: Sequence[float]) -> float:
    """The same for absolute values: against the quantiles of a half-normal distribution."""
    ordered = sorted(abs(ratio) for ratio in ratios)
    count = len(ordered)
    return max(
        ordered[-1 - above] / NormalDist().inv_cdf(1 - (above + 0.7) / (2 * (count + 0.4)))
        for above in {0, count // 100, count // 10}
    )


def _shrunk(value: float, runs: int, towards: float) -> float:
    weight = runs / (runs + _TRUST)
    return math.sqrt(weight * value**2 + (1 - weight) * towards**2)


def row_of(runs: Sequence[Sample], parent: Mapping[str, float]) -> dict[str, float]:
    """One row of the table from the runs that have the key; `parent` is what stands for it where they are few."""
    row: dict[str, float] = {}
    trusted = len(runs)
    for way in ("exact", "sketch"):
        samples = [getattr(run, way) for run in runs if getattr(run, way)]
        medians = [median(sample) for sample in samples]
        if not medians:
            continue
        location = median(medians)
        several = [(sample, middle) for sample, middle in zip(samples, medians, strict=True) if len(sample) >= 3]
        within = [value - middle for sample, middle in several for value in sample]
        total = upper_spread([value - location for sample in samples for value in sample])
        spread = upper_spread(within) if within else min(total, parent.get(way, _UNKNOWN_SPREAD))
        spread = max(_LEAST_SPREAD, spread)
        row[way] = _shrunk(spread, trusted, parent.get(way, _UNKNOWN_SPREAD))
        if way == "exact":
            weight = trusted / (trusted + _TRUST)
            row["location"] = weight * location + (1 - weight) * parent.get("location", 0.0)
            # A median of n values scatters by itself by 1.57 / n of their variance.
            above = [
                (middle - location) ** 2 - min(1.0, math.pi / 2 / len(sample)) * spread**2
                for sample, middle in zip(samples, medians, strict=True)
                if middle > location
            ]
            between = math.sqrt(max(0.0, fmean(above))) if above else 0.0
            row["between"] = _shrunk(max(_LEAST_BETWEEN, between), trusted, parent.get("between", _UNKNOWN_BETWEEN))
    for channel in CHANNELS:
        ratios = [value for run in runs for value in run.shifts.get(channel, ())]
        found = max(_LEAST_SHIFT, upper_reach(ratios)) if ratios else _UNKNOWN_SHIFT
        row[channel] = _shrunk(found, trusted if ratios else 0, parent.get(channel, _UNKNOWN_SHIFT))
    return row


def table_of(samples: Iterable[Mapping[Key, Sample]]) -> list[list[object]]:
    """All rows: those of classes first, each the median of its operators, then those of operators."""
    by_operator: dict[Key, list[Sample]] = defaultdict(list)
    for sample in samples:
        for key, found in sample.items():
            by_operator[key].append(found)
    members: dict[Key, list[dict[str, float]]] = defaultdict(list)
    for key, runs in by_operator.items():
        members[_class_of(key)].append(row_of(runs, {}))
    classes = {key: _middle(rows) for key, rows in members.items()}
    counts = {key: sum(len(runs) for known, runs in by_operator.items() if _class_of(known) == key) for key in members}
    rows = [_line(key, row, counts[key]) for key, row in sorted(classes.items())]
    for key, runs in sorted(by_operator.items()):
        rows.append(_line(key, row_of(runs, classes[_class_of(key)]), len(runs)))
    return [row for row in rows if row]


def _class_of(key: Key) -> Key:
    from acc_compare.operators import operator_class

    return (operator_class(key[0]), *key[1:])


def _middle(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each column; for spreads the upper one, since a class stands for operators that nobody measured."""
    columns = {name for row in rows for name in row}
    ordered = {name: sorted(row[name] for row in rows if name in row) for name in columns}
    return {name: values[len(values) // 2] for name, values in ordered.items()}


def _line(key: Key, row: Mapping[str, float], runs: int) -> list[object]:
    names = ("location", "exact", "sketch", "between", *CHANNELS)
    if "location" not in row:
        return []
    return [*key, *(round(row.get(name, row["exact"]), 3) for name in names), runs]


def pairs(folder: Path, seeds: Iterable[int]) -> Iterator[tuple[Path, Path]]:
    """The dumps of the healthy pairs that `draws.py --task tensor --out FOLDER` has recorded."""
    from benchmarks.localisation.drawing import drawn
    from benchmarks.localisation.recording import DONE, DUMP
    from benchmarks.localisation.running import Work

    for seed in seeds:
        npu, bench = (part.folder for part in Work(folder, drawn(seed).healthy, "tensor", "L1").recordings)
        if (npu / DONE).is_file() and (bench / DONE).is_file():
            yield npu / DUMP, bench / DUMP


def together(rows: Sequence[list[object]], known: Sequence[list[object]]) -> list[list[object]]:
    """`rows` with what an earlier table knows of other models: rows that it alone has, and how far channels reach, of
    which the larger holds, unless it is so large that a route must have changed.  Locations and spreads hold for the
    predictions of their time and are not mixed."""
    found = {tuple(row[:3]): row for row in known}
    for row in rows:
        other = found.get(tuple(row[:3]))
        if other is not None:
            reach = [
                max(mine, theirs if theirs < _REROUTED else 0.0)
                for mine, theirs in zip(row[7:11], other[7:11], strict=True)
            ]  # type: ignore[type-var, operator]
            row = [*row[:7], *reach, max(int(row[-1]), int(other[-1]))]  # type: ignore[call-overload]
        found[tuple(row[:3])] = row
    return [found[key] for key in sorted(found)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where draws.py has recorded")
    parser.add_argument("--seeds", default="100-189", help="development seeds that judging is not scored on")
    parser.add_argument("--anew", action="store_true", help="forget what the table at hand comes from")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args(arguments)
    from benchmarks.localisation.drawing import seeds_of

    seeds = seeds_of(options.seeds)
    found = list(pairs(options.folder.absolute(), seeds))
    known = {"runs": 0, "from": [], "rows": []} if options.anew else json.loads(TABLE.read_bytes())
    with ProcessPoolExecutor(options.workers) as pool:
        samples = list(pool.map(observe, *zip(*found, strict=True)))
    rows = together(table_of(samples), known["rows"])
    document = {
        "made_by": "benchmarks/localisation/prior.py",
        "runs": len(found) + known["runs"],
        "from": [*known["from"], f"draws.py, seeds {options.seeds}"],
        "columns": ["operator", "backward", "vector", "location", "exact", "sketch", "between", *CHANNELS, "runs"],
    }
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    text = json.dumps(document, indent=1)[:-2] + f',\n "rows": [\n  {lines}\n ]\n}}\n'
    options.out.write_text(text, encoding="utf-8")
    print(f"{options.out}: {len(rows)} rows, {len(found)} pairs")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
