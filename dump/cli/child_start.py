"""What a new Python of `multiprocessing` runs before all else, by this file's path: our package need not be importable
there by its name, and the user may have a `dump` of his own.  Whatever fails here, the child runs as it would alone.
"""

from __future__ import annotations

import sys
from typing import Any


def begin(handed: dict[str, Any]) -> None:
    """Record this process with what `children._Prepared` hands on."""
    sys.path.insert(0, handed["acc_root"])
    try:
        from dump.environment.torch_loading import load_torch

        load_torch()
        from dump.cli.children import begin_in_new_python

        begin_in_new_python(handed["acc_settings"])
    except Exception as error:
        print(f"acc dump: a child process is not recorded ({error})", file=sys.stderr)
    finally:
        sys.path.remove(handed["acc_root"])


if "acc_settings" in globals():  # run by its path, not imported
    begin(globals())
