"""`python -m dump.monitor` is `acc monitor`, so that launchers which take a module work."""

from __future__ import annotations

import sys

from .. import working_folder

working_folder.leave()
from ..cli.monitor_command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
