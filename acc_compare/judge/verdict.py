"""Measured pairs to one Finding: rows by the classic rules, suspects by the localisation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dump.format.names import FORWARD, parse
from dump.format.schema import Dump, TensorRecord

from ..measure import MeasuredPair
from ..model import Alignment, Coverage, Finding, FusedPair, Row, Suspect, VerdictName
from ..report.wording import count
from .accumulation import judge_accumulated
from .calls import MeasuredCall
from .classic import CallCells, judge_rows
from .flow import Flow
from .gradients import judge_gradients
from .optimizer import is_optimizer, judge_optimizer
from .origins import judged_calls, walk
from .roles import Context, Judged, Origin, Previous, Walk
from .settings import differing_settings
from .suspects import stack_of, suspects_of
from .telling import Place


@dataclass(frozen=True, slots=True)
class Setting:
    """What the judging must know beside the two dumps."""

    step: int | None = None
    rank: int | None = None
    previous: Previous = "none"
    floor: Mapping[tuple[str, str], float] = field(default_factory=dict)


def judge(alignment: Alignment, measured: Sequence[MeasuredPair], mode: str, setting: Setting) -> Finding:
    """The finding of one pair of dumps."""
    npu, bench = alignment.npu, alignment.bench
    calls = [part.call for part in measured if part.call is not None]
    by_module = not judged_calls(calls, by_module=False)
    chosen = judged_calls(calls, by_module=by_module)
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
    )
    found = walk(chosen, context)
    if by_module:
        found.origins = _innermost(found)
    optimizers = [call for call in calls if is_optimizer(call)]
    if context.previous != "poisoned" and not alignment.differs_in_batches:
        found.origins += judge_gradients(optimizers, chosen, (npu, bench), context)
    faults = [fault for call in optimizers if (fault := judge_optimizer(call)) is not None]
    place = Place(npu, setting.step, setting.rank, mode, bench)
    suspects = suspects_of(found.origins, faults, chosen, place)
    rows = tuple(row for part in measured for row in _rows(part, mode, npu, found))
    coverage = _coverage(alignment, measured)
    unmeasured = sum(argument.error is None for call in calls for argument in (*call.read, *call.wrote))
    verdict, summary = _verdict(suspects, coverage, unmeasured, npu, bench)
    notes = (*_notes(npu, bench, calls, chosen, unmeasured), *_aligned(alignment))
    if alignment.differs_in_batches and verdict == "same":
        verdict, summary, note = judge_accumulated(calls)
        notes = (*notes, note)
    return Finding(
        verdict=verdict,
        summary=summary,
        suspects=suspects,
        coverage=coverage,
        notes=notes,
        mode=mode,
        rows=rows,
        npu_path=str(npu.path),
        bench_path=str(bench.path),
        npu_device=device_of(npu),
        bench_device=device_of(bench),
        step=setting.step,
        rank=setting.rank,
        settings=differing_settings(npu, bench),
    )


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


def _rows(part: MeasuredPair, mode: str, npu: Dump, found: Walk) -> list[Row]:
    pair = part.pair
    operator = part.call.operator if part.call is not None else ""
    classic = judge_rows(CallCells(operator, mode, pair.arguments, part.cells))
    stack = "\n".join(stack_of(part.call, npu)) if part.call is not None and npu.stacks else ""
    ours = pair.npu.name if pair.npu is not None else ""
    theirs = pair.bench.name if pair.bench is not None else ""
    rows = []
    for argument, cells, judged in zip(pair.arguments, part.cells, classic, strict=True):
        located = found.judged.get((ours, argument.name)) if part.call is not None else None
        messages = (pair.reason,) if pair.reason else (*judged.messages, *_disagreement(judged.result, located))
        leaf = argument.npu
        name = _joined(ours, argument.name)
        alike = theirs == ours and argument.bench_name == argument.name  # then one string serves both sides
        rows.append(
            Row(
                npu_name=argument.npu_full or name,
                bench_name=argument.bench_full or (name if alike else _joined(theirs, argument.bench_name)),
                npu=leaf,
                bench=argument.bench,
                metrics=cells,
                result=judged.result,
                reached=judged.reached,
                err_message="; ".join(messages),
                stack=stack,
                data_name=(leaf.data_name or "") if isinstance(leaf, TensorRecord) else "",
                expected=located.expected.relative if located is not None and located.expected is not None else None,
                expected_from=located.expected.source if located is not None and located.expected is not None else "",
                excess=located.excess if located is not None else None,
                origin=located.role if located is not None else "",
            )
        )
    return rows


def _joined(call: str, argument: str) -> str:
    return f"{call}.{argument}" if call and argument else ""


def _disagreement(result: str, located: Judged | None) -> list[str]:
    """Where the constant rules and the localisation part, the row says so."""
    if located is None:
        return []
    if located.role == "introduced" and result == "pass":
        return ["the constant rules pass this row; localisation: error begins here"]
    if located.role in ("propagated", "absorbed") and result in ("error", "warning"):
        return [f"localisation: {located.role}, what the call read explains it"]
    return []


def _coverage(alignment: Alignment, measured: Sequence[MeasuredPair]) -> Coverage:
    matched = [part for part in measured if part.call is not None]
    tensors = sum(len(part.call.read) + len(part.call.wrote) for part in matched if part.call is not None)
    lone_npu = [p for p in alignment.pairs if p.npu is not None and p.bench is None and not p.part_of]
    lone_bench = [p for p in alignment.pairs if p.bench is not None and p.npu is None and not p.part_of]
    reasons = [(pair.npu.name, pair.reason) for pair in lone_npu if pair.npu is not None]
    reasons += [(pair.bench.name, pair.reason) for pair in lone_bench if pair.bench is not None]
    return Coverage(len(matched), tensors, len(lone_npu), len(lone_bench), tuple(reasons))


def _verdict(
    suspects: Sequence[Suspect], coverage: Coverage, unmeasured: int, npu: Dump, bench: Dump
) -> tuple[VerdictName, str]:
    if suspects:
        first = suspects[0]
        rest = f", and {count(len(suspects) - 1, 'more suspect')}" if len(suspects) > 1 else ""
        return "different", f"The runs differ. First suspect: {first.name}{rest}."
    if coverage.calls == 0:
        return "incomplete", "No call of one side answers to a call of the other, so nothing was compared."
    if coverage.tensors == unmeasured:
        return "incomplete", "No tensor was recorded on both sides in a way that can be compared."
    cut = [text for text in (npu.incomplete, bench.incomplete) if text]
    if cut:
        return (
            "incomplete",
            f"Nothing suspect in {count(coverage.calls, 'call')}, but a dump was cut short: {cut[0]}",
        )
    return "same", f"{count(coverage.calls, 'call')} compared, none differs by more than rounding explains."


def _one_recorder(npu: Dump, bench: Dump) -> bool:
    """Did the same tool record both sides?  msprobe's dumps carry no format version."""
    return (npu.header.format_version is None) == (bench.header.format_version is None)


