"""Where modules are imported from while `python -m` runs ours: it puts the working folder first, and what lies there
under a name of Python's own, a random.py, is the user's and nothing that torch or we mean to import.

Everything that this imports is there before a place is looked at.
"""

from __future__ import annotations

import os
import sys


def leave() -> None:
    """Take the working folder from the places to import from; to the end, where it is what we are imported from."""
    if getattr(sys.flags, "safe_path", False) or not sys.path:
        return
    if os.path.realpath(sys.path[0]) == os.path.realpath(os.getcwd()):
        first = sys.path.pop(0)
        if os.path.realpath(first) == os.path.dirname(os.path.dirname(os.path.realpath(__file__))):
            sys.path.append(first)
