"""`python -m acc_compare`: the command `acc`."""

from __future__ import annotations

import sys
from pathlib import Path

# Python looks for modules in the present folder first: a dump.py there is the user's own.
_home = str(Path(__file__).resolve().parents[1])
sys.path.insert(0, _home)
from acc_compare.cli import main  # noqa: E402

sys.path.remove(_home)
if __name__ == "__main__":
    sys.exit(main())
