"""The files of msprobe's second monitor: one for each of its monitors and stretch of steps, in a folder of the rank.

rank_0/weight_grad_step0-4.csv     vpp_stage,step,module_name,scope,micro_step,min,...
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...format.errors import OutputError
from ...format.monitor_files import (
    ACTV,
    ACTV_GRAD,
    CC,
    EXP_AVG,
    EXP_AVG_SQ,
    GRAD_REDUCED,
    GRAD_UNREDUCED,
    PARAM_ORIGIN,
    PARAM_UPDATED,
    Kind,
)
from ..rows import Row, Value
from .base import Rows

_SCOPES: dict[Kind, str] = {
    ACTV: "forward",
    ACTV_GRAD: "backward",
    GRAD_UNREDUCED: "unreduced",
    GRAD_REDUCED: "reduced",
    EXP_AVG: "exp_avg",
    EXP_AVG_SQ: "exp_avg_sq",
    PARAM_ORIGIN: "param_origin",
    PARAM_UPDATED: "param_updated",
    CC: "comm",
}
_NO_STAGE = -1


@dataclass(frozen=True, slots=True)
class MonitorFiles:
    """The writer of one monitor: `folder` is the rank's, `slug` the monitor's name, `first_step` where files begin.

    With `micro_steps` rows tell which of so many micro batches they are of; with `is_list` the model was handed in as
    a list of chunks, and names begin with the chunk's number.
    """

    folder: Path
    slug: str
    ops: tuple[str, ...]
    first_step: int = 0
    steps_per_file: int = 1
    micro_steps: int | None = None
    is_list: bool = False

    def write(self, step: int, rows: Rows) -> None:
        lines = [line for kind, members in rows.items() for line in self._lines(kind, members, step)]
        if not lines:
            return
        first = step - (step - self.first_step) % self.steps_per_file
        path = self.folder / f"{self.slug}_step{first}-{first + self.steps_per_file - 1}.csv"
        try:
            if not path.exists():
                lines.insert(0, self._header())
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(lines)
            with path.open("ab", buffering=0) as file:
                file.write(text.getvalue().encode("utf-8"))
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error

    def close(self) -> None:
        pass

    def _header(self) -> list[Value]:
        micro = [] if self.micro_steps is None else ["micro_step"]
        return ["vpp_stage", "step", "module_name", "scope", *micro, *self.ops]

    def _lines(self, kind: Kind, members: Sequence[Row], step: int) -> Iterator[list[Value]]:
        for row in members:
            label = row.label
            stage: Value = None if kind is CC else label.vpp_stage if self.is_list else _NO_STAGE
            name = _name(kind, label.name)
            if self.is_list and kind is not CC:
                name = f"{label.vpp_stage}:{name}"
            micro = [] if self.micro_steps is None else [self._micro_step(label.micro_step)]
            numbers = [math.nan if value is None else float(value) for value in row.values]
            yield [stage, step, name, _SCOPES[kind], *micro, *numbers]

    def _micro_step(self, counted: int | None) -> int | None:
        """From 1 on; what is measured once a step is of its last."""
        return self.micro_steps if counted is None else counted + 1


def _name(kind: Kind, name: str) -> str:
    """`fc1.input_1` of ours as `fc1.input.1`, `fc1.grad_input.1` of gradients; a moment's kind behind its parameter."""
    if kind in (EXP_AVG, EXP_AVG_SQ):
        return f"{name}.{kind.name}"
    if kind not in (ACTV, ACTV_GRAD):
        return name
    module, _, side = name.rpartition(".")
    side, _, index = side.partition("_")
    return f"{module}.{'grad_' if kind is ACTV_GRAD else ''}{side}.{index or 0}"
