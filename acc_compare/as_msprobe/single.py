"""`SingleComparator`: what `SingleSave` saved on two machines, tensor by tensor."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dump.format.errors import DumpError, DumpNotFound, OutputError

_FOLDER = re.compile(r"(step|rank|micro_step)(\d{1,9})", re.ASCII)
_NUMBER = re.compile(r".*\.(\d{1,9})\.npy", re.ASCII)
_COLUMNS = (
    "step",
    "rank",
    "micro_step",
    "id",
    "shape1",
    "shape2",
    "相同元素百分比(%)",
    "首个不匹配元素索引",
    "最大绝对误差",
    "最大相对误差",
    "误差在千分之一内元素占比(%)",
    "误差在百分之一内元素占比(%)",
)


class SingleComparator:
    """msprobe's comparison of saved tensors."""

    result_header = _COLUMNS

    @classmethod
    def compare(
        cls,
        dir1: str | os.PathLike[str],
        dir2: str | os.PathLike[str],
        output_path: str | os.PathLike[str] = "./msprobe_compare_output",
        num_processes: int = 8,
    ) -> None:
        """Write {output_path}/{name}.xlsx for every name that both folders have, a row for each tensor.

        `num_processes` is msprobe's; one process does it here.  Raises DumpError, OutputError.
        """
        first, second = _saved(Path(dir1) / "data"), _saved(Path(dir2) / "data")
        out = Path(output_path)
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name in sorted(first.keys() & second.keys()):
                _write(out / f"{name}.xlsx", first[name], second[name])
        except OSError as error:
            raise OutputError(f"{out}: cannot be written ({error.strerror}).") from error


_Place = tuple[int, int, int, int]


def _saved(folder: Path) -> dict[str, dict[_Place, Path]]:
    """The files below `folder`, by name and then by step, rank, micro step and number in a list."""
    if not folder.is_dir():
        raise DumpNotFound(f"{folder}: no such folder. SingleSave writes a folder 'data' into its dump_path.")
    found: dict[str, dict[_Place, Path]] = {}
    for path in sorted(folder.glob("*/step*/rank*/**/*.npy")):
        name, *places = path.relative_to(folder).parts[:-1]
        numbers = {match[1]: int(match[2]) for part in places if (match := _FOLDER.fullmatch(part))}
        number = _NUMBER.fullmatch(path.name.removeprefix(name))
        place = (numbers["step"], numbers["rank"], numbers.get("micro_step", 0), int(number[1]) if number else 0)
        found.setdefault(name, {})[place] = path
    return found


def _write(path: Path, first: dict[_Place, Path], second: dict[_Place, Path]) -> None:
    from openpyxl import Workbook

    if path.exists():
        raise OutputError(f"{path}: exists already. Give another output path.")
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    sheet.append(list(_COLUMNS))
    for place in sorted(first.keys() & second.keys()):
        sheet.append([*place, *_distances(_array(first[place]), _array(second[place]))])
    book.save(path)


def _array(path: Path) -> npt.NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DumpError(f"{path}: is no array of SingleSave's ({error}).") from error


def _distances(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Iterator[object]:
    """What msprobe says of a pair, over the elements that both have."""
    yield str(list(first.shape))
    yield str(list(second.shape))
    if first.ndim != second.ndim:
        first, second = first.ravel(), second.ravel()
    common = tuple(slice(0, min(sizes)) for sizes in zip(first.shape, second.shape, strict=True))
    kind = np.complex128 if first.dtype.kind == "c" or second.dtype.kind == "c" else np.float64
    a, b = first[common].astype(kind).ravel(), second[common].astype(kind).ravel()
    if a.size == 0:
        yield from ("N/A",) * 6
        return
    with np.errstate(all="ignore"):
        apart = np.abs(a - b)
        size = np.maximum(np.abs(a), np.abs(b))
        relative = np.nan_to_num(apart / size)
    differ = np.flatnonzero(a != b)
    yield 100.0 * (1 - differ.size / a.size)
    yield int(differ[0]) if differ.size else None
    yield from (as_number(np.max(apart)), as_number(np.max(relative)))
    for share in (1e-3, 1e-2):
        yield 100.0 * float(np.mean(apart <= share * size))


def as_number(value: Any) -> object:
    """A number that a cell can hold; what is none by its name."""
    number = float(value)
    return number if np.isfinite(number) else str(number)
