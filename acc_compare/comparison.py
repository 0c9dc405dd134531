"""The comparison as a library: two dumps in, a verdict, suspects, a DataFrame and reports out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from acc_compare.align.layout_file import read_layouts
from acc_compare.align.mapping_file import read_rules
from acc_compare.judge.sensitivity import SEEN, seen
from acc_compare.judge.suspects import accused, merge_alike
from acc_compare.load import PlacedPair, PlacedWorlds, pair_locations, pair_worlds
from acc_compare.many import compare_all
from acc_compare.messages import Message, count, number_in, say
from acc_compare.model import ComparedShare, Finding, Sensitivity, Suspect, VerdictName
from acc_compare.one_pair import Progress, Task
from acc_compare.other_order import in_order, order_of, told
from acc_compare.replay.results import read_verdicts
from acc_compare.replay.taken_in import with_verdicts
from acc_compare.report import columns
from acc_compare.report.card import card
from acc_compare.report.i18n import text
from acc_compare.report.messages import Lang
from acc_compare.report.write import DEFAULT_FORMATS, ReportPaths, write_many_reports, write_reports
from acc_compare.steps_apart import told_apart
from acc_compare.worlds import compare_worlds, is_cut_otherwise
from dump.format.errors import ConfigError, IncomparableError
from dump.format.paths import from_home
from dump.format.reader import read_dump, without_collecting

if TYPE_CHECKING:
    import pandas as pd


_MOST_OF_ALL, _MOST_OF_A_PAIR, _LEAST_OF_A_PAIR = 40_000, 4_000, 20
"""Calls that the page over several steps and ranks shows."""

_FIRST_ALONE = ("note.nan_in_both", "note.near_ties")
"""Notes that every pair may have of its own: the first of them is told."""

_COUNTED = "note.unmeasured"


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """What comparing two dump folders came to: one finding for each step and rank, and one over all; see `compare`."""

    findings: tuple[Finding, ...]
    overall: Finding

    @property
    def verdict(self) -> VerdictName:
        return self.overall.verdict

    @property
    def suspects(self) -> tuple[Suspect, ...]:
        return self.overall.suspects

    def explain(self, suspect: Suspect, lang: Lang = "en") -> str:
        """What happened at a suspect, in one sentence."""
        return text(suspect.message, lang)

    def summary(self, lang: Lang = "en") -> str:
        """What the comparison came to, in one sentence."""
        return text(self.overall.summary, lang)

    def __repr__(self) -> str:
        """What an interpreter shows: the verdict's line."""
        return f"<{type(self).__name__} {self.verdict.upper()}: {self.summary()}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict and the first suspects."""
        return card(self.overall)

    def to_frame(self) -> pd.DataFrame:
        """All rows of all findings, with the columns of the workbook."""
        import pandas as pd

        frames = [columns.frame(finding) for finding in self.findings]
        return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)

    def write(
        self,
        out_dir: Path | str,
        *,
        timestamp: str | None = None,
        formats: Sequence[str] = DEFAULT_FORMATS,
        lang: str = "en",
        each: bool = True,
    ) -> ReportPaths:
        """Write workbook, page and advisor below `out_dir`/accuracy_compare, the page and the advisor's text in `lang`
        ("en", "zh"); of several steps or ranks an overview too, and the tables of each only where `each` says so.

        Raises OutputError, ConfigError.
        """
        stamp = timestamp or datetime.now().strftime("%Y%m%d%H%M%S")
        folder = from_home(out_dir)
        with without_collecting():
            if len(self.findings) == 1:
                return write_reports(self.overall, folder, timestamp=stamp, formats=formats, lang=lang)
            return write_many_reports(
                self.findings, self.overall, folder, timestamp=stamp, formats=formats, lang=lang, each=each
            )


