"""By how much a change of its inputs moves what each operator makes: no reference is needed.

`bit` flips the last bit of each element, `noise` moves each by up to a few roundings at random, `upcast` makes the call
in the next wider type.  The result is held against the run's own.  The amplification is the relative change of the
result over that of the inputs (over a rounding of the inputs' type for `upcast`): what a rounding anywhere before this
call costs behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from acc_compare import operators
from acc_compare.replay.accuracy import distance
from acc_compare.replay.arguments import Builder, Setting, from_contents, load
from acc_compare.replay.calls import FAILED, Recorded, make
from acc_compare.replay.expected import written_by
from acc_compare.replay.judge import wanted_target
from acc_compare.replay.live import Sampled
from acc_compare.replay.names import CannotReplay
from acc_compare.replay.results import Response
from dump.format.names import FORWARD, parse
from dump.format.nested import nested_call
from dump.format.schema import NestedCall, TensorRecord
from dump.record.observer import Reaction, SeenCall

Perturbation: TypeAlias = Literal["bit", "noise", "upcast"]

_ROUNDINGS = 8.0
_WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


@dataclass(frozen=True, slots=True)
class _Change:
    setting: Setting
    size: float


class Sensitivity(Sampled):
    """Makes sampled calls again with changed inputs; `responses` are what that moved."""

    def __init__(self, kind: Perturbation, *, each: int, every: int) -> None:
        super().__init__(each, every)
        self.kind = kind
        self.responses: list[Response] = []

    def saw(self, call: SeenCall) -> Reaction:
        if parse(call.name).direction == FORWARD:
            record = nested_call(call.name, call.body, "the run")
            tensors = {place: from_contents(c) for place, c in call.tensors.items()}
            self.apart(lambda: self._look(record, tensors))
        return Reaction()

    def _look(self, record: NestedCall, tensors: dict[str, torch.Tensor]) -> None:
        def source(wanted: TensorRecord) -> torch.Tensor:
            found = tensors.get(wanted.data_name or "")
            return load(Path(), wanted) if found is None else found

        recorded = Recorded(record)
        try:
            target = wanted_target(recorded)
        except CannotReplay as refused:
            self.refused(record.name, refused.reason)
            return
        try:
            builder = recorded.builder(source)
            change = self._change(builder)
            if change is None:
                return
            made = make(target, recorded, builder, change.setting)
            if made.drew:
                return
            before = {place: source(tensor) for place, tensor in written_by(record)}
            found = [
                distance(after, before[place])
                for place, after in made.outputs.items()
                if place in before and after.is_floating_point() and after.shape == before[place].shape
            ]
        except (CannotReplay, *FAILED, Warning):
            return
        if found:
            moved = max(each.relative for each in found)
            nonfinite = any(each.nonfinite for each in found)
            parts = parse(record.name)
            self.responses.append(
                Response(
                    record.name, f"{parts.prefix}.{parts.api}", change.size, moved, nonfinite, self.step, self.rank
                )
            )

    def _change(self, builder: Builder) -> _Change | None:
        """The setting, and the relative size of the change of the inputs; None where nothing is there to change."""
        device = torch.device(self.device)
        plain = [tensor for _, tensor, _ in builder.arguments(Setting(device, guest=True)).tensors]
        floating = [tensor for tensor in plain if tensor.is_floating_point()]
        if not floating:
            return None
        unit = max(operators.roundoff([str(tensor.dtype)]) for tensor in floating)
        if self.kind == "upcast":
            wide = max((_WIDER.get(tensor.dtype, torch.float64) for tensor in floating), key=lambda t: t.itemsize)
            return _Change(Setting(device, wide, guest=True), unit)
        setting = Setting(device, guest=True, jitter=_ROUNDINGS * unit, bits=self.kind == "bit")
        changed = [tensor for _, tensor, _ in builder.arguments(setting).tensors]
        sizes = [
            distance(after.cpu(), before.cpu()).relative
            for before, after in zip(plain, changed, strict=True)
            if before.is_floating_point() and before.numel()
        ]
        return _Change(setting, max(sizes)) if max(sizes, default=0.0) else None
