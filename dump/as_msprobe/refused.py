"""Names of msprobe's that can be imported, and that are not done here: each says what to use instead.

What only looks at a run is told and passed over; what a script would wait for raises ConfigError.
"""

from __future__ import annotations

from typing import Any, NoReturn

from ..format.errors import ConfigError
from .logging import logger
from .names import VERSION


def get_version_info() -> str:
    """Who answers to the name of msprobe."""
    return f"msprobe {VERSION}: the names of msprobe, answered by acc"


def _refuse(name: str, instead: str) -> NoReturn:
    raise ConfigError(f"{name}: is not done by acc, which answers to msprobe's names here. {instead}")


class AclGraphDumper:
    """msprobe's recorder of captured NPU graphs."""

    def __init__(self, *_: Any, **__: Any) -> None:
        _refuse(
            "AclGraphDumper",
            "Operators of a captured graph run without Python and are not recorded: run without graphs"
            " (enforce_eager=True, cudagraph_mode NONE).",
        )


def acl_save(*_: Any, **__: Any) -> NoReturn:
    """msprobe's way to save a tensor from a captured graph."""
    _refuse("acl_save", "Run without graphs, and use PrecisionDebugger.save.")


def set_ge_dump_config(*_: Any, **__: Any) -> NoReturn:
    """msprobe's settings for dumps of GE graphs."""
    _refuse("set_ge_dump_config", "Run the model without torchair; its calls are recorded then.")


def set_fx_dump_config(*_: Any, **__: Any) -> NoReturn:
    """msprobe's settings for dumps of FX graphs."""
    _refuse("set_fx_dump_config", "Run the model without torchair; its calls are recorded then.")


def random_save(output_path: str = "./output") -> None:
    """msprobe writes where random numbers are drawn; here such calls are recorded with all others."""
    logger.warning("random_save does nothing: calls that draw random numbers stand in the dump, with stacks.")


class ConfigChecker:
    """msprobe collects the settings of a run; here they stand in the header of every dump, and are compared there."""

    _SAYS = (
        "ConfigChecker packs nothing: settings and versions stand in each dump's header, weights and batches among its"
        " calls; `acc compare` names those that differ."
    )

    def __init__(self, *_: Any, **__: Any) -> None:
        logger.warning(self._SAYS)

    @staticmethod
    def apply_patches(*_: Any, **__: Any) -> None:
        logger.warning(ConfigChecker._SAYS)


class PrecisionChecker:
    """msprobe's comparison of compiled modules with the same modules run eagerly."""

    def __init__(self, *_: Any, **__: Any) -> None:
        _refuse("PrecisionChecker", "Record with and without torch.compile, and give both dumps to acc compare.")
