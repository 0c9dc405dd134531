"""`acc compare A B` and `acc compare B A` say the same, with suspects that are each other's mirror."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from both_ways import same_both_ways

from acc_compare.align.calls import align
from acc_compare.judge.verdict import Setting, judge
from acc_compare.load import mode_of
from acc_compare.measured.pairs import measure_pairs
from acc_compare.model import Finding
from dump.format.errors import IncomparableError
from dump.format.reader import read_dump
from dump.format.schema import CallRecord, Dump, TensorRecord

SAMPLES = Path(__file__).parents[2] / "sample_dumps"
NAMES = sorted({path.relative_to(SAMPLES).parts[0] for path in SAMPLES.rglob("dump.json")})


@cache
def sample(name: str) -> Dump:
    return read_dump(next((SAMPLES / name).rglob("dump.json")).parent)


def finding(npu: Dump, bench: Dump) -> Finding | None:
    """None where the two cannot be compared."""
    try:
        mode = mode_of(npu, bench)
    except IncomparableError:
        return None
    alignment = align(npu, bench)
    return judge(alignment, measure_pairs(alignment, mode), mode, Setting())


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(NAMES, 2)))
def test_samples_both_ways_round(one: str, other: str) -> None:
    forth, back = finding(sample(one), sample(other)), finding(sample(other), sample(one))
    same_both_ways(forth, back)


def changed(dump: Dump, *, foreign: bool = False, backward: float = 0.0, forward: float = 0.0) -> Dump:
    """A dump as msprobe writes it, without what only our recorder knows; with results off by a factor."""

    def leaf(record: Any, factor: float) -> Any:
        if not isinstance(record, TensorRecord):
            return record
        fields: dict[str, Any] = {}
        if factor and record.norm is not None:
            fields |= {
                name: value * (1 + factor)
                for name in ("norm", "max", "min", "mean")
                if isinstance(value := getattr(record, name), float)
            }
        if foreign:
            fields |= {"sketch": None, "nan": None, "inf": None, "value": None, "storage": None}
        return msgspec.structs.replace(record, **fields)

    def call(record: CallRecord) -> CallRecord:
        factor = backward if record.name.endswith("backward") else forward

        def group(arguments: Any, size: float) -> Any:
            return tuple(msgspec.structs.replace(each, leaf=leaf(each.leaf, size)) for each in arguments)

        return msgspec.structs.replace(
            record,
            inputs=group(record.inputs, backward if record.name.endswith("backward") else 0.0),
            outputs=group(record.outputs, factor),
            parameters=group(record.parameters, 0.0),
            written=group(record.written, 0.0),
        )

    header = dump.header
    if foreign:
        header = replace(header, format_version=None, sketch=None)
    return replace(dump, header=header, calls=tuple(map(call, dump.calls)))


@pytest.mark.parametrize("name", ["healthy", "gelu_in_bfloat16", "softmax_backward_scaled", "nan_in_layer_norm"])
@pytest.mark.parametrize("backward", [0.0, 2e-6, 1e-3])
@pytest.mark.parametrize("forward", [0.0, 1e-5])
def test_a_dump_without_sketches_both_ways_round(name: str, backward: float, forward: float) -> None:
    ours = sample("bench_statistics")
    theirs = changed(sample(name), foreign=True, backward=backward, forward=forward)
    same_both_ways(finding(theirs, ours), finding(ours, theirs))