def _notes(
    npu: Dump, bench: Dump, calls: Sequence[MeasuredCall], chosen: Sequence[MeasuredCall], unmeasured: int
) -> tuple[str, ...]:
    notes = [text for text in (npu.incomplete, bench.incomplete) if text]
    for side, dump in (("NPU", npu), ("bench", bench)):
        if _is_simulated(dump):
            notes.append(f"The {side} side ran on a simulated NPU: CPU kernels, no hardware.")
        notes += _missed(side, dump)
    if unmeasured:
        notes.append(f"{count(unmeasured, 'tensor')} could not be compared: of other shapes, or not measured.")
    narrowed = Counter(
        (argument.npu.dtype, argument.bench.dtype)
        for call in calls
        for argument in call.wrote
        if argument.npu.dtype != argument.bench.dtype
    )
    for (ours, theirs), number in sorted(narrowed.items()):
        notes.append(
            f"{count(number, 'result')} are {ours.removeprefix('torch.')} on the NPU side and"
            f" {theirs.removeprefix('torch.')} on the bench side; rounding to the narrower type is taken as normal."
        )
    versions = (npu.header.torch_version, bench.header.torch_version)
    if all(versions) and versions[0] != versions[1]:
        notes.append(f"torch {npu.header.torch_version} on the NPU side, {bench.header.torch_version} on the bench.")
    if chosen and all(call.name.is_module for call in chosen):
        notes.append("Level L0: modules only. Record at L1 or mix to have the operator named.")
    if not _one_recorder(npu, bench):
        notes.append(
            "One side was recorded by msprobe, whose API calls list other gradients: what backward calls wrote is shown"
            " but not judged."
        )
    without = sum(1 for dump in (npu, bench) if dump.header.sketch is None)
    if without and npu.mode == "statistics":
        notes.append("A dump without sketches: small differences that leave max, min, mean and norm alone stay unseen.")
    return tuple(notes)


def _is_simulated(dump: Dump) -> bool:
    """Did it run on a simulated NPU?  A dump that was cut short says only whether the process had one."""
    if dump.header.device is None:
        return (dump.header.environment or {}).get("npu") == "simulated"
    return "simulated" in (dump.header.device_name or "").lower()


def _aligned(alignment: Alignment) -> tuple[str, ...]:
    """How the sides were aligned, where it was not call by call."""
    pairs: dict[str, list[FusedPair]] = {}
    for pair in alignment.pairs:
        if pair.fused is not None:
            name = parse(pair.fused.fused)
            if name.direction == FORWARD:
                pairs.setdefault(f"{name.prefix}.{name.api}", []).append(pair.fused)
    notes = [
        f"{count(len(found), 'call')} of {api} on the {'NPU' if found[0].on_npu else 'bench'} side:"
        f" {found[0].fused} was laid against {found[0].against}"
        for api, found in pairs.items()
    ]
    return (
        *alignment.notes,
        *(
            f"{note}." if len(pairs[api]) == 1 else f"{note}, and so on."
            for api, note in zip(pairs, notes, strict=True)
        ),
    )


def _missed(side: str, dump: Dump) -> list[str]:
    coverage = dump.header.coverage or {}
    found = []
    for key, label in (
        ("not_recordable", "not recordable"),
        ("failed", "failed while recording"),
        ("scripted", "inside scripted code, not seen one by one"),
        ("compiled", "inside compiled code, not seen one by one"),
    ):
        counts = coverage.get(key)
        if isinstance(counts, Mapping) and counts:
            text = "; ".join(f"{reason} ({number})" for reason, number in list(counts.items())[:5])
            found.append(f"The {side} side has tensors or calls {label}: {text}.")
    return found
