"""What a monitored run leaves: one folder a rank and start, one csv a kind and stretch of steps, one monitor.json.

    Nov22_13-26-22-rank0/monitor.json
    Nov22_13-26-22-rank0/grad_reduced_5-9.csv     vpp_stage,name,step[,micro_step],norm,min,...

Names and columns are those of msprobe's TrainerMon, whose files are read too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MONITOR_FORMAT_VERSION = 1
META_FILE = "monitor.json"

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""In the names of folders, whatever the locale."""

STAMP = r"([A-Z][a-z]{2})(\d\d)_(\d\d)-(\d\d)-(\d\d)"
"""When a run began: month, day, hour, minute, second."""

RUN_FOLDER = re.compile(rf"{STAMP}-rank(\d{{1,5}})(?:-(\w+))?", re.ASCII)
"""Five groups of the stamp, the rank, and what tells apart two starts in one second."""

STEP_FILE = re.compile(r"([a-z][a-z_]{0,40}?)_(\d{1,15})-(\d{1,15})\.csv", re.ASCII)
"""The kind of its rows, its first and its last step."""

STAGE, NAME, STEP, MICRO_STEP = "vpp_stage", "name", "step", "micro_step"
LABEL_COLUMNS = (STAGE, NAME, STEP, MICRO_STEP)
"""Whose numbers a row holds; `micro_step` stands only in files of what is measured several times a step."""

NOT_NUMBERS = frozenset({*LABEL_COLUMNS, "shape", "dtype", "sketch", "histogram", "id"})


def step_file(kind: str, first: int, last: int, *, suffix: str = ".csv") -> str:
    """`grad_reduced_5-9.csv`."""
    return f"{kind}_{first}-{last}{suffix}"


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of row, and of file.  `task` is its name in tags, as msprobe's; `extra` are columns of its own.

    There is one object of each kind, so that it is hashed, with every label, at no cost.
    """

    name: str
    task: str
    meaning: str
    extra: tuple[str, ...] = ()


GRAD_UNREDUCED = Kind("grad_unreduced", "pre_grad", "a weight's gradient as this rank's own backward left it")
GRAD_REDUCED = Kind("grad_reduced", "post_grad", "a weight's gradient as the optimizer reads it")
ACTV = Kind("actv", "actv", "what a module read and returned")
ACTV_GRAD = Kind("actv_grad", "actv_grad", "the gradients of both")
EXP_AVG = Kind("exp_avg", "exp_avg", "the optimizer's first moment")
EXP_AVG_SQ = Kind("exp_avg_sq", "exp_avg_sq", "the optimizer's second moment")
PARAM_ORIGIN = Kind("param_origin", "param_origin", "a weight before the step")
PARAM_UPDATED = Kind("param_updated", "param_updated", "a weight after it")
OTHER = Kind("other", "mg_direction", "how far a gradient points where the moment does")
ADAM_UPDATE = Kind("adam_update", "adam_update", "what Adam adds to a weight", ("histogram",))
ADAM_RATIO = Kind("adam_ratio", "adam_ratio", "the first moment over the root of the second", ("histogram",))
CC = Kind("cc", "cc", "the tensors of a collective, before and after it")

KINDS = (
    *(GRAD_UNREDUCED, GRAD_REDUCED, ACTV, ACTV_GRAD, EXP_AVG, EXP_AVG_SQ),
    *(PARAM_ORIGIN, PARAM_UPDATED, OTHER, ADAM_UPDATE, ADAM_RATIO, CC),
)
