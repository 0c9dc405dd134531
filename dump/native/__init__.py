"""The native core: sums over memory, and what Python's own C keeps to itself, where a compiler built the package.

`core` is the module of C functions, or None: then the same is done in Python, a few times slower.  `state` says which
and why.  ACC_NATIVE=0 turns it off.  A function is given memory by its address, the dtype by its place in `DTYPES`,
and the number of elements, which lie in order; it lets other threads run while it reads.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

VARIABLE = "ACC_NATIVE"

DTYPES = (
    *("float64", "float32", "float16", "bfloat16"),
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
)
"""In the order of `enum dtype` in widen.h."""

MOST_DIMENSIONS = 64
"""Of memory that does not lie in order, as in memory.h."""


_RUNTIME = re.compile(r"/lib(gomp|omp|iomp5)[^/]*\.so[^/]*$")


def _load() -> tuple[ModuleType | None, str]:
    if os.environ.get(VARIABLE, "1") == "0":
        return None, f"off: {VARIABLE}=0"
    if sys.byteorder != "little":
        return None, "off: sketches are written little-endian"
    try:
        return import_module(f"{__name__}.core"), "on"
    except ModuleNotFoundError:
        return None, "off: not built"
    except ImportError as error:
        return None, f"off: cannot be loaded ({error})"


core, state = _load()


def share(threads: int) -> None:
    """Long tensors are measured by so many threads from now on, this one among them: by those that torch's operators
    run on, for they spin in wait of work.  What comes out does not depend on their number."""
    if core is not None and hasattr(core, "employ"):  # else built before it was written
        region = _region() if threads > 1 else 0
        core.employ(region, threads if region else 1)


@functools.cache
def _region() -> int:
    """The address of GOMP_parallel in the OpenMP runtime that torch has loaded; 0 where that cannot be told."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
        loaded = {line.split(maxsplit=5)[5] for line in maps.splitlines() if _RUNTIME.search(line)}
        (runtime,) = [path for path in loaded if "/torch" in path] or loaded
        return ctypes.cast(ctypes.CDLL(runtime).GOMP_parallel, ctypes.c_void_p).value or 0
    except (OSError, AttributeError, ValueError):
        return 0