def compare(
    npu: Path | str,
    bench: Path | str,
    *,
    floor: Path | str | None = None,
    reference: Path | str | None = None,
    mapping: Path | str | None = None,
    fuzzy: bool = False,
    replayed: Path | str | None = None,
    progress: Progress | None = None,
    jobs: int = 1,
    keep_rows: bool = True,
    scheduler: str | None = None,
    layout: Path | str | None = None,
) -> Comparison:
    """Compare two dumps, or all steps and ranks that two dump folders share.

    `floor` is a second bench run that should agree with the first: the distance of the two is taken as normal.
    `reference` is a run in a wider type, such as float32 beside two in bfloat16: it tells which side is further off,
    and what both sides are off by alike is no suspect.
    `mapping` is a YAML file that says what the NPU side calls otherwise (docs/mapping.md); `fuzzy` also pairs calls
    that are left over by the operator alone.  `replayed` is the JSON of an `acc replay` of the NPU side: suspects that
    were made again are told to be confirmed or cleared.
    `jobs` is how many cores may work: helper processes for tensor files, and for long dumps of several ranks (a script
    then needs the usual `if __name__ == "__main__":`).  The result is the same for any number.  Without `keep_rows`
    the findings of several pairs have no rows, so that a thousand dumps take the memory of one; then there are no
    tables of each to write.
    `scheduler` is the address of a Dask scheduler whose workers compare the ranks of two jobs; they must see the same
    paths.  The result is that of this process alone.
    `layout` is a YAML file that says how either side is cut among its ranks (docs/comparing.md); then ranks are put
    together even where both sides have as many.
    Raises DumpError, IncomparableError, and ConfigError for the mapping, `layout`, `jobs` and
    `scheduler`.

    >>> comparison = compare("sample_dumps/gelu_in_bfloat16", "sample_dumps/bench_statistics")
    >>> comparison
    <Comparison DIFFERENT: The runs differ. First suspect: Functional.gelu.1.forward.>
    >>> comparison.verdict, comparison.suspects[0].name
    ('different', 'Functional.gelu.1.forward')
    >>> len(comparison.to_frame()) > 100
    True
    """
    if jobs < 1:
        raise ConfigError(f"the number of jobs must be at least 1, not {jobs}")
    npu, bench = from_home(npu), from_home(bench)
    rules = read_rules(mapping, is_fuzzy=fuzzy)
    layouts = read_layouts(layout)
    worlds = pair_worlds(npu, bench)
    if not worlds and layout is not None:
        worlds = pair_worlds(npu, bench, as_many=True)
    elif not worlds and floor is None and reference is None:
        worlds = _cut_otherwise(npu, bench)
    if worlds:
        if reference is not None:
            raise IncomparableError(
                "a reference says nothing of sides that ran on different numbers of ranks. Compare without --reference."
            )
        task = Task(
            rules=rules, keep_rows=keep_rows or len(worlds) == 1, profile=_profiled(len(worlds)), layouts=layouts
        )
        joined = compare_worlds(worlds, task, jobs=jobs, progress=progress)
        return Comparison(tuple(joined), joined[0] if len(joined) == 1 else _over_all(joined, (), npu, bench))
    pairs, notes = pair_locations(npu, bench)
    order = _other_order(npu, bench) if floor is None and reference is None else None
    if order is not None:
        pairs, notes = in_order(pairs, order), (*notes, told(order))
    floors = _floor_locations(bench, from_home(floor)) if floor is not None else {}
    references = _floor_locations(bench, from_home(reference)) if reference is not None else None
    one_world = len(pairs) > 1 or pairs[0].npu.path != npu or pairs[0].bench.path != bench
    task = Task(
        rules=rules,
        floors=floors,
        references=references,
        one_world=one_world,
        keep_rows=keep_rows or len(pairs) == 1,
        profile=_profiled(len(pairs)),
    )
    findings = list(compare_all(pairs, task, jobs=jobs, progress=progress, scheduler=scheduler))
    findings = told_apart(pairs, findings, npu, bench)
    overall = findings[0] if len(findings) == 1 else _over_all(findings, notes, npu, bench)
    if notes:
        overall = _with_missing(overall, notes, len(findings))
        findings = [overall] if len(findings) == 1 else findings
    if replayed is not None:
        known = read_verdicts(from_home(replayed))
        overall = with_verdicts(overall, known)
        findings = [overall] if len(findings) == 1 else [with_verdicts(finding, known) for finding in findings]
    return Comparison(tuple(findings), overall)


def _cut_otherwise(npu: Path, bench: Path) -> tuple[PlacedWorlds, ...]:
    """The steps of two jobs of as many ranks that hold other parts of the model; none where they do not."""
    worlds = pair_worlds(npu, bench, as_many=True)
    several = [step for step in worlds if len(step.npu) > 1 and len(step.bench) > 1]
    if not several:
        return ()
    first = [read_dump(side[min(side)].path) for side in (several[0].npu, several[0].bench)]
    return worlds if is_cut_otherwise(*first) else ()


def _other_order(npu: Path, bench: Path) -> Mapping[int, int] | None:
    """Which rank of the bench each of the NPU side answers to, where that is told by what they hold."""
    several = (step for step in pair_worlds(npu, bench, as_many=True) if len(step.npu) > 1)
    first = next(several, None)
    return order_of(first) if first is not None else None


