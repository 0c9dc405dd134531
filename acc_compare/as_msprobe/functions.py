"""`compare` and `compare_distributed` with msprobe's arguments."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from acc_compare.comparison import Comparison
from acc_compare.comparison import compare as compare_dumps
from acc_compare.report.advisor import advisor_text
from dump.format.errors import ConfigError
from dump.format.layout import DEBUG_FILE

from . import tables
from .distances import Version

_SAYS_NOTHING = ("auto_analyze", "highlight", "is_print_compare_log", "compared_file_type", "backend")


def compare(input_param: Mapping[str, Any], output_path: str | os.PathLike[str], **options: Any) -> None:
    """Compare the two dumps that `input_param` names (`npu_path`, `bench_path`) and write msprobe 8.3.3's workbook.

    `stack_mode`, `fuzzy_match`, `data_mapping`, `layer_mapping` and `suffix` are msprobe's; the others of its options
    ask for what is always done.  Raises ConfigError, DumpError, IncomparableError, OutputError.
    """
    if not isinstance(input_param, Mapping):
        raise ConfigError(f"compare: expected a dict of paths, found a {type(input_param).__name__}.")
    paths = [input_param.get(key) for key in ("npu_path", "bench_path")]
    if not all(isinstance(path, (str, os.PathLike)) and os.fspath(path) for path in paths):
        raise ConfigError("compare: expected 'npu_path' and 'bench_path', the dump.json or the folder of each side.")
    npu, bench = (Path(str(path)) for path in paths)
    write(npu, bench, Path(output_path), version="8.3.3", as_xlsx=True, **_known(options))


def compare_distributed(
    npu_dump_dir: str | os.PathLike[str],
    bench_dump_dir: str | os.PathLike[str],
    output_path: str | os.PathLike[str],
    **options: Any,
) -> None:
    """Compare all ranks of two step folders, a table for each.  Raises as `compare`."""
    write(Path(npu_dump_dir), Path(bench_dump_dir), Path(output_path), version="8.3.3", as_xlsx=True, **_known(options))


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of msprobe that mean something here."""
    known = {
        "with_stacks": bool(options.get("stack_mode", False)),
        "fuzzy": bool(options.get("fuzzy_match", False)),
        "mapping": options.get("data_mapping") or options.get("layer_mapping"),
        "suffix": str(options.get("suffix") or ""),
    }
    taken = {"stack_mode", "fuzzy_match", "data_mapping", "layer_mapping", "suffix", *_SAYS_NOTHING}
    left = sorted(name for name, value in options.items() if name not in taken and value not in (None, False, ""))
    if left:
        raise ConfigError(f"compare: {left[0]} is not done here. docs/msprobe.md says what is.")
    return known


def write(
    npu: Path,
    bench: Path,
    out: Path,
    *,
    version: Version,
    as_xlsx: bool,
    with_stacks: bool = True,
    fuzzy: bool = False,
    mapping: str | None = None,
    suffix: str = "",
    with_advisor: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Compare two dumps, or all steps and ranks that two folders share, and write a table for each pair.

    Files are named as msprobe names them: compare_result_{rank}_{time} (debug_compare_result of a debug.json), and with
    8.3.3 advisor_{time}.txt beside it.
    `say` is told of each file.  Raises as `compare`.
    """
    if not isinstance(mapping, (str, type(None))):
        raise ConfigError("compare: a mapping is not made up from the model here; give the path of a mapping file.")
    comparison = compare_dumps(npu, bench, mapping=mapping, fuzzy=fuzzy)
    stamp = datetime.now().strftime("%Y%m%d%H%M%S")
    put = tables.write_xlsx if as_xlsx else tables.write_csv
    for finding in comparison.findings:
        folder = out / f"step{finding.step}" if len({each.step for each in comparison.findings}) > 1 else out
        middle = _middle(finding.rank, finding.npu_path, npu) + (f"_{suffix}" if suffix else "")
        as_saved = npu.name == DEBUG_FILE
        start = "debug_compare_result" if as_saved else "compare_result"
        path = folder / f"{start}{middle}_{stamp}{'.xlsx' if as_xlsx else '.csv'}"
        put(finding, path, version, with_stacks=with_stacks, as_saved=as_saved)
        say(str(path))
    if version == "8.3.3" and with_advisor:
        advisor = out / f"advisor{'_' + suffix if suffix else ''}_{stamp}.txt"
        advisor.write_text(advisor_text(comparison.overall) + "\n", encoding="utf-8")
        say(str(advisor))
    return comparison


def _middle(rank: int | None, compared: str, given: Path) -> str:
    """What msprobe puts between the name and the time: the rank's folder, where a folder of several was given."""
    if rank is not None:
        return f"_rank{rank}"
    folder = Path(compared)
    folder = folder.parent if folder.suffix == ".json" else folder
    return "" if folder in (given, given.parent) else f"_{folder.name}"
