"""csv files to columns: bounded chunks, whole lines only, and a clear word where a file is not what it must be."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acc_compare.monitor.runs import StepFile
from dump.format.errors import DumpCorrupt, DumpError
from dump.format.monitor_files import MICRO_STEP, NAME, STAGE, STEP

OPS = ("norm", "min", "max", "mean", "nans")
"""The statistics that are compared.  `zeros` says nothing that these do not."""

_CHUNK = 1 << 25
_LONGEST_LINE = 1 << 16
_CACHED = 1 << 17
_MOST_ROWS = 1 << 26
_DETAILED = 1 << 14
_DETAILED_BYTES = 1 << 22

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows: `series` (n,) are numbers into `names`, `steps` (n,) int64, `values` one (n,) float64 an op.

    A name is (vpp stage, name, micro step).  A number that the file does not have is NaN, as one that is NaN is.
    """

    names: tuple[tuple[int, str, int], ...]
    series: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    values: dict[str, Numbers]


@dataclass(frozen=True, slots=True)
class Tensors:
    """What the files say of the tensors, by name: dtype ("" where unknown), number of elements and of dimensions (no
    entry where unknown)."""

    dtypes: dict[str, str]
    counts: dict[str, int]
    sides: dict[str, int]


def read_chunks(files: Sequence[StepFile], told: Callable[[int], None] | None = None) -> Iterator[Chunk]:
    """All rows of `files`, in their order, some ten megabytes at a time; `told` hears the bytes read since.

    A last line without an end is what a killed run leaves, and is dropped.

    Raises:
        DumpCorrupt: a header or a row is not what docs/monitor.md describes.
        DumpError: a file cannot be read, or there are more than 67 million rows.
    """
    rows = 0
    for header, text, paths in _texts(files):
        if told:
            told(len(text))
        try:
            chunk = _parse(header, text)
        except (ValueError, OverflowError, csv.Error) as error:
            raise _blame(header, paths, error) from error
        rows += len(chunk.steps)
        if rows > _MOST_ROWS:
            raise DumpError(f"{files[0].path.parent}: more than {_MOST_ROWS:,} rows of one kind. Give --steps.")
        yield chunk


def describe(files: Sequence[StepFile]) -> Tensors:
    """What the tensors are, from the first rows of the first file.

    Raises DumpError, DumpCorrupt.
    """
    dtypes: dict[str, str] = {}
    counts: dict[str, int] = {}
    sides: dict[str, int] = {}
    for file in files[:1]:
        text = _read(file.path, limit=_DETAILED_BYTES)
        for number, row in enumerate(csv.DictReader(io.StringIO(text.decode("utf-8", "replace")))):
            if number >= _DETAILED:
                break
            name = row.get("name") or ""
            if name in dtypes:
                continue
            dtypes.setdefault(name, _known(row.get("dtype")).removeprefix("torch."))
            shape = _shape(_known(row.get("shape")))
            if shape is not None:
                counts.setdefault(name, math.prod(shape))
                sides.setdefault(name, len(shape))
    return Tensors(dtypes, counts, sides)


def _known(text: str | None) -> str:
    return "" if text is None or text == "nan" else text


def _shape(text: str) -> list[int] | None:
    sides = text.strip("[]").replace(",", " ").split()
    if not text or not all(side.isdecimal() and len(side) < 16 for side in sides):
        return None
    return [int(side) for side in sides]


def _texts(files: Sequence[StepFile]) -> Iterator[tuple[tuple[str, ...], bytes, list[Path]]]:
    """Whole lines of one header, with the files they are from: small files together, large ones in parts."""
    held: list[bytes] = []
    paths: list[Path] = []
    size = 0
    header: tuple[str, ...] = ()
    for file in files:
        for found, part in _parts(file.path):
            if held and (found != header or size + len(part) > _CHUNK):
                yield header, held[0] if len(held) == 1 else b"".join(held), paths
                held, paths, size = [], [], 0
            header = found
            held.append(part)
            paths.append(file.path)
            size += len(part)
    if held:
        yield header, b"".join(held), paths


def _parts(path: Path) -> Iterator[tuple[tuple[str, ...], bytes]]:
    try:
        with path.open("rb") as stream:
            first = stream.readline(_LONGEST_LINE)
            if not first.endswith(b"\n"):
                return  # killed before the header was out
            header = _header(path, first)
            left = b""
            while block := stream.read(_CHUNK):
                end = block.rfind(b"\n") + 1
                whole, left = left + block[:end] if left else block[:end], block[end:] if end else left + block
                if len(left) > _LONGEST_LINE:
                    raise DumpCorrupt(
                        f"{path}: expected lines of a csv, found one of more than {_LONGEST_LINE:,} bytes."
                    )
                if end:
                    yield header, whole
    except OSError as error:
        raise DumpError(f"{path}: cannot be read ({error.strerror}).") from error


