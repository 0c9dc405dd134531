"""The commands: `acc dump`, `acc env`, `acc monitor`, and how they run a script.

Importing this imports no torch, so that `--help` is quick.
"""

from __future__ import annotations

from .command import add_to, guarded, main, tell_version
from .environment_command import add_to as add_environment_to
from .monitor_command import make_app as monitor_app

__all__ = ["add_environment_to", "add_to", "guarded", "main", "monitor_app", "tell_version"]
