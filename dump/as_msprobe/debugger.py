"""`PrecisionDebugger` for those who import it from msprobe: the same class, told that its files were written for that.

A framework's config.json is passed on by people who cannot change it, so what msprobe passes over is told and passed
over.  The header of every dump names msprobe's interface.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..debugger import Outer, PrecisionDebugger
from ..environment import versions
from .modules import FLAGS
from .names import VERSION

__all__ = ["PrecisionDebugger"]


def _of_the_command() -> Outer:
    """What the command line of a process above this one asked for."""
    try:
        flags = json.loads(os.environ.get(FLAGS, "{}"))
    except ValueError:
        return Outer()
    if not isinstance(flags, dict):
        return Outer()
    path = flags.pop("config_path", None)
    return Outer(flags, None if path is None else Path(path))


PrecisionDebugger.as_msprobe = True
if PrecisionDebugger.outer == Outer():
    PrecisionDebugger.outer = _of_the_command()
versions.called_as(f"msprobe {VERSION}")
