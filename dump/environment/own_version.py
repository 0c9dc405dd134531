"""Which release of ours is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """As `0.2.0`; `unknown` in a source tree that is not installed."""
    try:
        return version("acc-compare")
    except PackageNotFoundError:
        return "unknown"
