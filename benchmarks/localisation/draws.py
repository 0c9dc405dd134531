"""Does the advisor name what is wrong in noise?  Models, precisions, kernels and faults drawn from seeds.

    python benchmarks/localisation/draws.py --seeds 0-99                  development: any seed below 1,000
    python benchmarks/localisation/draws.py --seeds 734101-734300 --write publish: seeds drawn on the day
    python benchmarks/localisation/draws.py --libraries --seeds 0-31      models of transformers and diffusers
    python benchmarks/localisation/draws.py --peer PYTHON --peer-every 5  with msprobe beside, on every fifth

Each seed is a model with other kernels on one side: once in good health, where nobody is to be accused, and once with a
fault.  A fault is as large as what it changes is off (relative L2); noise is what the healthy pair shows at the same
call, or what is typical of it where that is more.  Recordings are kept below --out and made again where the code that
makes them has changed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.localisation import peers, running  # noqa: E402
from benchmarks.localisation.drawing import REGIMES, drawn, seeds_of  # noqa: E402
from benchmarks.localisation.recording import COUNTS, DUMP  # noqa: E402
from benchmarks.localisation.rows import LEVELS, Level, Task  # noqa: E402
from benchmarks.localisation.running import Work  # noqa: E402
from benchmarks.localisation.scoring import Outcome  # noqa: E402
from benchmarks.localisation.tables import share  # noqa: E402

BINS = (0.0, 1.0, 3.0, 10.0, 30.0, math.inf)
"""Edges of fault size over noise."""

_RESOLVED = 2e-7
"""Nothing finer is known of tensors from their sketches."""


@dataclass(frozen=True, slots=True)
class Sized:
    """A fault's outcome, with its size over the noise of the call that it hit; None where that is not known, 0 where
    nothing that a call writes was changed."""

    outcome: Outcome
    regime: str
    ratio: float | None


def noise_by_call(npu: Path, bench: Path, *, least: bool = True) -> dict[str, float]:
    """The largest relative error of what each call wrote, by `call (step n)`; at `least` what is expected: one number,
    as a loss is, may agree by chance."""
    from acc_compare import compare

    found: dict[str, float] = {}
    for finding in compare(npu, bench).findings:
        for row in finding.rows:
            error = next((value for name, value in row.metrics.items() if name.endswith("RelL2")), None)
            call, output, _ = row.npu_name.partition(".output")
            if output and isinstance(error, float) and not math.isnan(error):
                expected = row.expected or 0.0 if least else 0.0
                key = f"{call} (step {finding.step})"
                found[key] = max(found.get(key, 0.0), error, expected)
    return found


def sized(work: Work, fault: Work, outcome: Outcome) -> Sized:
    """`outcome` of the `fault` of `work`'s seed, `work` being its healthy pair.  What the fault changes is the distance
    of the wrong side from itself in good health, at the first call that it changes."""
    if outcome.unsound or outcome.effect is None:
        return Sized(outcome, work.case.group, None)
    healthy, bench, wrong = (part.folder / DUMP for part in (*work.recordings, fault.recordings[0]))
    noise = noise_by_call(healthy, bench)
    changes = noise_by_call(wrong, healthy, least=False)
    for call in outcome.expected:
        if changes.get(call) and call in noise:
            return Sized(outcome, work.case.group, changes[call] / max(noise[call], _RESOLVED))
    return Sized(outcome, work.case.group, 0.0)


def by_size(faults: Sequence[Sized]) -> list[str]:
    """A table of the scores by size over noise."""
    sound = [each for each in faults if not each.outcome.unsound]
    lines = ["| fault over noise | cases | first | in three | none named |", "|---|---|---|---|---|"]
    for low, high in itertools.pairwise(BINS):
        lines.append(_row(f"{low:g} to {high:g}", [f for f in sound if f.ratio is not None and low <= f.ratio < high]))
    return [*lines, _row("not known", [f for f in sound if f.ratio is None])]


def by_regime(faults: Sequence[Sized]) -> list[str]:
    """The same of faults that are large, by regime."""
    large = [each for each in faults if not each.outcome.unsound and (each.ratio or 0.0) >= 10]
    lines = ["| regime, faults of 10 times the noise and above | cases | first | in three | none named |"]
    lines.append("|---|---|---|---|---|")
    return [*lines, *(_row(regime, [f for f in large if f.regime == regime]) for regime in REGIMES)]


def in_health(healthy: Sequence[tuple[str, Outcome]]) -> list[str]:
    """Who was accused in good health, by regime."""
    lines = ["| regime | healthy pairs | accused |", "|---|---|---|"]
    for regime in (*REGIMES, "all"):
        of = [one for one in healthy if regime in (one[0], "all") and not one[1].unsound]
        lines.append(f"| {regime} | {len(of)} | {sum(_accuses(*one) for one in of)} |")
    return lines


def _is_first(found: Sized) -> bool:
    """Is the first suspect right, a setting that does differ set aside?"""
    one = found.outcome
    aside = 1 if found.regime == "hf32" and one.suspects and one.suspects[0].kind == "dtype" else 0
    return not one.unsound and one.place in (1, 1 + aside)


def _row(label: str, found: Sequence[Sized]) -> str:
    first, three = sum(map(_is_first, found)), sum(f.outcome.is_in_three for f in found)
    silent = sum(not f.outcome.suspects for f in found)
    return f"| {label} | {len(found)} | {share(first, len(found))} | {share(three, len(found))} | {silent} |"


def _accuses(regime: str, outcome: Outcome) -> bool:
    """Products of ten bits on one side alone are a finding, if a `dtype` it is."""
    return any(suspect.kind != "dtype" or regime != "hf32" for suspect in outcome.suspects)


def failures(faults: Sequence[Sized], healthy: Sequence[tuple[str, Outcome]]) -> str:
    lines = [
        f"{regime:13} {outcome.case:14} accuses {'; '.join(map(str, outcome.suspects[:3]))}"
        for regime, outcome in healthy
        if _accuses(regime, outcome)
    ]
    for each in faults:
        one = each.outcome
        if one.unsound:
            lines.append(f"{each.regime:13} {one.case:14} is no test: {one.unsound[-200:]}")
        elif not _is_first(each):
            size = "?" if each.ratio is None else f"{each.ratio:.3g}"
            named = "; ".join(map(str, one.suspects[:3])) or "nobody"
            lines.append(f"{each.regime:13} {one.case:14} {size:>8} times noise, {one.expected[:3]}: {named}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-19", help="3,10-12, or new:N for N seeds drawn now")
    parser.add_argument("--task", default="statistics", choices=("statistics", "tensor"))
    parser.add_argument("--level", default="L1", choices=LEVELS)
    parser.add_argument("--out", type=Path, default=ROOT / ".localisation" / "drawn")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep-dumps", action="store_true", help="take dumps that are there, whatever code made them")
    parser.add_argument("--healthy-only", action="store_true")
    parser.add_argument("--libraries", action="store_true", help="other people's models, which must be installed")
    parser.add_argument("--peer", type=Path, metavar="PYTHON", help="an interpreter with mindstudio-probe 26.2.0")
    parser.add_argument("--peer-advisor", type=Path, metavar="PYTHON", help="one with mindstudio-probe 8.3.3")
    parser.add_argument("--peer-every", type=int, default=1, metavar="N", help="only every Nth seed, for msprobe")
    parser.add_argument("--write", action="store_true", help="write DRAWN.md here, or HEALTHY.md, LIBRARIES.md")
    options = parser.parse_args(arguments)
    seeds = seeds_of(options.seeds)
    task, level = options.task, options.level
    out = options.out.absolute() / ("libraries" if options.libraries else "")
    cases = [drawn(seed, from_libraries=options.libraries) for seed in seeds]
    healthy = [Work(out, case.healthy, task, level) for case in cases]
    problems = running.record_all(healthy, workers=options.workers, keep=options.keep_dumps)
    running.compare_all(healthy, problems, workers=options.workers, again=False)
    fine = [(work.case.group, running.outcome(work, problems)) for work in healthy]
    pairs = [] if options.healthy_only else _faulty(healthy, task, level, options)
    faults = _sized(pairs, options)
    print(failures(faults, fine))
    tables = [in_health(fine)] if options.healthy_only else [by_size(faults), by_regime(faults), in_health(fine)]
    for tool, (sizes, in_peace) in run_peers(healthy[:: options.peer_every], pairs, faults, options).items():
        tables += [[f"{tool}, of {len(in_peace)} of these seeds:"], by_size(sizes), in_health(in_peace)]
    scores = "\n\n".join("\n".join(lines) for lines in tables)
    print(scores)
    if options.write:
        kind = "LIBRARIES" if options.libraries else "HEALTHY" if options.healthy_only else "DRAWN"
        page = HERE / f"{kind}{'' if task == 'statistics' else f'-{task}'}.md"
        unsound = sum(bool(one.unsound) for one in (*(one for _, one in fine), *(each.outcome for each in faults)))
        page.write_text(_page(seeds, options, scores, unsound), encoding="utf-8")
    return 0


Pair: TypeAlias = tuple[Work, Work]
"""A healthy pair of recordings, and the same with a fault."""


def run_peers(
    healthy: Sequence[Work], pairs: Sequence[Pair], faults: Sequence[Sized], options: argparse.Namespace
) -> dict[str, tuple[list[Sized], list[tuple[str, Outcome]]]]:
    """What msprobe names of the same: recorded and compared by itself; a fault's size is what ours was."""
    chosen = {work.case.name for work in healthy}
    size = {pair[1].case.name: found for pair, found in zip(pairs, faults, strict=True)}
    todo = [*healthy, *(fault for work, fault in pairs if work.case.name in chosen)]
    group = {work.case.name: work.case.group for work in todo}
    found = {}
    for how, python in (("advisor", options.peer_advisor), ("first difference", options.peer)):
        if python is None:
            continue
        peer = peers.Peer(f"msprobe-{how.replace(' ', '-')}", how, python)
        outcomes = peers.run_peer(peer, todo, workers=options.workers)
        theirs = [replace(size[one.case], outcome=one) for one in outcomes if one.case in size]
        fine = [(group[one.case], one) for one in outcomes if one.case not in size]
        found[f"msprobe {peers.peer_version(peer)}, {how}"] = theirs, fine
    return found


