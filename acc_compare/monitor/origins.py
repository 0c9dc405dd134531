"""Where two runs part: the earliest cells that noise cannot explain, and what kind of thing happened there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acc_compare.monitor.distances import Distances
from acc_compare.monitor.model import Furthest, Origin, OriginKind
from acc_compare.monitor.noise import DRIVEN, FIRST_GROWTH, GRADIENTS, Expected
from acc_compare.monitor.tables import Pair, label
from acc_compare.report.i18n import quantity

PHASES = {
    "param_origin": 0,
    "exp_avg": 1,
    "exp_avg_sq": 1,
    "actv": 2,
    "actv_grad": 3,
    "grad_unreduced": 4,
    "cc": 5,
    "grad_reduced": 6,
    "other": 7,
    "adam_update": 7,
    "adam_ratio": 7,
    "param_updated": 8,
}
"""What is measured of a step, in the order in which it comes to be (docs/monitor.md)."""

JUDGED_LAST = 9
_MOST_ALIKE = 12
_EVERYWHERE = 0.8
_BY_FAR = 0.02
_COARSE = 2e-4  # rounding to float16 gives 3e-4 of each element, to bfloat16 2e-3


@dataclass(frozen=True, slots=True)
class Parting:
    """The first step at which a table shows what noise cannot explain, and the series that do, worst first.

    `apart` and `limit` (m,) belong to `members`; `is_bad` where NaN or Inf is on one side only, `bad_on_npu` for which.
    """

    table: str
    rank: int
    step: int
    place: int
    members: tuple[int, ...]
    names: tuple[str, ...]
    apart: tuple[float, ...]
    limit: tuple[float, ...]
    is_bad: bool
    bad_on_npu: bool
    series: int
    is_first: bool
    later_finite: bool
    dtypes: tuple[str, str]


def partings(pair: Pair, distances: Distances, expected: Expected, *, rank: int) -> list[Parting]:
    """The first step of a table with a cell beyond its limit or a series that stands out from its kin, and the first
    with NaN or Inf on one side alone, as far as there are any."""
    lone = distances.bad_npu ^ distances.bad_bench
    beyond = ((expected.apart > expected.limit) | expected.standing) & ~distances.bad_npu & ~distances.bad_bench
    found = []
    for cells, is_bad in ((lone, True), (beyond, False)):
        columns = cells.any(axis=0)
        if columns.any():
            place = int(columns.argmax())
            rows = np.flatnonzero(cells[:, place])
            found.append(_parting(pair, distances, expected, rows, place=place, is_bad=is_bad, rank=rank))
    return found


def _parting(
    pair: Pair,
    distances: Distances,
    expected: Expected,
    rows: npt.NDArray[np.int64],
    *,
    place: int,
    is_bad: bool,
    rank: int,
) -> Parting:
    excess = np.nan_to_num(expected.excess[rows, place], nan=0.0)
    # A NaN runs backward from the loss: of several that appear together the last in the model came first.
    order = rows[::-1] if is_bad else rows[np.argsort(-excess, kind="stable")]
    first = order[0]
    bad_on_npu = is_bad and bool(distances.bad_npu[first, place])
    side = distances.bad_npu if bad_on_npu else distances.bad_bench
    return Parting(
        table=pair.kind,
        rank=rank,
        step=int(pair.steps[place]),
        place=place,
        members=tuple(int(row) for row in order),
        names=tuple(label(pair.keys[row]) for row in order[:_MOST_ALIKE]),
        apart=tuple(float(value) for value in expected.apart[order, place]),
        limit=tuple(float(value) for value in expected.limit[order, place]),
        is_bad=is_bad,
        bad_on_npu=bad_on_npu,
        series=len(pair.keys),
        is_first=place == 0,
        later_finite=is_bad and place + 1 < len(pair.steps) and not side[:, place + 1 :].any(),
        dtypes=_dtypes(pair, int(first)),
    )


def _dtypes(pair: Pair, row: int) -> tuple[str, str]:
    name = pair.keys[row][1]
    return pair.npu.tensors.dtypes.get(name, ""), pair.bench.tensors.dtypes.get(name, "")


def earliest(found: Sequence[Parting]) -> tuple[list[Parting], list[Parting]]:
    """The partings that come first, and those that may follow from them, each in the order of time.

    Time is the step, then what comes first within a step, then the rank.  The first moment's come first; and the first
    NaN or Inf, whenever it is, because noise explains none.
    """
    ordered = sorted(found, key=lambda part: (*_moment(part), part.rank))
    if not ordered:
        return [], []
    first = [part for part in ordered if _moment(part) == _moment(ordered[0])]
    first += [part for part in ordered if part.is_bad and part not in first][: 0 if any(p.is_bad for p in first) else 1]
    return first, [part for part in ordered if part not in first]


def _moment(part: Parting) -> tuple[int, int]:
    return part.step, PHASES.get(part.table, JUDGED_LAST)


def furthest(pair: Pair, distances: Distances, expected: Expected, step: int) -> Furthest | None:
    """Which series of a table is furthest apart at a step; None where it has no such step, or all are equal."""
    place = int(np.searchsorted(pair.steps, step))
    telling = np.flatnonzero(~expected.null.any(axis=1))
    if place >= len(pair.steps) or pair.steps[place] != step or not len(telling):
        return None
    apart = np.nan_to_num(distances.apart[telling, place], nan=0.0)
    worst = int(apart.argmax())
    if apart[worst] == 0:
        return None
    return Furthest(label(pair.keys[telling[worst]]), float(apart[worst]), float(np.median(apart)))


def origin_of(
    part: Parting, watched: Sequence[str], later: Sequence[Parting] = (), parameters: Furthest | None = None
) -> Origin:
    """The parting as a finding: of what kind it is depends on what else was watched and agreed until then.

    `parameters` says which parameter was furthest apart when the step began, as far as that was watched.
    """
    kind = _kind(part, watched)
    apart = None if part.is_bad else part.apart[0]
    return Origin(
        kind=kind,
        name=part.names[0],
        table=part.table,
        step=part.step,
        rank=part.rank,
        apart=apart,
        expected=None if part.is_bad else part.limit[0],
        message=_message(part, kind, watched, parameters),
        alike=part.names[1:],
        alike_count=len(part.members) - 1,
        series=part.series,
        spread=_spread(later),
        advice=_advice(part, kind, watched, parameters),
    )


def _spread(later: Sequence[Parting]) -> str:
    return "; ".join(f"{part.table} from step {part.step} on ({len(part.members):,} series)" for part in later[:4])


def _kind(part: Parting, watched: Sequence[str]) -> OriginKind:
    if part.is_bad:
        return "nan_inf"
    if part.is_first:
        if part.table in ("param_origin", "exp_avg", "exp_avg_sq"):
            return "input"
        if _is_everywhere(part) and _median(part) > _BY_FAR:
            return "input"
        if _is_everywhere(part) and (part.dtypes[0] != part.dtypes[1] or _median(part) > _COARSE):
            return "dtype"
    if part.table in DRIVEN:
        return "optimizer"
    if part.table in ("actv", "actv_grad"):
        return "activation"
    if part.table == "cc" or (part.table == "grad_reduced" and "grad_unreduced" in watched):
        return "communication"
    return "gradient"


def _stands_out(parameters: Furthest | None) -> bool:
    return parameters is not None and parameters.apart > FIRST_GROWTH * parameters.median


def _is_everywhere(part: Parting) -> bool:
    return len(part.members) >= _EVERYWHERE * part.series


def _median(part: Parting) -> float:
    return float(np.median(part.apart))


def _message(part: Parting, kind: OriginKind, watched: Sequence[str], parameters: Furthest | None) -> str:
    what = TABLES.get(part.table, part.table)
    if kind == "nan_inf":
        side, other = ("NPU", "bench") if part.bad_on_npu else ("bench", "NPU")
        count = len(part.members)
        many = f" and in {count - 1:,} more of {part.series:,} at the same step" if count > 1 else ", and in no other"
        again = " It is finite again afterwards, as when a loss scaler skips a step." if part.later_finite else ""
        return f"{what}: NaN or Inf on the {side} side only{many}; the {other} side is finite.{again}"
    apart, limit = quantity(part.apart[0]), quantity(part.limit[0])
    size = f"{what} differs by {apart} of its size"
    normal = f"{limit} is the most that noise explains"
    where = "from the first step on" if part.is_first else f"at step {part.step} for the first time"
    return f"{size} {where}; {normal}. {_reading(part, kind, watched, parameters)}"


def _reading(part: Parting, kind: OriginKind, watched: Sequence[str], parameters: Furthest | None) -> str:
    share = f"{len(part.members):,} of {part.series:,} series part at once"
    if kind == "dtype":
        if part.dtypes[0] != part.dtypes[1]:
            return f"{share}: one side computes in {part.dtypes[0]}, the other in {part.dtypes[1]}."
        return f"{share}, about as far as when one side computes in bfloat16 or float16 throughout (autocast)."
    if kind == "input":
        if part.table in DRIVEN:
            return f"{share}: the runs do not start from the same state (another seed, another checkpoint)."
        return f"{share}, and by far: other data, another seed or other initial parameters, rather than an operator."
    if kind == "optimizer":
        if GRADIENTS & set(watched):
            return "The gradients agreed until then: what the optimizer made of them did not."
        return "No gradients were watched, so that they agreed until then is not known."
    if kind == "communication":
        return "Before they are reduced, unscaled and clipped the gradients agree."
    if kind == "activation":
        return "What was measured before it in the same step agrees."
    if part.is_first:
        return f"{share}. Nothing came before: the forward or the backward pass of this step."
    if "param_origin" in watched:
        if parameters is None:
            return f"{share}. The parameters were equal when the step began: its forward or backward pass."
        far = (
            f"{parameters.name} is {quantity(parameters.apart)} apart, the median of them {quantity(parameters.median)}"
        )
        if _stands_out(parameters):
            return f"{share}. The parameters were not: when the step began {far}. The update before it is suspect."
        return f"{share}. When the step began, of the parameters {far}: within noise. Its forward or backward pass."
    return (
        f"{share}. The step's own forward or backward pass, or the update of the step before it, which was not watched."
    )


def _advice(part: Parting, kind: OriginKind, watched: Sequence[str], parameters: Furthest | None) -> tuple[str, ...]:
    if kind == "input":
        return ("give both runs the same seed, data order and checkpoint, then compare again",)
    updated = kind == "gradient" and not part.is_first and _stands_out(parameters)
    if kind == "optimizer" or updated:
        name = parameters.name if updated and parameters is not None else part.names[0]
        module = name.rpartition(".")[0] or name
        return (f"compare learning rate, weight decay and betas of the parameter group that holds {module}",)
    advice = []
    if kind == "gradient" and not part.is_first and not {"param_origin", "param_updated"} & set(watched):
        advice.append(
            'watch the parameters too ("param_distribution": true): whether the update of step'
            f" {part.step - 1} parted them is then seen"
        )
    advice.append(
        f"record step {part.step} on both sides (with your script's arguments) and let acc compare name the operator:"
        f"\nacc dump -s --step {part.step} -o npu_dump train.py\nacc dump -s --step {part.step} -o bench_dump train.py"
        "\nacc compare npu_dump bench_dump"
    )
    return tuple(advice)


TABLES = {
    "param_origin": "its value before the update",
    "param_updated": "its value after the update",
    "grad_unreduced": "its gradient before reduction",
    "grad_reduced": "its gradient",
    "exp_avg": "its first moment",
    "exp_avg_sq": "its second moment",
    "actv": "its activation",
    "actv_grad": "the gradient of its activation",
    "other": "the direction of its moment and gradient",
    "adam_update": "its update",
    "adam_ratio": "its update's ratio",
    "cc": "what the collective handled",
}
"""What a row of a table is of a name."""
