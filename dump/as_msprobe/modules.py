"""Puts modules under msprobe's names where `import` finds them, in this process and in those that it starts.

What a module holds is imported when it is asked for: `import msprobe` costs nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from .names import MODULES, NAMES_OF_TORCH_NPU, OF_TORCH_NPU, VERSION

SWITCH = "ACC_AS_MSPROBE"
"""An environment variable: 1 does what `--as-msprobe` does."""

FLAGS = "ACC_AS_MSPROBE_FLAGS"
"""Set for processes that are started: what the command line asked for, as JSON."""

VARIABLES = (SWITCH, FLAGS, "PYTHONPATH")
"""What `answer_in_children` sets."""

TOP = "msprobe"
FOLDER = Path(__file__).parent / "path"
"""Holds a package `msprobe` that answers by this module: for the import paths of processes that are started."""


class AnsweringModule(ModuleType):
    """A module of msprobe's by name; each thing in it is one of ours, imported when it is first asked for."""

    def __init__(self, name: str, homes: Mapping[str, str]) -> None:
        super().__init__(name, f"{name}, answered by acc (docs/msprobe.md).")
        is_package = any(other.startswith(f"{name}.") for other in MODULES)
        self.__spec__ = ModuleSpec(name, None, origin="acc", is_package=is_package)
        self.__package__ = name if is_package else name.rpartition(".")[0]
        if is_package:
            self.__path__: list[str] = []
        self.__all__ = list(homes)
        self._homes = dict(homes)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._homes:
            raise AttributeError(f"module {self.__name__!r}, answered by acc, has no attribute {name!r}")
        module, _, attribute = self._homes[name].partition(":")
        value = getattr(importlib.import_module(module), attribute)
        setattr(self, name, value)
        return value


def answer(*, at_once: bool = False) -> None:
    """From here on `import msprobe` and what lies below it is answered by us, in this process.

    With `at_once` what belongs to the recorder is imported now: a script may have a package `dump` of its own.
    """
    if not is_answered():
        for name, homes in MODULES.items():
            module = AnsweringModule(name, homes)
            if name == TOP:
                module.__dict__["__version__"] = VERSION
            sys.modules[name] = module
            parent, _, last = name.rpartition(".")
            if parent and last not in MODULES[parent]:  # `msprobe.pytorch.compare` is a package and a function
                setattr(sys.modules[parent], last, module)
    answer_torch_npu()
    if at_once:
        for name, homes in MODULES.items():
            for each, home in homes.items():
                if home.startswith("dump."):
                    getattr(sys.modules[name], each)


def is_answered() -> bool:
    """Does `import msprobe` in this process find us?"""
    return isinstance(sys.modules.get(f"{TOP}.pytorch"), AnsweringModule)


def answer_torch_npu() -> None:
    """`from torch_npu.contrib.monitor import TrainerMon` works, whether torch_npu is there or not.

    `import torch_npu` is not touched: whoever asks whether it is installed gets the true answer.
    """
    if OF_TORCH_NPU not in sys.modules and not _torch_npu_has_it():
        sys.modules[OF_TORCH_NPU] = AnsweringModule(OF_TORCH_NPU, NAMES_OF_TORCH_NPU)


def _torch_npu_has_it() -> bool:
    spec = PathFinder.find_spec("torch_npu")
    places = spec.submodule_search_locations if spec is not None else None
    return any(next(Path(place, "contrib").glob("monitor*"), None) is not None for place in places or ())


def answer_in_children(flags: Mapping[str, object]) -> dict[str, str]:
    """The variables under which a Python process that is started answers to msprobe's names too.

    `flags` are what the command line asked for; they win there as here.
    """
    path = os.environ.get("PYTHONPATH", "")
    roots = [str(FOLDER), str(Path(__file__).parents[2])]
    return {
        SWITCH: "1",
        FLAGS: json.dumps({name: value for name, value in flags.items() if value is not None}),
        "PYTHONPATH": os.pathsep.join([*roots, *([path] if path else [])]),
    }


def is_asked_for() -> bool:
    """Does the environment ask for it?"""
    return os.environ.get(SWITCH, "") not in ("", "0")