def _faulty(healthy: Sequence[Work], task: Task, level: Level, options: argparse.Namespace) -> list[Pair]:
    pairs: list[Pair] = []
    for work in healthy:
        counts = work.recordings[0].folder / COUNTS
        seed = int(work.case.name.rpartition("-")[2])
        ran = json.loads(counts.read_bytes()) if counts.is_file() else {}
        case = drawn(seed, from_libraries=options.libraries).faulty(ran)
        if case is not None:
            pairs.append((work, Work(work.out, case, task, level)))
    return pairs


def _sized(pairs: Sequence[Pair], options: argparse.Namespace) -> list[Sized]:
    todo = [fault for _, fault in pairs]
    problems = running.record_all(todo, workers=options.workers, keep=options.keep_dumps)
    running.compare_all(todo, problems, workers=options.workers, again=False)
    return [sized(work, fault, running.outcome(fault, problems)) for work, fault in pairs]


def _told(asked: str, seeds: Sequence[int]) -> str:
    return f"{seeds[0]}-{seeds[-1]}" if asked.startswith("new:") else asked


def _page(seeds: Sequence[int], options: argparse.Namespace, scores: str, unsound: int) -> str:
    chosen = f"{'--libraries ' if options.libraries else ''}--seeds {_told(options.seeds, seeds)} --task {options.task}"
    models = ""
    if options.libraries:
        found = ", ".join(f"{name} {version(name)}" for name in ("transformers", "diffusers", "torch"))
        models = f"""The models are those of `models/libraries.py`, by {found}: tiny sizes, random weights,
all else theirs.

"""
    title = "Good health in noise" if options.healthy_only else "Faults in noise"
    title += "" if options.task == "statistics" else f", task {options.task}"
    only = " --healthy-only" if options.healthy_only else ""
    sizes = (
        ""
        if options.healthy_only
        else """
A fault's size is how far it moves what the call writes (relative L2 between the wrong side and the same side in good
health, at the first call that it changes); noise is the error that the same result shows in the healthy pair of the
seed, or what is typical of it where that is more.
"""
    )
    return f"""# {title}, drawn from seeds{", in models of other people's" if options.libraries else ""}

{models}Made by `python benchmarks/localisation/draws.py {chosen} --level {options.level}{only}
--write` on {date.today().isoformat()}: seeds {seeds[0]} to {seeds[-1]}, {len(seeds)} of them. {unsound} recordings
were no test, as a script that ended early or a fault that never ran. Development uses seeds below 1,000.
{sizes}
{scores}
"""


if __name__ == "__main__":
    raise SystemExit(main())
