"""What `acc bench-ops` found: a page of text, and JSON that another installation can be held against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from acc_compare.messages import Value, count, say
from acc_compare.replay.operator_table import BenchedOperator, OperatorTable, exceeds, worse_than
from acc_compare.report.atomic_write import new_file
from acc_compare.report.i18n import quantity, text
from acc_compare.report.messages import Lang
from acc_compare.report.replay import FOLDER
from acc_compare.report.safe_text import one_line
from acc_compare.report.wrapping import table, wrap

_ROWS = 20
_HEAD = ("operator", "dtype", "samples", "wrong", "refused", "error", "explained", "ulp")


def table_text(ours: OperatorTable, theirs: OperatorTable | None = None, *, lang: Lang = "en") -> str:
    """One page: is this installation sound, the operators that are wrong or nearest to it, and what is worse than in
    the other table."""
    made = sum(row.samples for row in ours.operators)
    values: dict[str, Value] = {
        "samples": count(made, "sample"),
        "operators": len({row.operator for row in ours.operators}),
        "device": ours.device,
        "torch": one_line(ours.torch),
    }
    if ours.wrong:
        values["wrong"] = len(ours.wrong)
    blocks = [wrap(text(say(f"bench_ops.{'wrong' if ours.wrong else 'sound'}", **values), lang))]
    blocks.append(table([_HEAD, *(_cells(row) for row in exceeds(ours.operators)[:_ROWS])]))
    refused = [row for row in ours.operators if row.refused and not row.samples]
    if refused:
        told = say("bench_ops.refused", number=len(refused), first=refused[0].operator, why=one_line(refused[0].reason))
        blocks.append(wrap(text(told, lang)))
    if theirs is not None:
        worse = worse_than(ours, theirs)
        told = say(
            f"bench_ops.{'worse' if worse else 'no_worse'}", number=len(worse), device=theirs.device, torch=theirs.torch
        )
        blocks.append(wrap(text(told, lang)))
        if worse:
            lines = [(*_HEAD, "there")]
            lines += [(*_cells(here), quantity(there.relative)) for here, there in worse[:_ROWS]]
            blocks.append(table(lines))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _cells(row: BenchedOperator) -> tuple[str, str, str, str, str, str, str, str]:
    errors = [quantity(row.relative), quantity(row.limit), "" if row.ulp is None else quantity(row.ulp)]
    return (
        one_line(row.operator),
        row.dtype,
        f"{row.samples:,}",
        f"{row.wrong:,}",
        f"{row.refused:,}",
        errors[0],
        errors[1],
        errors[2],
    )


def write_table(found: OperatorTable, out_dir: Path, *, timestamp: str) -> Sequence[Path]:
    """Write `out_dir`/replay/bench_ops_<time>.json and .txt.  Raises OutputError."""
    base = out_dir / FOLDER / f"bench_ops_{timestamp}"
    for suffix, content in (
        (".json", msgspec.json.format(msgspec.json.encode(found), indent=1)),
        (".txt", table_text(found).encode("utf-8", "replace")),
    ):
        with new_file(base.with_suffix(suffix)) as draft:
            draft.write_bytes(content)
    return base.with_suffix(".json"), base.with_suffix(".txt")
