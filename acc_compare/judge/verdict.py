"""Measured pairs to one Finding: rows by the classic rules, suspects by the localisation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from acc_compare.judge.accumulation import judge_accumulated
from acc_compare.judge.advice import words_of
from acc_compare.judge.around import in_the_module_around, in_the_modules_backward
from acc_compare.judge.coverage import share_compared
from acc_compare.judge.dataflow import Flow
from acc_compare.judge.differing_settings import differing_settings
from acc_compare.judge.evidence import Comparand, cut_short, some
from acc_compare.judge.gradients import judge_gradients
from acc_compare.judge.hidden import hidden_origin
from acc_compare.judge.optimizer import judge_optimizer, unheld, updated_alone, without_closures
from acc_compare.judge.origins import Context, Judged, Leavings, Origin, Previous, Walk
from acc_compare.judge.programs import two_programs
from acc_compare.judge.ranks import JobStep
from acc_compare.judge.reference import References, told_of_all
from acc_compare.judge.rows import rows_of
from acc_compare.judge.sensitivity import near_ties, seen, sensitivity_of
from acc_compare.judge.suspects import accused, mark_accused, suspects_of
from acc_compare.judge.walk import judged_calls, walk
from acc_compare.judge.without_effect import without_effect
from acc_compare.judge.worlds import (
    first_of,
    is_of_the_world,
    judge_worlds,
    read_otherwise,
    seen_later,
    unmeasured_calls,
)
from acc_compare.measured.calls import MeasuredCall
from acc_compare.measured.pairs import MeasuredPair
from acc_compare.messages import Message, count, say
from acc_compare.model import (
    Alignment,
    ComparedShare,
    Finding,
    FusedPair,
    Sensitivity,
    Suspect,
    VerdictName,
)
from dump.format.names import FORWARD, parse
from dump.format.schema import Dump, Mode

_BLIND = 0.5
"""Where every second call could hide an error of this size, a comparison without suspects says too little."""

_ENOUGH = 0.5
"""Where most calls of one side have no counterpart, agreement of the rest says too little."""
_REASONS = 5


@dataclass(frozen=True, slots=True)
class Setting:
    """What the judging must know beside the two dumps.  `job` is what other ranks gave to collectives in this step;
    `other_world` says that the sides ran on different numbers of ranks, so that their parts were put together,
    `shared_otherwise` that both have as many, but share out the model in other ways; `lowered` is what an earlier step
    showed products to be computed in, `references` how far both are from a third, `drift` how far running statistics
    parted in the step before, `left` what it left, `parted` how far parameters were apart when the
    recording began, 1 after a fault;
    `odd_updates` are steps of optimizers and parameters that one rank updated otherwise than the rest."""

    step: int | None = None
    rank: int | None = None
    previous: Previous = "none"
    floor: Mapping[tuple[str, str], float] = field(default_factory=dict)
    job: JobStep | None = None
    other_world: bool = False
    shared_otherwise: bool = False
    lowered: str = ""
    references: References | None = None
    drift: float = 0.0
    parted: float = 0.0
    odd_updates: frozenset[tuple[str, str]] = frozenset()
    left: Leavings = field(default_factory=Leavings)


def judge(alignment: Alignment, measured: Sequence[MeasuredPair], mode: Mode, setting: Setting) -> Finding:
    """The finding of one pair of dumps."""
    # Who read what, and the noise, are let go with the frame that judged, before rows take their memory.
    finding, judged = _without_rows(alignment, measured, mode, setting)
    rows = rows_of(measured, mode, (alignment.npu, alignment.bench), judged, setting.references or {})
    return replace(finding, rows=mark_accused(rows, finding.suspects))


def _without_rows(
    alignment: Alignment, measured: Sequence[MeasuredPair], mode: Mode, setting: Setting
) -> tuple[Finding, Mapping[tuple[str, str], Judged]]:
    """The finding, and the verdict on every tensor, by call and argument name."""
    npu, bench = alignment.npu, alignment.bench
    calls = [part.call for part in measured if part.call is not None]
    by_module = not judged_calls(calls, by_module=False)
    chosen = judged_calls(calls, by_module=by_module)
    if setting.job is not None and setting.rank is not None:
        chosen = [part for call in chosen for part in setting.job.taken_in(call, setting.rank)]
    partner, answered = _answers(alignment)
    context = Context(
        npu=Flow(npu),
        bench=Flow(bench),
        step=setting.step,
        previous=setting.previous,
        partner=partner,
        answered=answered,
        floor=setting.floor,
        one_recorder=_one_recorder(npu, bench),
        other_world=setting.other_world,
        unmeasured=unmeasured_calls(npu, chosen) if setting.other_world else frozenset(),
        lowered=setting.lowered,
        drift=setting.drift,
        unheld=unheld(calls),
        parted=setting.parted,
        references=setting.references or {},
        left=Leavings() if setting.shared_otherwise else setting.left,
    )
    found = walk(chosen, context)
    if setting.other_world:
        found.origins = first_of(found.origins, npu, digests=mode == "md5")
        if context.previous not in ("suspect", "poisoned"):
            later = (*read_otherwise(chosen), *hidden_origin(chosen, npu, context.unmeasured))
            found.origins = first_of([*found.origins, *later], npu)
    if by_module:
        found.origins = in_the_module_around(_innermost(found), chosen)
    optimizers = [call for call in calls if call.is_optimizer]
    if context.previous != "poisoned" and not alignment.differs_in_batches:
        gradients = judge_gradients(optimizers, chosen, (npu, bench), context)
        found.origins += in_the_modules_backward(gradients, calls) if by_module else gradients
    if setting.shared_otherwise:
        found.origins = [origin for origin in found.origins if not is_of_the_world(origin)]
    faults = [fault for call in optimizers if (fault := judge_optimizer(call, setting.odd_updates)) is not None]
    if found.origins or context.previous == "suspect":
        faults = without_closures(faults, chosen, context.npu)
    place = Comparand(
        npu, setting.step, setting.rank, mode, bench, setting.job, context.references, setting.previous, found.parted
    )
    suspects = suspects_of(found.origins, faults, chosen, place)
    moving = setting.other_world or setting.shared_otherwise
    shown = (frozenset[str](), frozenset[str]())
    if setting.other_world:
        shown = (seen_later(npu, calls, "npu"), seen_later(bench, calls, "bench"))
    coverage = share_compared(alignment, measured, without_moving=moving, shown=shown)
    unmeasured = sum(argument.error is None for call in calls for argument in (*call.read, *call.wrote))
    sensitivity = sensitivity_of(found)
    verdict, summary = _verdict(suspects, (coverage, unmeasured), sensitivity, (npu, bench))
    notes = (*_notes(npu, bench, calls, chosen, unmeasured), *_aligned(alignment))
    if not setting.other_world and (apart := two_programs(npu, bench, coverage)) is not None:
        notes = (apart, *notes)
    if not (moving or alignment.differs_in_batches):
        notes = (*updated_alone(optimizers), *notes)
    if place.parted:
        notes = (say("note.parted", size=place.parted, step=setting.step or 0), *notes)
    if setting.references is not None:
        notes = (told_of_all(setting.references, chosen), *notes)
    if setting.other_world:
        verdict, summary, parts = judge_worlds(calls, (npu, bench), (verdict, summary), shown[0], mode)
        notes = (*parts, *notes)
    elif setting.shared_otherwise:
        notes = (say("note.shared_otherwise"), *notes)
    if (ties := near_ties(calls, found)) is not None:
        notes = (ties, *notes)
    if sensitivity is not None and verdict != "different":
        notes = (seen(sensitivity), *notes)
    if verdict != "different" and not (moving or alignment.differs_in_batches):
        told = without_effect(calls)
        notes = (told, *notes) if told is not None else notes
    if alignment.differs_in_batches and verdict == "same":
        verdict, summary, note = judge_accumulated(calls)
        notes = (*notes, note)
    finding = Finding(
        verdict=verdict,
        lowered=found.lowered,
        drift=max((a.relative for call in calls for a in call.wrote if a.is_running), default=0.0),
        parted=max(setting.parted, found.parted),
        summary=summary,
        suspects=suspects,
        coverage=coverage,
        notes=notes,
        mode=mode,
        npu_path=str(npu.path),
        bench_path=str(bench.path),
        npu_device=device_of(npu),
        bench_device=device_of(bench),
        step=setting.step,
        rank=setting.rank,
        settings=differing_settings(npu, bench),
        sensitivity=sensitivity if verdict != "different" else None,  # it would tell of what the fault carries on
    )
    return finding, found.judged


def _answers(alignment: Alignment) -> tuple[dict[str, str], frozenset[str]]:
    """The bench's call for each of the NPU side's that has one, and the bench's calls that have been answered; the
    inner calls of a composite share in its answer."""
    partner: dict[str, str] = {}
    answered: set[str] = set()
    for pair in alignment.pairs:
        if pair.npu is not None and (pair.bench is not None or pair.part_of):
            partner[pair.npu.name] = pair.bench.name if pair.bench is not None else pair.part_of
        if pair.bench is not None and (pair.npu is not None or pair.part_of):
            answered.add(pair.bench.name)
    return partner, frozenset(answered)


def _innermost(found: Walk) -> list[Origin]:
    """Of modules that introduce error, those that hold no other such module."""
    paths = [origin.call.name.path for origin in found.origins]
    return [
        origin
        for origin in found.origins
        if not any(path != origin.call.name.path and path.startswith(f"{origin.call.name.path}.") for path in paths)
    ]


def device_of(dump: Dump) -> str:
    """What the dump says of its device: "npu (SimulatedNPU)", "cpu", or "" for a foreign dump."""
    kind, name = dump.header.device or "", dump.header.device_name or ""
    return f"{kind} ({name})" if name and name != kind else kind


def _verdict(
    suspects: Sequence[Suspect],
    compared: tuple[ComparedShare, int],
    sensitivity: Sensitivity | None,
    sides: tuple[Dump, Dump],
) -> tuple[VerdictName, Message]:
    coverage, unmeasured = compared
    if suspects:
        return "different", accused(suspects)
    if coverage.calls == 0:
        return "incomplete", say("summary.no_calls")
    if coverage.tensors == unmeasured:
        return "incomplete", say("summary.no_tensors")
    calls, every = count(coverage.calls, "call"), coverage.calls + coverage.missing
    cut = [dump.incomplete for dump in sides if dump.incomplete is not None]
    if cut:
        return "incomplete", say("summary.cut", calls=calls, why=cut_short(cut[0]))
    if coverage.share < _ENOUGH:
        return "incomplete", say("summary.partial", calls=calls, share=coverage.share, all=every)
    if sensitivity is not None and sensitivity.median > _BLIND:
        return "incomplete", say("summary.blind", calls=calls, median=sensitivity.median)
    if coverage.missing:
        return "same", say("summary.compared_of", calls=calls, all=every)
    return "same", say("summary.compared", calls=calls)


def _one_recorder(npu: Dump, bench: Dump) -> bool:
    """Did the same tool record both sides?  msprobe's dumps carry no format version."""
    return (npu.header.format_version is None) == (bench.header.format_version is None)


