"""What becomes of a script when nothing of ours can be begun under the torch that is installed: it runs by itself.

This imports neither torch nor what rests on it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from .said import say


def run_alone(error: Exception, arguments: Sequence[str], module: str | None) -> int:
    """Say what failed, run the script with Python as it is, and hand on its exit status; 2 where there is no script."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    if not arguments and module is None:
        say(f"error: nothing can be recorded with this torch ({reason})")
        return 2
    say(f"error: nothing is recorded, for something failed; the script runs by itself ({reason})")
    named = [] if module is None else ["-m", module]
    status = subprocess.run([sys.executable, *named, *arguments], check=False).returncode
    return status if status >= 0 else 128 - status
