"""The comparison as a library: two dumps in, a verdict, suspects, a DataFrame and reports out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dump.format.reader import read_dump, without_collecting
from dump.format.schema import Dump

from .align.calls import align
from .align.mapping_file import read_rules
from .align.rules import Rules
from .judge.roles import Previous
from .judge.suspects import merge_alike
from .judge.verdict import Setting, judge
from .load import PlacedPair, mode_of, pair_locations
from .measure import measure_pairs
from .model import Coverage, Finding, Suspect, VerdictName
from .report import columns
from .report.outputs import ReportPaths, write_many_reports, write_reports
from .report.wording import count

if TYPE_CHECKING:
    import pandas as pd

_TOLD_EVERY = 100

Progress = Callable[[str, int, int], None]
"""Told of (what is being done, how much is done, of how much)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing two dump folders came to; one finding for each step and rank, and one over all."""

    findings: tuple[Finding, ...]
    overall: Finding

    @property
    def verdict(self) -> VerdictName:
        return self.overall.verdict

    @property
    def suspects(self) -> tuple[Suspect, ...]:
        return self.overall.suspects

    def to_frame(self) -> pd.DataFrame:
        """All rows of all findings, with the columns of the workbook."""
        import pandas as pd

        frames = [columns.frame(finding) for finding in self.findings]
        return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)

    def write(
        self, out_dir: Path | str, *, timestamp: str | None = None, formats: Sequence[str] = ("xlsx",)
    ) -> ReportPaths:
        """Write workbook and advisor below `out_dir`/accuracy_compare.  Raises OutputError, ConfigError."""
        stamp = timestamp or datetime.now().strftime("%Y%m%d%H%M%S")
        with without_collecting():
            if len(self.findings) == 1:
                return write_reports(self.overall, Path(out_dir), timestamp=stamp, formats=formats)
            return write_many_reports(self.findings, self.overall, Path(out_dir), timestamp=stamp, formats=formats)


def compare(
    npu: Path | str,
    bench: Path | str,
    *,
    floor: Path | str | None = None,
    mapping: Path | str | None = None,
    fuzzy: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two dumps, or all steps and ranks that two dump folders share.

    `floor` is a second bench run that should agree with the first: the distance of the two is taken as normal.
    `mapping` is a YAML file that says what the NPU side calls otherwise (docs/mapping.md); `fuzzy` also pairs calls
    that are left over by the operator alone.  Raises DumpError, IncomparableError, and ConfigError for the mapping.
    """
    rules = read_rules(mapping, is_fuzzy=fuzzy)
    pairs, notes = pair_locations(Path(npu), Path(bench))
    floors = _floor_locations(Path(bench), Path(floor)) if floor is not None else {}
    findings: list[Finding] = []
    for number, pair in enumerate(pairs):
        if progress is not None:
            progress("steps", number, len(pairs))
        setting = Setting(step=pair.step, rank=pair.rank, previous=_previous(findings, pair))
        with without_collecting():
            findings.append(_compare_pair(pair, setting, floors, progress, rules=rules))
    overall = findings[0] if len(findings) == 1 else _over_all(findings, notes, Path(npu), Path(bench))
    if notes and len(findings) == 1:
        overall = replace(overall, notes=(*overall.notes, *notes))
        findings[0] = overall
    return Comparison(tuple(findings), overall)


def _floor_locations(bench: Path, floor: Path) -> dict[Path, PlacedPair]:
    pairs, _ = pair_locations(bench, floor)
    return {pair.npu.path: pair for pair in pairs}


def _previous(findings: Sequence[Finding], pair: PlacedPair) -> Previous:
    """What is known of the steps before this one on the same rank."""
    earlier = [finding for finding in findings if finding.rank == pair.rank and finding.step != pair.step]
    if any(suspect.kind == "nan_inf" for finding in earlier for suspect in finding.suspects):
        return "poisoned"
    if any(finding.suspects for finding in earlier):
        return "suspect"
    finding = earlier[-1] if earlier else None
    if finding is None or finding.step is None or pair.step is None or finding.step != pair.step - 1:
        return "none"
    judged = any(row.npu_name.startswith("Optimizer.") for row in finding.rows)
    return "judged" if judged else "unjudged"


def _compare_pair(
    pair: PlacedPair,
    setting: Setting,
    floors: Mapping[Path, PlacedPair],
    progress: Progress | None,
    *,
    rules: Rules,
) -> Finding:
    ours, theirs = read_dump(pair.npu.path), read_dump(pair.bench.path)
    mode = mode_of(ours, theirs)
    alignment = align(ours, theirs, rules)
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        if progress is not None and (done % _TOLD_EVERY == 0 or done == len(alignment.pairs)):
            progress("calls", done, len(alignment.pairs))

    measured = measure_pairs(alignment, mode, one_more)
    floor_pair = floors.get(pair.bench.path)
    if floor_pair is not None:
        bench_to_npu = {p.bench.name: p.npu.name for p in alignment.pairs if p.npu is not None and p.bench is not None}
        setting = replace(setting, floor=_measured_floor(theirs, read_dump(floor_pair.bench.path), bench_to_npu))
    return judge(alignment, measured, mode, setting)


def _measured_floor(bench: Dump, second: Dump, names: Mapping[str, str]) -> dict[tuple[str, str], float]:
    """The distance of two bench runs at each tensor, under the NPU side's call names."""
    mode = mode_of(bench, second)
    floor: dict[tuple[str, str], float] = {}
    for part in measure_pairs(align(bench, second), mode):
        if part.call is None or part.call.full_name not in names:
            continue
        for argument in (*part.call.read, *part.call.wrote):
            if argument.error is not None:
                floor[(names[part.call.full_name], argument.name)] = argument.error.relative
    return floor


def _over_all(findings: Sequence[Finding], notes: Sequence[str], npu: Path, bench: Path) -> Finding:
    """One finding over many: the earliest step's suspects first, the worst verdict."""
    suspects = merge_alike([suspect for finding in findings for suspect in finding.suspects])
    verdicts = [finding.verdict for finding in findings]
    verdict: VerdictName = (
        "different" if "different" in verdicts else "incomplete" if "incomplete" in verdicts else "same"
    )
    first = next((finding for finding in findings if finding.verdict == verdict), findings[0])
    coverage = Coverage(
        calls=sum(f.coverage.calls for f in findings),
        tensors=sum(f.coverage.tensors for f in findings),
        unmatched_npu=sum(f.coverage.unmatched_npu for f in findings),
        unmatched_bench=sum(f.coverage.unmatched_bench for f in findings),
        reasons=tuple(reason for f in findings for reason in f.coverage.reasons),
    )
    summary = first.summary
    if verdict == "same":
        summary = f"{count(coverage.calls, 'call')} compared, none differs by more than rounding explains."
    said = dict.fromkeys((*notes, *(note for finding in findings for note in finding.notes)))
    return Finding(
        verdict=verdict,
        summary=f"{len(findings)} pairs of dumps. {summary}",
        suspects=suspects,
        coverage=coverage,
        notes=tuple(said),
        mode=first.mode,
        rows=(),
        npu_path=str(npu),
        bench_path=str(bench),
        npu_device=first.npu_device,
        bench_device=first.bench_device,
    )
