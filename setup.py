"""The native core, which is optional: where no compiler is, the package installs without it and works in Python.

All else that setuptools needs to know stands in pyproject.toml, which cannot say where headers lie and which Pythons a
wheel serves.
"""

import sys

from setuptools import Extension, setup

# No -march: a wheel runs on any machine of its kind (build.h picks at run time).  Products and sums are not fused, so
# that they round alike on all of them.
_FLAGS = (
    []
    if sys.platform == "win32"
    else ["-O3", "-g0", "-std=c11", "-ffp-contract=off", "-fvisibility=hidden", "-Wno-psabi"]
)

core = Extension(
    "dump.native.core",
    sources=[f"dump/native/{name}.c" for name in ("builtins", "core", "distance", "memory", "statistics", "widen")],
    depends=[
        f"dump/native/{name}.h"
        for name in ("build", "builtins", "distance", "memory", "rows", "statistics", "vectors", "widen")
    ],
    extra_compile_args=_FLAGS,
    py_limited_api=True,
    optional=True,
)

setup(ext_modules=[core], options={"bdist_wheel": {"py_limited_api": "cp310"}})
