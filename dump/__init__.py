"""Record what every operator of a PyTorch run saw and produced.

    from dump import PrecisionDebugger

    debugger = PrecisionDebugger(config_path="config.json")
    debugger.start(model)
    ...one training step...
    debugger.stop()
    debugger.step()

The public names are handed out lazily (PEP 562): `import dump` imports no torch.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing imports re, and what runs us as a module has the user's working folder first
if TYPE_CHECKING:
    from typing import Any

    from .debugger import PrecisionDebugger, module_dump, module_dump_end
    from .environment.seeding import seed_all
    from .intercept.custom import register_custom_api, register_custom_ops, restore_custom_api, restore_custom_ops
    from .monitor.trainer import TrainerMon

__all__ = [
    "PrecisionDebugger",
    "TrainerMon",
    "module_dump",
    "module_dump_end",
    "register_custom_api",
    "register_custom_ops",
    "restore_custom_api",
    "restore_custom_ops",
    "seed_all",
]

_HOMES = {
    "PrecisionDebugger": "debugger",
    "TrainerMon": "monitor.trainer",
    "module_dump": "debugger",
    "module_dump_end": "debugger",
    "register_custom_api": "intercept.custom",
    "register_custom_ops": "intercept.custom",
    "restore_custom_api": "intercept.custom",
    "restore_custom_ops": "intercept.custom",
    "seed_all": "environment.seeding",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from .environment.own_version import own_version

        return own_version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from .environment.torch_loading import load_torch

    load_torch()
    try:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    except Exception as error:  # a torch in which something is not where it was
        if name == "seed_all":  # without which the run would be another one
            raise
        from .unrecorded import stand_in

        return stand_in(name, error)
