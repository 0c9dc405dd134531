"""What a step has to show: labels, numbers, and the kinds of things that are watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Number: TypeAlias = "int | float"
Value: TypeAlias = "int | float | str | None"


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of row, and of file.  `task` is its name in tags, as msprobe's; `extra` are columns of its own.

    There is one object of each kind, so that it is hashed, with every label, at no cost.
    """

    name: str
    task: str
    extra: tuple[str, ...] = ()


GRAD_UNREDUCED = Kind("grad_unreduced", "pre_grad")
GRAD_REDUCED = Kind("grad_reduced", "post_grad")
ACTV = Kind("actv", "actv")
ACTV_GRAD = Kind("actv_grad", "actv_grad")
EXP_AVG = Kind("exp_avg", "exp_avg")
EXP_AVG_SQ = Kind("exp_avg_sq", "exp_avg_sq")
PARAM_ORIGIN = Kind("param_origin", "param_origin")
PARAM_UPDATED = Kind("param_updated", "param_updated")
OTHER = Kind("other", "mg_direction")
ADAM_UPDATE = Kind("adam_update", "adam_update", ("histogram",))
ADAM_RATIO = Kind("adam_ratio", "adam_ratio", ("histogram",))
CC = Kind("cc", "cc")

KINDS = (
    *(GRAD_UNREDUCED, GRAD_REDUCED, ACTV, ACTV_GRAD, EXP_AVG, EXP_AVG_SQ),
    *(PARAM_ORIGIN, PARAM_UPDATED, OTHER, ADAM_UPDATE, ADAM_RATIO, CC),
)


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
