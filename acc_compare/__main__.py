"""`python -m acc_compare`: the command `acc`."""

from __future__ import annotations

import os
import sys

# Python looks for modules in the present folder first: a dump.py there is the user's own.
_home = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, _home)
from dump import working_folder  # noqa: E402

sys.path.remove(_home)
working_folder.leave()
from acc_compare.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
