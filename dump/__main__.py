"""`python -m dump` is `acc dump`, so that launchers which take a module work: `torchrun -m dump train.py`."""

from __future__ import annotations

import sys

from . import working_folder

working_folder.leave()
from .cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