def _read(path: Path, *, limit: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(limit).rpartition(b"\n")[0]
    except OSError as error:
        raise DumpError(f"{path}: cannot be read ({error.strerror}).") from error


def _header(path: Path, line: bytes) -> tuple[str, ...]:
    names = tuple(next(csv.reader([line.decode("utf-8", "replace").strip()]), []))
    if not {NAME, STEP} <= set(names) or len(set(names)) < len(names):
        raise DumpCorrupt(f"{path}: expected a header like vpp_stage,name,step,norm, found {','.join(names)[:80]!r}.")
    return names


def _refuse_ragged(header: tuple[str, ...], text: bytes) -> None:
    """Raises ValueError at a row with too many or too few fields, which pandas would cut or fill with NaN."""
    commas, spaces, lines = _occurrences(text, b", \n")
    if commas - spaces == lines * (len(header) - 1):
        return  # spaces are those of shapes, after a comma within a field; any other row is looked at with care
    for row in csv.reader(io.StringIO(text.decode("utf-8", "replace"))):
        if row and len(row) != len(header):
            raise ValueError(f"{len(row)} fields in a row, not {len(header)}")


def _occurrences(text: bytes, signs: bytes) -> tuple[int, ...]:
    """How often each byte of `signs` occurs: in cache-sized parts, four times as fast as bytes.count."""
    data = np.frombuffer(text, np.uint8)
    counts = [0] * len(signs)
    for start in range(0, len(data), _CACHED):
        part = data[start : start + _CACHED]
        for number, sign in enumerate(signs):
            counts[number] += int(np.count_nonzero(part == sign))
    return tuple(counts)


def _parse(header: tuple[str, ...], text: bytes) -> Chunk:
    import pandas as pd

    _refuse_ragged(header, text)
    keys = [name for name in (STAGE, MICRO_STEP) if name in header]
    ops = [op for op in OPS if op in header]
    types: dict[str, str] = {NAME: "category", STEP: "int64"}
    types |= dict.fromkeys(keys, "int64") | dict.fromkeys(ops, "float64")
    # Numbers are read to the last bit or the one beside it, alike on both sides: equal texts are equal numbers.
    table = pd.read_csv(
        io.BytesIO(text),
        names=list(header),
        header=None,
        usecols=[*types],
        dtype=types,
        engine="c",
        low_memory=False,
        index_col=False,
        na_filter=True,
        keep_default_na=False,
        na_values={op: ["", "nan", "NaN"] for op in ops},
        encoding_errors="replace",
    )
    names = [str(name) for name in table[NAME].cat.categories]
    codes = table[NAME].cat.codes.to_numpy().astype(np.int64)
    stages = table[STAGE].to_numpy() if STAGE in keys else np.zeros(len(table), np.int64)
    micros = table[MICRO_STEP].to_numpy() if MICRO_STEP in keys else np.zeros(len(table), np.int64)
    series, labels = _series(names, codes, stages, micros)
    values = {op: table[op].to_numpy(dtype=np.float64) for op in ops}
    return Chunk(labels, series, table[STEP].to_numpy(), values)


def _series(
    names: list[str],
    codes: npt.NDArray[np.int64],
    stages: npt.NDArray[np.int64],
    micros: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], tuple[tuple[int, str, int], ...]]:
    """A number for each name, stage and micro step that occurs together."""
    if not stages.any() and not micros.any():
        return codes, tuple((0, name, 0) for name in names)
    stage_values, stage_codes = np.unique(stages, return_inverse=True)
    micro_values, micro_codes = np.unique(micros, return_inverse=True)
    width = len(micro_values) * len(names)
    used, inverse = np.unique(stage_codes * width + micro_codes * len(names) + codes, return_inverse=True)
    labels = tuple(
        (int(stage_values[k // width]), names[k % len(names)], int(micro_values[k % width // len(names)]))
        for k in used.tolist()
    )
    return inverse, labels


def _blame(header: tuple[str, ...], paths: Sequence[Path], error: Exception) -> DumpCorrupt:
    """The file of a chunk that cannot be parsed, found by parsing them one at a time."""
    for path in dict.fromkeys(paths):
        for _, part in _parts(path):
            try:
                _parse(header, part)
            except (ValueError, OverflowError, csv.Error) as found:
                return DumpCorrupt(f"{path}: expected rows of {','.join(header)}, found other text ({_short(found)}).")
    return DumpCorrupt(f"{paths[0]}: expected rows of {','.join(header)} ({_short(error)}).")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
