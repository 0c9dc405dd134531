"""`logger` of msprobe: what callers write to it goes to stderr, as ours does."""

from __future__ import annotations

import sys
from typing import Any

from ..environment import device


class MsprobeLogger:
    """Has the methods of msprobe's logger; those that end in `_on_rank_0` are silent on other ranks."""

    def _write(self, text: object, *_: Any) -> None:
        print(f"msprobe (acc): {text}", file=sys.stderr, flush=True)

    info = warning = error = critical = _write

    def debug(self, text: object, *_: Any) -> None:
        """Nothing: nobody has asked for it."""

    def _on_rank_0(self, text: object, *_: Any) -> None:
        if (device.current_rank() or 0) == 0:
            self._write(text)

    info_on_rank_0 = warning_on_rank_0 = error_on_rank_0 = _on_rank_0
    debug_on_rank_0 = debug


logger = MsprobeLogger()
