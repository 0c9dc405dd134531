"""Measured and judged pairs to the rows of the workbook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from acc_compare.judge.classic import CallCells, Classic, judge_rows
from acc_compare.judge.origins import Judged
from acc_compare.judge.reference import References
from acc_compare.judge.suspects import module_at, stack_of
from acc_compare.measured.pairs import MeasuredPair
from acc_compare.messages import Message, say
from acc_compare.model import Row
from dump.format.schema import Dump, Mode, TensorRecord


def rows_of(
    measured: Iterable[MeasuredPair],
    mode: Mode,
    sides: tuple[Dump, Dump],
    judged: Mapping[tuple[str, str], Judged],
    references: References,
) -> list[Row]:
    """A row for each argument of each pair of calls; `judged` are the verdicts by call and argument name."""
    texts: dict[tuple[str, ...], str] = {}
    return [row for part in measured for row in _rows(part, mode, sides, judged, references, texts)]


def _rows(
    part: MeasuredPair,
    mode: Mode,
    sides: tuple[Dump, Dump],
    found: Mapping[tuple[str, str], Judged],
    references: References,
    texts: dict[tuple[str, ...], str],
) -> list[Row]:
    """The rows of one pair of calls; `texts` are the stacks joined so far, of which many calls have the same."""
    pair, npu = part.pair, sides[0]
    bench_module = module_at(pair.bench.name, sides[1]) if pair.bench is not None else ""
    module = module_at(pair.npu.name, npu) if pair.npu is not None else bench_module
    operator = part.call.operator if part.call is not None else ""
    classic = judge_rows(CallCells(operator, mode, pair.arguments, part.cells))
    ours = pair.npu.name if pair.npu is not None else ""
    frames = stack_of(part.call, npu) if part.call is not None else tuple(npu.stacks.get(ours, ()))
    stack = texts.get(frames) or texts.setdefault(frames, "\n".join(frames))
    theirs = pair.bench.name if pair.bench is not None else ""
    rows = []
    for argument, cells, judged in zip(pair.arguments, part.cells, classic, strict=True):
        located = found.get((ours, argument.name)) if part.call is not None else None
        messages = (pair.reason,) if pair.reason is not None else (*judged.messages, *_disagreement(judged, located))
        leaf = argument.npu
        expected = located.expected if located is not None else None
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
                err_message=messages,
                stack=stack,
                data_name=(leaf.data_name or "") if isinstance(leaf, TensorRecord) else "",
                expected=expected.relative if expected is not None else None,
                expected_from=expected.basis if expected is not None else "",
                excess=located.excess if located is not None else None,
                origin=located.role if located is not None else "",
                of_optimizer=part.call is not None and part.call.is_optimizer,
                module=module,
                bench_module=bench_module if pair.bench is not None and bench_module != module else "",
                reference=references.get((ours, argument.name)),
            )
        )
    return rows


def _joined(call: str, argument: str) -> str:
    return f"{call}.{argument}" if call and argument else ""


def _disagreement(classic: Classic, located: Judged | None) -> list[Message]:
    """Where the constant rules and the localisation part, the row says so."""
    if located is None:
        return []
    if located.role == "introduced" and classic.result == "pass":
        return [say("row.introduced")]
    if located.role in ("propagated", "absorbed") and classic.result in ("error", "warning"):
        return [say("row.explained", role=say(f"role.{located.role}"))]
    return []