def _profiled(pairs: int) -> int:
    """How many calls of each pair are kept for the page over all."""
    return 0 if pairs == 1 else min(_MOST_OF_A_PAIR, max(_LEAST_OF_A_PAIR, _MOST_OF_ALL // pairs))


def _with_missing(overall: Finding, notes: Sequence[Message], pairs: int) -> Finding:
    """Steps or ranks that are on one side only were not compared: then agreement of the others is no SAME."""
    missing = [note for note in notes if note.key in ("note.npu_only", "note.bench_only")]
    if missing and overall.verdict == "same":
        summary = say("summary.missing", number=len(missing), first=missing[0], summary=overall.summary)
        overall = replace(overall, verdict="incomplete", summary=summary)
    return replace(overall, notes=(*overall.notes, *notes)) if pairs == 1 else overall


def _floor_locations(bench: Path, floor: Path) -> dict[Path, PlacedPair]:
    pairs, _ = pair_locations(bench, floor)
    return {pair.npu.path: pair for pair in pairs}


def _as_error_began(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Suspects of all steps and ranks, the earlier step first and within it what came before by the collectives
    between ranks; as they are where ranks are not known to have spoken."""
    known = [suspect for suspect in suspects if suspect.clock != (0, 0) and suspect.step is not None]
    if not known:
        return list(suspects)

    def began(suspect: Suspect) -> tuple[int, tuple[int, int], float]:
        # Of ranks that are off in one call, the one that is off most.
        return (-1 if suspect.step is None else suspect.step, suspect.clock, -(suspect.rel_l2 or 0.0))

    return sorted(suspects, key=began)


def _is_job_of_modules(findings: Sequence[Finding]) -> bool:
    """Were modules alone recorded, of several ranks?  Then what they gave each other is not known."""
    alone = all(any(note.key == "note.modules_only" for note in finding.notes) for finding in findings)
    return alone and len({finding.rank for finding in findings}) > 1


def _before_it_spread(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Without those of other ranks that come after the first, which may have given them what is wrong."""
    return [suspect for suspect in suspects if suspect.rank == suspects[0].rank]


def _over_all(findings: Sequence[Finding], notes: Sequence[Message], npu: Path, bench: Path) -> Finding:
    """One finding over many: the earliest step's suspects first, the worst verdict."""
    began = _as_error_began([suspect for finding in findings for suspect in finding.suspects])
    suspects = merge_alike(_before_it_spread(began) if _is_job_of_modules(findings) else began)
    verdicts = [finding.verdict for finding in findings]
    verdict: VerdictName = (
        "different" if "different" in verdicts else "incomplete" if "incomplete" in verdicts else "same"
    )
    first = next((finding for finding in findings if finding.verdict == verdict), findings[0])
    coverage = ComparedShare(
        calls=sum(f.coverage.calls for f in findings),
        tensors=sum(f.coverage.tensors for f in findings),
        unmatched_npu=sum(f.coverage.unmatched_npu for f in findings),
        unmatched_bench=sum(f.coverage.unmatched_bench for f in findings),
        reasons=tuple(reason for f in findings for reason in f.coverage.reasons),
        missing=sum(f.coverage.missing for f in findings),
    )
    summary = first.summary
    if verdict == "same":
        summary = say("summary.compared", calls=count(coverage.calls, "call"))
    elif suspects:
        summary = accused(suspects)
    settings = dict.fromkeys(sentence for finding in findings for sentence in finding.settings)
    judged = [finding.sensitivity for finding in findings if finding.sensitivity is not None]
    seen_of_all = _seen_of_all(judged) if verdict != "different" else None
    told = [seen(seen_of_all)] if seen_of_all is not None else []
    told += (note for finding in findings for note in finding.notes if note.key not in SEEN)
    told = _added_up(told)
    first_of = {note.key: note for note in reversed(told)}
    said = dict.fromkeys((*notes, *(n for n in told if n.key not in _FIRST_ALONE or n is first_of[n.key])))
    return Finding(
        verdict=verdict,
        summary=say("summary.pairs", number=len(findings), summary=summary),
        suspects=suspects,
        coverage=coverage,
        notes=tuple(said),
        mode=first.mode,
        rows=(),
        npu_path=str(npu),
        bench_path=str(bench),
        npu_device=first.npu_device,
        bench_device=first.bench_device,
        settings=tuple(settings),
        sensitivity=seen_of_all,
    )


def _added_up(told: Sequence[Message]) -> list[Message]:
    """`told` with one note on the tensors of all pairs that could not be compared, where the first of them stood."""
    counted = [note for note in told if note.key == _COUNTED]
    if not counted:
        return list(told)
    every = say(_COUNTED, tensors=count(sum(number_in(part) for note in counted for _, part in note.values), "tensor"))
    return [every if note is counted[0] else note for note in told if note is counted[0] or note.key != _COUNTED]


def _seen_of_all(found: Sequence[Sensitivity]) -> Sensitivity | None:
    """What was seen in each of `found` was seen in all of them: what holds for nine calls of ten, or for every second
    call, of each holds for so many of them all.  None where nothing could be judged."""
    if not found:
        return None
    weakest = max(found, key=lambda each: each.everywhere)
    return Sensitivity(
        everywhere=weakest.everywhere,
        mostly=max(each.mostly for each in found),
        median=max(each.median for each in found),
        weakest=weakest.weakest,
        calls=sum(each.calls for each in found),
        blind=sum(each.blind for each in found),
    )
