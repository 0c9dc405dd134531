"""`python -m acc_compare`: the command `acc`."""

from __future__ import annotations

import sys

from acc_compare.cli import main

sys.exit(main())
