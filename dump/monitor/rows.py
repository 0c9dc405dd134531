"""What a step has to show: labels and numbers, of the kinds that `format.monitor_files` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..format.monitor_files import Kind

Number: TypeAlias = "int | float"
Value: TypeAlias = "int | float | str | None"


@dataclass(frozen=True, slots=True)
class Label:
    """Whose numbers these are.  `micro_step` is None for what is measured once a step."""

    kind: Kind
    vpp_stage: int
    name: str
    micro_step: int | None = None

    def tag(self, rank: int) -> str:
        """As msprobe tags it: `0:layers.0.fc1.input:0/rank0/actv`."""
        micro = "" if self.micro_step is None else f":{self.micro_step}"
        return f"{self.vpp_stage}:{self.name}{micro}/rank{rank}/{self.kind.task}"


@dataclass(frozen=True, slots=True)
class Row:
    """`values` in the order of the columns of its kind: the configured ops, then the kind's extra ones."""

    label: Label
    values: tuple[Value, ...]


def columns(kind: Kind, ops: tuple[str, ...]) -> tuple[str, ...]:
    """What follows the label in a row of this kind."""
    return (*ops, *kind.extra)
