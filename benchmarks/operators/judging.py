"""What the comparison says of each case: the tensors that it accuses, and how large an error it would let pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from acc_compare.align.calls import align
from acc_compare.align.mapping_file import read_rules
from acc_compare.judge.noise import Noise
from acc_compare.judge.predicted import is_one_of_several
from acc_compare.judge.verdict import Setting, judge
from acc_compare.judge.walk import judged_calls
from acc_compare.load import mode_of
from acc_compare.measured.pairs import measure_pairs
from acc_compare.model import Finding
from dump.format.names import parse
from dump.format.reader import read_dump
from dump.format.schema import Dump

Tensor: TypeAlias = "tuple[str, str]"
"""The names of a call and of its argument."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`accused` maps the tensors in which a comparison sees error begin to their excess.  Of all that calls wrote,
    `errors` are the relative errors, `limits` those beyond which they are improbable (inf where nothing could be said),
    `sizes` the norms; `shifts` names the channel of systematic error that stands out."""

    finding: Finding
    accused: Mapping[Tensor, float]
    errors: Mapping[Tensor, float]
    limits: Mapping[Tensor, float]
    sizes: Mapping[Tensor, float]
    shifts: Mapping[Tensor, str]


def judgement(npu: Path, bench: Path) -> Judgement:
    """Compare two dumps as `acc compare` does."""
    return _judgement(read_dump(npu), read_dump(bench))


def mixed(npu: Path, other: Path, bench: Path, calls: frozenset[str]) -> Judgement:
    """The same, with the calls of these names from another recording of the NPU side."""
    ours, theirs = read_dump(npu), {call.name: call for call in read_dump(other).calls}
    records = tuple(theirs.get(call.name, call) if call.name in calls else call for call in ours.calls)
    return _judgement(replace(ours, calls=records), read_dump(bench))


def _judgement(npu: Dump, bench: Dump) -> Judgement:
    alignment = align(npu, bench, read_rules(None))
    mode = mode_of(alignment.npu, alignment.bench)
    measured = measure_pairs(alignment, mode)
    finding = judge(alignment, measured, mode, Setting())
    noise = Noise(judged_calls([part.call for part in measured if part.call is not None], by_module=False))
    errors: dict[Tensor, float] = {}
    limits: dict[Tensor, float] = {}
    sizes: dict[Tensor, float] = {}
    shifts: dict[Tensor, str] = {}
    for part in measured:
        if part.call is None:
            continue
        read = max((argument.relative for argument in part.call.read), default=0.0)
        for argument in part.call.wrote:
            key = (part.call.full_name, argument.name)
            expected = noise.expectation(*key)
            errors[key], sizes[key] = argument.relative, argument.norm
            if expected is not None and expected.is_shifted and expected.shift is not None:
                shifts[key] = expected.shift.channel
            if expected is not None:
                limits[key] = expected.limit
            else:
                limits[key] = 0.0 if read == 0.0 and not is_one_of_several(part.call, argument) else math.inf
    accused = {
        _tensor(row.npu_name): row.excess if row.excess is not None else math.inf
        for row in finding.rows
        if row.origin in ("introduced", "random")
    }
    return Judgement(finding, accused, errors, limits, sizes, shifts)


def _tensor(row_name: str) -> Tensor:
    """A row's name taken apart: `Torch.add.0.forward.output.0`."""
    for word in (".forward.", ".backward."):
        call, found, argument = row_name.partition(word)
        if found:
            return call + word[:-1], argument
    return row_name, ""


def operator_of(tensor: Tensor) -> str:
    """`Torch.add`, of a tensor of `Torch.add.0.forward`."""
    name = parse(tensor[0])
    return f"{name.prefix}.{name.api}"
