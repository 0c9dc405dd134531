"""Relative errors of two tensors where the bench holds zeros, as msprobe computes them: it adds a little to both sides.

8.3.3 adds float64's unit roundoff in the tensors' own dtype, 26.2.0 that of the dtype in which it computes.  Ours are
infinite there, and need no second look at the tensors elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dump.format.layout import TENSOR_FOLDER
from dump.format.tensors import read_tensor

COLUMNS = {
    "MaxRelativeErr": "largest",
    "One Thousandth Err Ratio": "one_thousandth",
    "Five Thousandths Err Ratio": "five_thousandths",
}
"""The columns of relative errors, and what of `Shares` stands in each."""

_KEPT = (np.float16, np.float32, np.float64)


@dataclass(frozen=True, slots=True)
class Shares:
    """The largest relative error, NaN where one is none, and the shares of elements below a thousandth and five."""

    largest: float
    one_thousandth: float
    five_thousandths: float


def of_files(places: tuple[str, str], names: tuple[str, str], *, own_dtype: bool) -> Shares:
    """The relative errors of two recorded tensors of one shape, of which equal positions may be NaN or infinite.

    `places` are the sides' dump.json or their folders, `names` the names of the files; with `own_dtype` it is
    8.3.3's arithmetic.  Raises TensorFileError.
    """
    npu, bench = (
        _floating(read_tensor(_folder(Path(place)) / TENSOR_FOLDER, name))
        for place, name in zip(places, names, strict=True)
    )
    with np.errstate(all="ignore"):
        return _shares(npu, bench, own_dtype=own_dtype)


def _shares(npu: npt.NDArray[Any], bench: npt.NDArray[Any], *, own_dtype: bool) -> Shares:
    if not own_dtype:
        dtype = np.result_type(npu, bench, np.float32)
        npu, bench = npu.astype(dtype), bench.astype(dtype)
    little = np.finfo(np.float64 if own_dtype else bench.dtype).eps
    for side in (npu, bench):
        side[~np.isfinite(side)] = 0
    zeros = bench == 0
    for side in (npu, bench):
        side[zeros] += side.dtype.type(little)
    errors = np.abs((npu - bench) / bench)
    below = [np.count_nonzero(errors < limit) / max(errors.size, 1) for limit in (0.001, 0.005)]
    return Shares(float(errors.max()), *below)


def _floating(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy in a dtype that numpy has of its own; integers and bool as float64."""
    if array.dtype.type in _KEPT:
        return np.array(array)
    return array.astype(np.float64 if array.dtype.kind in "biu" else np.float32)


def _folder(place: Path) -> Path:
    return place.parent if place.suffix == ".json" else place
