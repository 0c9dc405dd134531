"""The native core, which is optional: where no compiler is, the package installs without it and works in Python.

All else that setuptools needs to know stands in pyproject.toml, which cannot say where headers lie and which Pythons a
wheel serves.
"""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

_AT_START = ("acc_compare/at_start.pth", "acc_compare.pth")
"""In the tree, and beside the packages where Python reads it."""

# No -march: a wheel runs on any machine of its kind (build.h picks at run time).  Products and sums are not fused, so
# that they round alike on all of them.
_FLAGS = (
    []
    if sys.platform == "win32"
    else ["-O3", "-g0", "-std=c11", "-ffp-contract=off", "-fvisibility=hidden", "-Wno-psabi"]
)

core = Extension(
    "dump.native.core",
    sources=[
        f"dump/native/{name}.c"
        for name in (
            "builtins",
            "core",
            "crew",
            "digest",
            "distance",
            "memory",
            "reading",
            "statistics",
            "waves",
            "widen",
        )
    ],
    depends=[
        f"dump/native/{name}.h"
        for name in (
            "build",
            "builtins",
            "crew",
            "digest",
            "distance",
            "memory",
            "reading",
            "rows",
            "statistics",
            "vectors",
            "wave_sums",
            "waves",
            "widen",
        )
    ],
    extra_compile_args=_FLAGS,
    py_limited_api=True,
    optional=True,
)


class BuildWithStart(build_py):
    """The packages, and beside them the line that Python reads when it starts (`acc_compare/shadowed.py`)."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_file(_AT_START[0], str(Path(self.build_lib) / _AT_START[1]))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), str(Path(self.build_lib) / _AT_START[1])]


setup(
    ext_modules=[core],
    cmdclass={"build_py": BuildWithStart},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