def _notes(
    npu: Dump, bench: Dump, calls: Sequence[MeasuredCall], chosen: Sequence[MeasuredCall], unmeasured: int
) -> tuple[Message, ...]:
    notes = [cut_short(dump.incomplete) for dump in (npu, bench) if dump.incomplete is not None]
    for side, dump in ((say("name.npu"), npu), (say("name.bench"), bench)):
        if _is_simulated(dump):
            notes.append(say("note.simulated", side=side))
        if faults := words_of((dump.header.environment or {}).get("simulated_faults")):
            notes.append(say("note.simulated_faults", side=side, faults=", ".join(faults)))
        notes += _missed(side, dump)
    both = [call.full_name for call in calls if any(a.npu.nan and a.bench.nan for a in call.wrote)]
    if both:
        notes.append(say("note.nan_in_both", calls=count(len(both), "call"), first=both[0], dump=str(npu.path)))
    if unmeasured:
        notes.append(say("note.unmeasured", tensors=count(unmeasured, "tensor")))
    narrowed = Counter(
        (argument.npu.dtype, argument.bench.dtype)
        for call in calls
        for argument in (*call.wrote, *(call.read if call.pair.fused is not None else ()))
        if argument.npu.dtype != argument.bench.dtype
    )
    for (ours, theirs), number in sorted(narrowed.items()):
        results = count(number, "result")
        types = {"npu": ours.removeprefix("torch."), "bench": theirs.removeprefix("torch.")}
        notes.append(say("note.narrowed", results=results, **types))
    versions = (npu.header.torch_version, bench.header.torch_version)
    if versions[0] and versions[1] and versions[0] != versions[1]:
        notes.append(say("note.versions", npu=versions[0], bench=versions[1]))
    if chosen and all(call.name.is_module for call in chosen):
        notes.append(say("note.modules_only"))
    notes += [told for dump in (npu, bench) if (told := _models(dump)) is not None][:1]
    if not _one_recorder(npu, bench):
        notes.append(say("note.foreign"))
    if npu.mode == "statistics" and any(dump.header.sketch is None for dump in (npu, bench)):
        notes.append(say("note.no_sketch"))
    return tuple(notes)


