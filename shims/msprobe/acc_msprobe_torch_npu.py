"""Lets `from torch_npu.contrib.monitor import TrainerMon` be answered by acc; run by a .pth file when Python starts.

Nothing of acc is imported before the name is asked for, and torch_npu itself neither is nor seems installed by it.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_NAME = "torch_npu.contrib.monitor"


class _Monitor(ModuleType):
    __all__ = ("TrainerMon",)

    def __getattr__(self, name):
        if name != "TrainerMon":
            raise AttributeError(f"module {_NAME!r}, answered by acc, has no attribute {name!r}")
        from dump.monitor.trainer import TrainerMon

        self.TrainerMon = TrainerMon
        return TrainerMon


def answer():
    spec = PathFinder.find_spec("torch_npu")
    places = spec.submodule_search_locations if spec is not None else None
    if any(next(Path(place, "contrib").glob("monitor*"), None) is not None for place in places or ()):
        return
    module = _Monitor(_NAME)
    module.__spec__ = ModuleSpec(_NAME, None, origin="acc")
    sys.modules.setdefault(_NAME, module)


answer()
