"""How near do healthy results come to what a replay explains?  By operator and type, over torch's own samples.

    python -m benchmarks.replay.peaks                every operator of torch's list, forward and backward
    python -m benchmarks.replay.peaks --only norm    those whose name has this in it

Each sample is recorded with its tensors and made again; forward also with results computed in the next wider type and
rounded by chance, as another device's last digits are.  Nothing is at fault, so a share above 1 is a wrong accusation.
`times moved` is how many times as far as the reference moved, when its inputs were moved by a rounding, the largest
single element was off beyond what fresh rounding explains: what `expected.MOVED_PEAK` has to be for it.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from acc_compare import operators
from acc_compare.replay import expected
from acc_compare.replay.results import Accuracy, ReplayedCall, ReplayedTensor
from acc_compare.replay.run import replay
from acc_compare.replay.wanted import Wanted
from benchmarks.operators.cases import cases, operator_list
from benchmarks.operators.recording import Side, record
from dump.format.names import parse

_PLANS = (
    ("float32", False, False),
    ("float32", False, True),
    ("float32", True, False),
    ("bfloat16", False, False),
    ("bfloat16", False, True),
    ("bfloat16", True, False),
    ("float16", False, False),
    ("float16", False, True),
    ("float16", True, False),
)
"""Dtype, whether backward is run, and whether forward's results are those of the wider type."""

_SHARES = (0.5, 0.9, 0.99, 0.999, 1.0)


@dataclass(frozen=True, slots=True)
class Nearness:
    """One result that was judged: its errors over their limits, in L2 (`share`) and of the largest single element
    (`peak_share`), and how many times what the reference moved either is beyond fresh rounding, where it was moved."""

    operator: str
    place: str
    dtype: str
    shape: tuple[int, ...]
    share: float
    peak_share: float
    moved: float | None = None
    peak_moved: float | None = None
    wrong: bool = False


def nearness(calls: Iterable[ReplayedCall]) -> Iterator[Nearness]:
    """All floating results of calls that were made again, recorded and made again alike, whose error has a limit."""
    for call in calls:
        for tensor in call.tensors:
            for accuracy in (tensor.recorded, tensor.replayed):
                if accuracy is not None and accuracy.ulp is not None and 0.0 < tensor.limit < math.inf:
                    yield _nearness(call, tensor, accuracy)


def _nearness(call: ReplayedCall, tensor: ReplayedTensor, accuracy: Accuracy) -> Nearness:
    largest = (accuracy.ulp or 0.0) * 2.0 * operators.roundoff([tensor.dtype])
    fresh = expected.limit(tensor.expected)
    moved = (tensor.limit - fresh) / expected.MOVED
    moved_peak = (tensor.peak - expected.PEAK * fresh) / expected.MOVED_PEAK
    return Nearness(
        operator=f"{parse(call.name).api} {parse(call.name).direction}",
        place=tensor.name,
        dtype=tensor.dtype.removeprefix("torch."),
        shape=tensor.shape,
        share=accuracy.relative / tensor.limit,
        peak_share=largest / tensor.peak,
        moved=(accuracy.relative - fresh) / moved if moved > 1e-12 * fresh else None,
        peak_moved=(largest - expected.PEAK * fresh) / moved_peak if moved_peak > 1e-12 * fresh else None,
        wrong=accuracy.wrong,
    )


def sampled(only: str, folder: Path) -> Iterator[tuple[str, list[Nearness]]]:
    """The results of each plan, with its name."""
    entries = [entry for entry in operator_list() if only in entry.name]
    for number, (dtype, wide, backward) in enumerate(_PLANS):
        name = f"{dtype}{' backward' if backward else ' wider' if wide else ''}"
        found = [case for case in cases(entries, dtype, samples=2, backward=backward) if case.spelling == "function"]
        made = record(found, folder / str(number), Side(is_wide=wide), task="tensor") if found else None
        yield name, [] if made is None else list(nearness(replay(made.folder, Wanted()).calls))


def quantiles(values: Sequence[float]) -> list[str]:
    """The values below which `_SHARES` of all lie."""
    ranked = sorted(values)
    return [f"{ranked[min(len(ranked) - 1, int(share * len(ranked)))]:.3g}" for share in _SHARES] if ranked else []


def table(found: Sequence[Nearness], rows: int) -> str:
    """Quantiles, and the operators that come nearest."""
    lines = [f"{len(found)} results; quantiles {', '.join(map(str, _SHARES))}"]
    for name, values in (
        ("share of the limit, L2", [each.share for each in found]),
        ("share of the limit, single element", [each.peak_share for each in found]),
        ("times moved, L2", [each.moved for each in found if each.moved is not None]),
        ("times moved, single element", [each.peak_moved for each in found if each.peak_moved is not None]),
    ):
        lines.append(f"  {name} ({len(values)}): {', '.join(quantiles(values))}")
    worst: dict[tuple[str, str], Nearness] = {}
    for each in found:
        key = each.operator, each.dtype
        if key not in worst or max(each.share, each.peak_share) > max(worst[key].share, worst[key].peak_share):
            worst[key] = each
    for each in sorted(worst.values(), key=lambda one: -max(one.share, one.peak_share))[:rows]:
        moved = "" if each.peak_moved is None else f", {each.peak_moved:.3g} times moved"
        mark = f" WRONG {each.place} {list(each.shape)}" if each.wrong else ""
        lines.append(f"  {each.operator} {each.dtype}: {each.share:.3g}, element {each.peak_share:.3g}{moved}{mark}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="operators whose name has this in it")
    parser.add_argument("--rows", type=int, default=12, help="so many operators are listed")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    every: list[Nearness] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, found in sampled(chosen.only, Path(folder)):
            every += found
            print(f"{name}: {table(found, chosen.rows)}", flush=True)
    print(f"all: {table(every, 3 * chosen.rows)}")


if __name__ == "__main__":
    main()