def _is_simulated(dump: Dump) -> bool:
    """Did it run on a simulated NPU?  A dump that was cut short says only whether the process had one."""
    if dump.header.device is None:
        return (dump.header.environment or {}).get("npu") == "simulated"
    return "simulated" in (dump.header.device_name or "").lower()


def _aligned(alignment: Alignment) -> tuple[Message, ...]:
    """How the sides were aligned, where it was not call by call."""
    pairs: dict[str, list[FusedPair]] = {}
    for pair in alignment.pairs:
        if pair.fused is not None:
            name = parse(pair.fused.fused)
            if name.direction == FORWARD:
                pairs.setdefault(f"{name.prefix}.{name.api}", []).append(pair.fused)
    notes = [
        say(
            "note.laid_against" if len(found) == 1 else "note.laid_against_more",
            calls=count(len(found), "call"),
            api=api,
            side=say("name.npu" if found[0].on_npu else "name.bench"),
            fused=found[0].fused,
            others=found[0].against,
        )
        for api, found in pairs.items()
    ]
    return (*alignment.notes, *notes)


def _models(dump: Dump) -> Message | None:
    """Of several models, which one is meant by names that do not say so."""
    found = (dump.header.coverage or {}).get("models")
    if not isinstance(found, Mapping) or "" not in found:
        return None
    others = [str(prefix) for prefix in found if prefix]
    return say("note.models", first=str(found[""]), others=some(others)) if others else None


def _missed(side: Message, dump: Dump) -> list[Message]:
    coverage = dump.header.coverage or {}
    found = []
    for key in ("not_recordable", "failed", "scripted", "compiled"):
        counts = coverage.get(key)
        if isinstance(counts, Mapping) and counts:
            text = "; ".join(f"{reason} ({number})" for reason, number in list(counts.items())[:_REASONS])
            found.append(say("note.missed", side=side, label=say(f"missed.{key}"), text=text))
    left_out = coverage.get("left_out")
    if isinstance(left_out, Mapping) and left_out:
        text = "; ".join(f"{name} ({reason})" for name, reason in list(left_out.items())[:_REASONS])
        found.append(say("note.left_out", side=side, version=dump.header.torch_version or "?", text=text))
    return found
