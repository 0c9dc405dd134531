"""msprobe's names, answered by acc (docs/msprobe.md).  `pip uninstall acc-msprobe-shim` takes them away."""

from importlib.metadata import PackageNotFoundError, version

try:
    version("mindstudio-probe")
except PackageNotFoundError:
    pass
else:
    raise ImportError("acc-msprobe-shim and mindstudio-probe are both installed: uninstall both, and install one again")

try:
    from dump.as_msprobe.modules import answer
except ModuleNotFoundError as error:
    raise ImportError(
        f"acc-msprobe-shim: acc is not installed, or the script has a module 'dump' of its own ({error})"
    ) from error

answer()
