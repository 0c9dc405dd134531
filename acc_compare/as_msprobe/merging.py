"""`msprobe merge_result`: chosen distances of chosen calls, of all ranks side by side, a sheet for each distance.

The tables are those that `msprobe compare` wrote, ours or msprobe's own: compare_result_rank{N}_{time}.xlsx.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from acc_compare.align.mapping_file import plain_yaml
from acc_compare.report.columns import ABSENT
from dump.format.errors import ConfigError, DumpError, DumpNotFound

from . import tables

_TABLE = re.compile(r"compare_result_rank(\d{1,9})(?:-rank\1)?_\d{14}\.xlsx", re.ASCII)
_NAME, _GRADIENTS = "NPU Name", "Requires_grad Consistent"
_EXTREMES = ("NPU max", "Bench max")
_NOTHING = (ABSENT, "unsupported", "Nan")

Values = dict[str, dict[str, object]]
"""Distance by distance: what stands in its column, by the name in the row."""


def merge(folder: Path, out: Path, config: Path) -> Path:
    """Write multi_ranks_compare_merge_{time}.xlsx into `out`, and say where it is.

    `config` is a yaml file: under `api` parts of the names of calls, under `compare_index` the distances, all that the
    tables have where it is left out.  Raises ConfigError, DumpError, OutputError.
    """
    calls, distances = _asked(config)
    found = _tables(folder)
    merged: dict[int, Values] = {}
    for rank, path in found:
        names, rows = _rows(path)
        if not rows:
            continue
        known = _distances(names, path)
        distances = distances or known
        if strange := [each for each in distances if each not in known]:
            raise ConfigError(f"{config}: 'compare_index': {path.name} has no column {strange[0]!r}.")
        merged[rank] = _chosen(rows, calls, distances)
    if not any(values[distance] for values in merged.values() for distance in distances):
        raise ConfigError(f"{config}: 'api': no table below {folder} has such a call: {', '.join(calls)}.")
    path = out / f"multi_ranks_compare_merge_{datetime.now().strftime('%Y%m%d%H%M%S')}.xlsx"
    _write(path, merged, distances)
    return path


def _asked(config: Path) -> tuple[list[str], list[str]]:
    """The calls and the distances that the file names."""
    if not config.is_file():
        raise ConfigError(f"{config}: no such file; expected yaml with 'api' and 'compare_index'.")
    content = plain_yaml(config)
    found = []
    for key in ("api", "compare_index"):
        value = content.get(key) if isinstance(content, dict) else None
        texts = [] if value in (None, "") and key == "compare_index" else value
        if not isinstance(texts, list) or not all(isinstance(each, str) and each for each in texts):
            raise ConfigError(f"{config}: '{key}': expected a list of names.")
        found.append([str(each) for each in texts])
    if not found[0]:
        raise ConfigError(f"{config}: 'api': expected a list of names, found none.")
    return found[0], found[1]


def _tables(folder: Path) -> list[tuple[int, Path]]:
    try:
        matches = [(_TABLE.fullmatch(path.name), path) for path in sorted(folder.iterdir())]
    except OSError as error:
        raise DumpNotFound(
            f"{folder}: cannot be read ({error.strerror}). Give the folder that compare wrote."
        ) from error
    found = sorted((int(match[1]), path) for match, path in matches if match is not None)
    if len(found) < 2:
        raise ConfigError(f"{folder}: expected compare_result_rank*.xlsx of two ranks at least, found {len(found)}.")
    twice = next((rank for (rank, _), (other, _) in pairwise(found) if rank == other), None)
    if twice is not None:
        raise ConfigError(f"{folder}: two tables of rank {twice}. Leave one.")
    return found


def _rows(path: Path) -> tuple[list[str], list[dict[str, object]]]:
    """The names of the columns, and the rows by them."""
    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True)
        lines = book.worksheets[0].iter_rows(values_only=True)
        names = [str(cell) for cell in next(lines, ())]
        rows = [dict(zip(names, line, strict=False)) for line in lines]
        book.close()
    except Exception as error:  # openpyxl raises what its parsers raise
        raise DumpError(f"{path}: cannot be read as a workbook ({type(error).__name__}).") from error
    return names, rows


def _distances(names: Sequence[str], path: Path) -> list[str]:
    """The columns between the attributes and the statistics, in a table of either version."""
    for version in tables.VERSIONS:
        for mode in ("statistics", "tensor"):
            layout = tables.columns(version, mode)
            if set(layout[:16]) <= set(names) and _GRADIENTS in names:
                start = layout.index("Bench Tensor Shape") + 1
                own = layout[start : layout.index("NPU max")]
                return [*(each for each in own if not each.endswith("Requires_grad")), _GRADIENTS]
    raise ConfigError(f"{path}: has no distances to merge; a table of checksums has none.")


def _chosen(rows: Sequence[Mapping[str, object]], calls: Sequence[str], distances: Sequence[str]) -> Values:
    """Where a distance could not be computed, the largest element of both sides stands in its place."""
    values: Values = {distance: {} for distance in distances}
    for call in calls:
        for row in rows:
            name = str(row.get(_NAME))
            if f"{call}." not in name:
                continue
            npu, bench = (row.get(column) for column in _EXTREMES)
            for distance in distances:
                value = row.get(distance)
                shown = f"NPU:{npu}  Bench:{bench}" if value in _NOTHING else value
                values[distance].setdefault(name, shown)
    return values


def _write(path: Path, merged: Mapping[int, Values], distances: Sequence[str]) -> None:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    for distance in distances:
        sheet = book.create_sheet(distance)
        sheet.append([_NAME, *(f"rank{rank}" for rank in merged)])
        names = list(dict.fromkeys(name for values in merged.values() for name in values[distance]))
        for name in sorted(names) if len(merged) > 1 else names:
            cells = [values[distance].get(name) for values in merged.values()]
            sheet.append([tables.harmless(cell) if isinstance(cell, str) else cell for cell in (name, *cells)])
    tables.save(book, path)
