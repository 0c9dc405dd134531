"""The import names of msprobe, for frameworks that call it where nobody can edit them (docs/msprobe.md).

`names` says which name is answered by what, `modules` puts them where `import` looks, `debugger`, `seeding`, `saving`
and `refused` hold what is done in msprobe's way and not in ours.  Importing this imports no torch.
"""

from __future__ import annotations

from .modules import (
    FOLDER,
    SWITCH,
    TOP,
    VARIABLES,
    answer,
    answer_in_children,
    answer_torch_npu,
    is_answered,
    is_asked_for,
)
from .names import VERSION

__all__ = [
    "FOLDER",
    "SWITCH",
    "TOP",
    "VARIABLES",
    "VERSION",
    "answer",
    "answer_in_children",
    "answer_torch_npu",
    "is_answered",
    "is_asked_for",
]
