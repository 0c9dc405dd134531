"""The command `msprobe`: what we can do is done by us in msprobe's shape, of the rest one line says what to use.

Both command lines are understood, 26's `msprobe compare -tp T -gp G` and 8's `msprobe -f pytorch compare -i I.json`.
Exit code: 0 done, 2 not done; as with msprobe, what a table says does not change it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from dump.format.errors import AccError, ConfigError, OutputError

from . import tables

_REPLAY = "acc replay makes recorded calls again and judges them by float64, acc check does so while the script runs"
_GRAPH = "acc compare NPU BENCH draws it on its page, --tensorboard DIR in TensorBoard; msprobe's own reads our dumps"
_INSTEAD = {
    "acc_check": _REPLAY,
    "multi_acc_check": _REPLAY,
    "run_ut": _REPLAY,
    "multi_run_ut": _REPLAY,
    "api_precision_compare": _REPLAY,
    "config_check": "settings and versions stand in the header of every dump, weights and batches among its calls:"
    " acc compare NPU BENCH names those that differ",
    "graph_visualize": _GRAPH,
    "graph": _GRAPH,
    "parse": "acc compare reads the tensors of a dump, numpy opens each file of file_format npy",
    "op_generate": "no script is generated for a single operator",
    "data2db": "acc compare --format parquet gives tables, msprobe.core.monitor.csv2db those of monitored runs",
    "offline_dump": "models without a PyTorch script are not recorded",
    "install_deps": "pip install 'acc-compare[parquet]' has all there is",
    "code_mapping": "MindSpore is not compared",
}
_REFUSED = (
    ("consistent_check", "--consistent_check", "training and inference are paired by their modules: --mapping"),
    ("config", "--config", "outputs are compared as they were recorded"),
    ("rank", "--rank", "ranks are paired by themselves; give the folder of one to compare it alone"),
    ("step", "--step", "steps are paired by themselves; give the folder of one to compare it alone"),
)
_MODES = {"auto"}


class _Parser(argparse.ArgumentParser):
    """Wrong usage is an error of the caller's like all others."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self.prog}: {message}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script `msprobe` of acc-msprobe-shim."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(given)
    except AccError as error:
        print(f"msprobe (acc): error: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0


def _run(given: list[str]) -> int:
    is_older, framework, given = _framework(given)
    if not given or given[0] in ("-h", "--help"):
        print(_help())
        return 0
    if given[0] in ("-V", "--version"):
        print(f"msprobe {tables.VERSIONS[-1]}+acc: answered by acc")
        return 0
    if framework == "mindspore":
        raise ConfigError("-f mindspore: dumps of PyTorch alone are compared here.")
    name, *rest = given
    if name in _COMMANDS:
        return _COMMANDS[name](rest, is_older)
    if name in _INSTEAD:
        raise ConfigError(f"{name}: is not done by acc, which answers to msprobe here; {_INSTEAD[name]}.")
    raise ConfigError(f"{name}: is no command of msprobe's. Known: {', '.join([*_COMMANDS, *_INSTEAD])}.")


def _framework(given: list[str]) -> tuple[bool, str, list[str]]:
    """Is it 8.x's command line, `-f FRAMEWORK` first?  And which framework, and what follows."""
    if given[:1] in (["-f"], ["--framework"]):
        if len(given) < 2:
            raise ConfigError("-f: expected pytorch, found nothing.")
        return True, given[1], given[2:]
    return False, "pytorch", given


def _help() -> str:
    lines = ["usage: msprobe COMMAND ...    (msprobe's names, answered by acc)", "", "done here:"]
    lines += [f"  {name:<24}msprobe {name} --help" for name in _COMMANDS]
    lines += ["", "to be done otherwise:", *(f"  {name:<24}{instead}" for name, instead in _INSTEAD.items())]
    return "\n".join(lines)


def _parser(is_older: bool) -> _Parser:
    parser = _Parser(prog="msprobe compare")
    if is_older:
        parser.add_argument("-i", "--input_path", required=True, help="JSON with npu_path and bench_path")
        parser.add_argument("-s", "--stack_mode", action="store_true", help="write the stacks too")
        parser.add_argument("-c", "--compare_only", action="store_true", help="write no advisor")
        parser.add_argument("-f", "--fuzzy_match", action="store_true", help="pair left-over calls by the operator")
        parser.add_argument("-hl", "--highlight", action="store_true", help="no effect: rows are not coloured")
    else:
        parser.add_argument("-tp", "--target_path", required=True, help="the dump to judge")
        parser.add_argument("-gp", "--golden_path", required=True, help="the dump to trust")
        parser.add_argument("-m", "--mode", default="auto", help="auto")
        parser.add_argument("--xlsx", action="store_true", help="a workbook, not csv")
        parser.add_argument("-fm", "--fuzzy_match", action="store_true", help="pair left-over calls by the operator")
        parser.add_argument("-tensor_log", "--is_print_compare_log", action="store_true", help="no effect")
        parser.add_argument("--backend", default="", help="with --consistent_check")
        for flag in ("--consistent_check",):
            parser.add_argument(flag, action="store_true", help="refused")
        for flag in ("--rank", "--step", "--config"):
            parser.add_argument(flag, help="refused")
    parser.add_argument("-o", "--output_path", nargs="?", default="./output", const="./output", help="where to")
    parser.add_argument("-da", "--diff_analyze", action="store_true", help="print where the difference begins")
    parser.add_argument("-dm", "--data_mapping", help="which names answer to each other")
    parser.add_argument("-lm", "--layer_mapping", nargs="?", const=True, help="which layers answer to each other")
    parser.add_argument("-cm", "--cell_mapping", nargs="?", const=True, help="which modules answer to each other")
    parser.add_argument("-am", "--api_mapping", nargs="?", const=True, help="which APIs answer to each other")
    return parser


def _compare(given: list[str], is_older: bool) -> int:
    from acc_compare.report.advisor import advisor_text

    from .functions import write

    chosen = _parser(is_older).parse_args(given)
    for name, flag, instead in _REFUSED:
        if getattr(chosen, name, None):
            raise ConfigError(f"{flag}: is not done by acc, which answers to msprobe here; {instead}.")
    if getattr(chosen, "mode", "auto") not in _MODES:
        raise ConfigError(f"-m {chosen.mode}: only dumps of PyTorch are compared here, -m auto.")
    npu, bench = _older_paths(Path(chosen.input_path)) if is_older else (chosen.target_path, chosen.golden_path)
    comparison = write(
        Path(npu),
        Path(bench),
        Path(chosen.output_path),
        version="8.3.3" if is_older else "26.2.0",
        as_xlsx=is_older or chosen.xlsx,
        with_stacks=not is_older or chosen.stack_mode,
        fuzzy=chosen.fuzzy_match,
        mapping=_mapping(chosen),
        with_advisor=is_older and not chosen.compare_only,
        say=print,
    )
    if chosen.diff_analyze:
        print(advisor_text(comparison.overall))
    return 0


def _mapping(chosen: argparse.Namespace) -> str | None:
    """The one mapping file that is named."""
    flags = {"-dm": "data_mapping", "-lm": "layer_mapping", "-cm": "cell_mapping", "-am": "api_mapping"}
    given = {flag: path for flag, name in flags.items() if (path := getattr(chosen, name))}
    for flag, path in given.items():
        if path is True:
            raise ConfigError(f"{flag}: expected the path of a mapping file; none is made up from the models.")
    if len(given) > 1:
        raise ConfigError(f"{', '.join(given)}: expected one mapping, found several; docs/mapping.md has all in one.")
    return next(iter(given.values()), None)


def _older_paths(path: Path) -> tuple[str, str]:
    """What 8.x's compare.json names."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON ({error}).") from error
    paths = [content.get(key) if isinstance(content, dict) else None for key in ("npu_path", "bench_path")]
    if not all(isinstance(each, str) and each for each in paths):
        raise ConfigError(f"{path}: expected an object with 'npu_path' and 'bench_path'.")
    return str(paths[0]), str(paths[1])


def _analyze(given: list[str], is_older: bool) -> int:
    """Where the first NaN or infinity was made, of all steps and ranks, on stdout and as JSON."""
    from acc_compare.first_nan import first_nan

    parser = _Parser(prog="msprobe nan_analyze")
    parser.add_argument("-i", "--input_path", required=True, help="a dump, or the folder of a step")
    parser.add_argument("-o", "--output_path", default="./output", help="where to")
    chosen = parser.parse_args(given)
    told = []
    for made in first_nan(Path(chosen.input_path)).origins:
        where = {"step": made.step, "rank": made.rank, "kind": made.kind, "call": made.call}
        told.append({**where, "argument": made.tensor, "stack": list(made.stack)})
        place = ", ".join(f"{key} {where[key]}" for key in ("step", "rank") if where[key] is not None)
        print(f"{place or chosen.input_path}: the first {made.kind} is {made.tensor} of {made.call}")
    out = Path(chosen.output_path)
    path = out / f"anomaly_analyze_{datetime.now().strftime('%Y%m%d%H%M%S')}.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told, indent=1), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error
    print(path if told else f"no call made a NaN or an infinity; {path}")
    return 0


def _merge(given: list[str], is_older: bool) -> int:
    from .merging import merge

    parser = _Parser(prog="msprobe merge_result")
    parser.add_argument("-i", "--input_dir", required=True, help="the folder with the tables of all ranks")
    parser.add_argument("-o", "--output_dir", required=True, help="where to")
    parser.add_argument("-config", "--config-path", required=True, help="yaml with 'api' and 'compare_index'")
    chosen = parser.parse_args(given)
    print(merge(Path(chosen.input_dir), Path(chosen.output_dir), Path(chosen.config_path)))
    return 0


_COMMANDS: dict[str, Callable[[list[str], bool], int]] = {
    "compare": _compare,
    "nan_analyze": _analyze,
    "overflow_check": _analyze,
    "merge_result": _merge,
}

if __name__ == "__main__":
    sys.exit(main())
