"""`python -m acc_compare.error_patterns NPU_FILE BENCH_FILE`: how two tensor files differ, and where they do most.

Exit code: 0 they agree to rounding, 1 they differ, 2 they cannot be compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import ml_dtypes
import numpy as np

from acc_compare.error_patterns.describe import describe
from acc_compare.error_patterns.footprint import AnyArray, wide
from acc_compare.report.error_patterns import described
from acc_compare.report.i18n import text
from dump.format.errors import AccError, IncomparableError
from dump.format.tensors import read_tensor

SHOWN = 10
_ROUNDINGS = 4.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what the advisor would say of two files, and a table of elements."""
    parser = argparse.ArgumentParser(
        prog="python -m acc_compare.error_patterns", description="How two tensor files differ."
    )
    parser.add_argument("npu", type=Path, help="a tensor file of the NPU side: .safetensors, .npy or .pt")
    parser.add_argument("bench", type=Path, help="the same tensor on the bench side")
    chosen = parser.parse_args(arguments)
    try:
        return _tell(*(read_tensor(path.parent, path.name) for path in (chosen.npu, chosen.bench)))
    except AccError as error:
        print(f"acc: error: {error}", file=sys.stderr)
        return 2


def _tell(npu: AnyArray, bench: AnyArray) -> int:
    if npu.shape != bench.shape or "c" in (npu.dtype.kind, bench.dtype.kind):
        raise IncomparableError(
            f"expected two real tensors of one shape, found {npu.dtype} {list(npu.shape)} and {bench.dtype}"
            f" {list(bench.shape)}."
        )
    print(f"shape {list(npu.shape)}, {npu.dtype} against {bench.dtype}")
    found = describe(npu, bench, noise=_ROUNDINGS * max(_roundoff(npu), _roundoff(bench)))
    if found is None:
        print("all elements agree to rounding")
        return 0
    message = described(found, "the tensor")
    assert message is not None
    print(text(message))
    apart = np.abs(wide(npu) - wide(bench)).ravel()
    apart[np.isnan(apart)] = np.inf
    print(f"{'index':<24} {'NPU':>16} {'bench':>16} {'difference':>16}")
    furthest = np.argpartition(apart, -SHOWN)[-SHOWN:] if apart.size > SHOWN else np.arange(apart.size)
    for place in furthest[np.argsort(-apart[furthest], kind="stable")]:
        index = np.unravel_index(int(place), npu.shape)
        n, b = float(npu[index]), float(bench[index])
        print(f"{[int(i) for i in index]!s:<24} {n:>16.9g} {b:>16.9g} {n - b:>16.4g}")
    return 1


def _roundoff(array: AnyArray) -> float:
    """Half the distance of 1 to the next number of this type; 0 for integers and flags."""
    if array.dtype.kind in "biu":
        return 0.0
    return float(ml_dtypes.finfo(array.dtype).eps) / 2  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    sys.exit(main())
