"""The keys of config.json: which field each one sets, and what reads and checks its value.

A reader takes (value, where it stands, sentences about what has no effect) and returns the field's value; it
raises ConfigError, one line that names the place, what was expected and what was found.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from dump.format.errors import ConfigError

from .format.paths import from_home

TASKS = ("statistics", "tensor", "structure")
CHECKS = ("nan_check", "overflow_check")
"""Tasks of msprobe's that are `statistics` here, and a look at each step for the first NaN and infinity."""

EXCEPTION_DUMP = "exception_dump"
"""A task of msprobe's that is `statistics` here: what was recorded is on disk when a script raises."""

LEVELS = ("L0", "L1", "mix", "debug")
DATA_MODES = ("all", "forward", "backward", "input", "output")
SUMMARY_MODES = ("statistics", "md5", "hash", "xor")
DIGESTING = ("md5", "hash", "xor")
STATISTICS = ("max", "min", "mean", "l2norm", "norm")
PRECISIONS = ("high", "low")
FILE_FORMATS = ("pack", "safetensors", "npy", "pt")
HASHES = ("md5", "crc32", "xxh3", "xor")
HIGHEST_STEP_OR_RANK = 1_000_000

_REGEX_FILTER = re.compile(r"name-regex\((.*)\)", re.DOTALL)
_LONGEST_SHOWN = 100
_MOST_MEGABYTES = 1 << 20
_LEAST_BYTES, _MOST_BYTES = 100_000, 10**18  # below, the header and the last line of a step take a third
_SIZE = re.compile(r"\s*(\d{1,19})(?:\.(\d{1,9}))?\s*([kmgt]i?b|b|)\s*", re.ASCII | re.IGNORECASE)
_POWERS = "kmgt"
_PERCENT = re.compile(r"\s*(\d{1,3}(?:\.\d{1,9})?)\s*(%?)\s*", re.ASCII)
_RANGE = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", re.ASCII)
_KINDS = {bool: "true or false", dict: "an object", list: "a list", str: "a string", type(None): "null"}

Read: TypeAlias = Callable[[Any, str, list[str]], Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of config.json: the field of `DumpConfig` it sets ("" for none) and its reader."""

    field: str
    read: Read


def parse_ranges(value: object, *, where: str = "range") -> frozenset[int]:
    """Whole numbers from `3`, `"0,2-4"`, or a list such as `[0, "4-6"]`; empty means all.

    Both ends of a range belong to it.  Raises ConfigError for anything else, and above 1,000,000.
    """
    if value is None:
        return frozenset()
    found: set[int] = set()
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, int) and not isinstance(item, bool):
            found.update(_span(item, item, where))
        elif isinstance(item, str):
            for part in item.split(",") if item.strip() else []:
                match = _RANGE.fullmatch(part)
                if match is None:
                    raise wrong(where, 'numbers and ranges such as 3 or "4-6"', part)
                found.update(_span(int(match[1]), int(match[2] or match[1]), where))
        else:
            raise wrong(where, 'a list of numbers and ranges such as [0, "4-6"]', item)
    return frozenset(found)


def _span(first: int, last: int, where: str) -> range:
    if not 0 <= first <= HIGHEST_STEP_OR_RANK or not 0 <= last <= HIGHEST_STEP_OR_RANK:
        raise wrong(where, f"numbers from 0 to {HIGHEST_STEP_OR_RANK}", first if first == last else last)
    if first > last:
        raise wrong(where, "ranges that rise", f"{first}-{last}")
    return range(first, last + 1)


def _choice(allowed: tuple[str, ...], elsewhere: Mapping[str, str] | None = None) -> Read:
    """One of `allowed`; `elsewhere` are values that msprobe knows, each with why it is refused."""

    def read(value: Any, where: str, ignored: list[str]) -> str:
        if not isinstance(value, str):
            raise wrong(where, f"one of {any_of(allowed)}", value)
        if elsewhere and value in elsewhere:
            raise ConfigError(f"{where}: '{value}' {elsewhere[value]}. Use {any_of(allowed)}.")
        if value not in allowed:
            close = closest(value, allowed)
            hint = f" Did you mean '{close}'?" if close else ""
            raise ConfigError(f"{where}: expected one of {any_of(allowed)}, found {quoted(value)}.{hint}")
        return value

    return read


def _request(value: Any, where: str, ignored: list[str]) -> str:
    if not isinstance(value, str):
        raise wrong(where, "the name of a request", value)
    ignored.append(f"{where}: batches that hold the request are recorded whole, others not at all.")
    return value


def _flag(value: Any, where: str, ignored: list[str]) -> bool:
    if not isinstance(value, bool):
        raise wrong(where, "true or false", value)
    return value


def _megabytes(value: Any, where: str, ignored: list[str]) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(where, "a whole number of megabytes", value)
    if not 0 <= value <= _MOST_MEGABYTES:
        raise wrong(where, f"megabytes from 0 to {_MOST_MEGABYTES}", value)
    return value


def _size(value: Any, where: str, ignored: list[str]) -> int:
    """Bytes from 500000000, "500MB" (10**6 each) or "1.5GiB" (2**30 each)."""
    expected = 'bytes, as a whole number or such as "500MB", "2GB" or "1GiB"'
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is not None and (match[2] is None or match[3].lower() not in ("", "b")):
        unit = match[3].lower()
        base = 1024 if "i" in unit else 1000
        each = base ** (_POWERS.index(unit[0]) + 1) if unit not in ("", "b") else 1
        fraction = match[2] or "0"
        value = int(match[1]) * each + int(fraction) * each // 10 ** len(fraction)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(where, expected, value)
    if not _LEAST_BYTES <= value <= _MOST_BYTES:
        raise wrong(where, f"bytes from {_LEAST_BYTES} (100kB) on", value)
    return value


def _count(value: Any, where: str, ignored: list[str]) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= HIGHEST_STEP_OR_RANK:
        raise wrong(where, f"a whole number from 1 to {HIGHEST_STEP_OR_RANK}", value)
    return value


def _path(value: Any, where: str, ignored: list[str]) -> Path:
    if not isinstance(value, str) or "\0" in value:
        raise wrong(where, "the path of a folder", value)
    return from_home(value)


def _ranges(value: Any, where: str, ignored: list[str]) -> frozenset[int]:
    return parse_ranges(value, where=where)


def _texts(value: Any, where: str, ignored: list[str]) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise wrong(where, "a list of strings", value)
    for item in value:
        if not isinstance(item, str):
            raise wrong(where, "a list of strings", item)
    return tuple(value)


def _filters(value: Any, where: str, ignored: list[str]) -> tuple[str, ...]:
    names = _texts(value, where, ignored)
    for name in names:
        match = _REGEX_FILTER.fullmatch(name)
        try:
            re.compile(match[1] if match else "")
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError(f"{where}: {quoted(name)} is not a regular expression ({error}).") from error
    return names


def _scope(value: Any, where: str, ignored: list[str]) -> tuple[str, ...]:
    names = _texts(value, where, ignored)
    if len(names) not in (0, 2):
        raise ConfigError(f"{where}: expected two names, the first and the last to record, found {len(names)}.")
    return names


def _data_mode(value: Any, where: str, ignored: list[str]) -> tuple[str, ...]:
    modes = _texts(value, where, ignored)
    for mode in modes:
        _choice(DATA_MODES)(mode, where, ignored)
    if "all" in modes and len(set(modes)) > 1:
        raise ConfigError(f"{where}: 'all' stands alone; remove it or the others.")
    return tuple(dict.fromkeys(modes)) or ("all",)


def _summary_mode(value: Any, where: str, ignored: list[str]) -> str:
    if isinstance(value, str):
        mode = str(_choice(SUMMARY_MODES)(value, where, ignored))
        return _with_xxhash(where, mode) if mode == "hash" else mode
    if not isinstance(value, list):
        raise wrong(where, f"{any_of(SUMMARY_MODES)} or a list of statistics", value)
    names = [_choice((*SUMMARY_MODES, *STATISTICS))(name, where, ignored) for name in value]
    digesting = next((name for name in DIGESTING if name in names), None)
    if digesting and len(set(names)) > 1:
        raise ConfigError(f"{where}: '{digesting}' stands alone; remove it or the others.")
    if names and not {"statistics", *DIGESTING} & set(names):
        ignored.append(f"{where}: max, min, mean and l2norm are all recorded; choosing among them has no effect.")
    return _summary_mode(digesting, where, ignored) if digesting else "statistics"


def _share(value: Any, where: str, ignored: list[str]) -> float:
    """`"5%"` or 0.05, above nothing and at most the whole."""
    expected = "a share of the run's time, such as '5%' or 0.05"
    number = value
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        number = float(match[1]) / (100 if match[2] else 1)
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number <= 1:
        raise wrong(where, expected, value)
    return float(number)


def _hash(value: Any, where: str, ignored: list[str]) -> str:
    name = str(_choice(HASHES)(value, where, ignored))
    return _with_xxhash(where, name) if name == "xxh3" else name


def _with_xxhash(where: str, value: str) -> str:
    """The value, where the package is there that computes it."""
    try:
        found = importlib.util.find_spec("xxhash")
    except ValueError:  # somebody has taken it out of `sys.modules`
        found = None
    if found is None:
        raise ConfigError(f"{where}: '{value}' needs a package. Run pip install xxhash, or ask for 'md5'.")
    return value


def _no_effect(why: str, *, silent: tuple[Any, ...] = ()) -> Read:
    """A key of msprobe's that changes nothing here; of a value in `silent` nothing need be said."""

    def read(value: Any, where: str, ignored: list[str]) -> None:
        if value not in silent:
            ignored.append(f"{where} has no effect: {why}.")

    return read


def _refused(why: str, *, silent: tuple[Any, ...] = ()) -> Read:
    """A key of msprobe's without which the run, or what is recorded, would be another one."""

    def read(value: Any, where: str, ignored: list[str]) -> None:
        if value not in silent:
            raise ConfigError(f"{where}: {why}.")

    return read


_HASH = Setting("hash", _hash)
_FILE_FORMAT = Setting("file_format", _choice(FILE_FORMATS, {"bin": "is MindSpore's format"}))
_OTHER_TASK = "is a task of msprobe's that is not done here"
_REPLAY = "acc replay makes the calls of a dump again and judges them, acc check does so while the script runs"
_INSTEAD = {
    "acc_check": f"{_OTHER_TASK}: {_REPLAY}",
    "run_ut": f"{_OTHER_TASK}: {_REPLAY}",
    "grad_probe": f"{_OTHER_TASK}: acc monitor watches the gradients",
}
FOREIGN_SECTIONS = (
    "acc_check",
    "diff_check",
    "nan_check",
    "exception_dump",
    "overflow_check",
    "free_benchmark",
    "run_ut",
    "grad_probe",
)
"""Settings of tasks that are not done here: nothing of them can be in force, so they are passed over."""


def _task(value: Any, where: str, ignored: list[str]) -> str:
    if value == EXCEPTION_DUMP:
        ignored.append(f"{where}: it is statistics here: what was recorded is on disk when a script raises.")
    if value in (*CHECKS, EXCEPTION_DUMP):
        return str(value)
    refused = {task: _INSTEAD.get(task, _OTHER_TASK) for task in FOREIGN_SECTIONS if task not in CHECKS}
    return str(_choice(TASKS, refused)(value, where, ignored))


TOP: dict[str, Setting] = {
    "task": Setting("task", _task),
    "dump_path": Setting("dump_path", _path),
    "rank": Setting("rank", _ranges),
    "step": Setting("step", _ranges),
    "level": Setting(
        "level",
        _choice(LEVELS, {"L2": "records kernels, which is not done here"}),
    ),
    "async_dump": Setting("async_dump", _flag),
    "audit": Setting("audit", _flag),
    "remeasure": Setting("remeasure", _flag),
    "extra_info": Setting("extra_info", _flag),
    "precision": Setting("precision", _choice(PRECISIONS)),
    "file_format": _FILE_FORMAT,
    "hash": _HASH,
    "dump_enable": Setting("dump_enable", _flag),
    "buffer_mb": Setting("buffer_mb", _megabytes),
    "max_bytes": Setting("max_bytes", _size),
    "max_steps": Setting("max_steps", _count),
    "every": Setting("every", _count),
    "budget": Setting("budget", _share),
    "nan_word": Setting("nan_word", _flag),
    "risk_level": Setting("", _no_effect("all calls are recorded, whatever their risk", silent=("ALL",))),
    "custom_op_namespaces": Setting(
        "", _no_effect("operators called through torch.ops are recorded, whatever their namespace")
    ),
    "enable_dataloader": Setting("", _no_effect("call start() and stop() around a step", silent=(False,))),
    "acl_config": Setting("", _no_effect("kernels are not recorded")),
    "load": Setting("", _refused("replacing a module's inputs by recorded ones is not done here; remove it")),
}
SECTION: dict[str, Setting] = {
    "scope": Setting("scope", _scope),
    "list": Setting("api_list", _filters),
    "tensor_list": Setting("tensor_list", _filters),
    "data_mode": Setting("data_mode", _data_mode),
    "summary_mode": Setting("summary_mode", _summary_mode),
    "file_format": _FILE_FORMAT,
    "hash": _HASH,
    "slice": Setting("", _no_effect("whole tensors are recorded", silent=([],))),
    "request_id": Setting("request_id", _request),
    "diff_nums": Setting("", _no_effect("it belongs to msprobe's diff_check")),
    "bench_path": Setting("", _no_effect("recording does not compare; use `acc compare` afterwards", silent=("",))),
    "backward_input": Setting("", _no_effect("kernels are not recorded", silent=([],))),
    "online_run_ut": Setting("", _no_effect("nothing is sent to another machine", silent=(False,))),
    "device": Setting("", _no_effect("where statistics are computed follows from the tensor")),
    "precision": Setting("", _no_effect("give it at the top level of the file")),
}


OWN = ("audit", "remeasure", "buffer_mb", "max_bytes", "max_steps", "every", "budget", "nan_word", "hash")
"""Keys that msprobe does not have."""

PASSED_OVER: dict[str, str] = {
    "seed": "seed_all(seed) in the script, or acc dump --seed, seeds a run",
    "is_deterministic": "seed_all(mode=True) in the script, or acc dump --deterministic, asks for it",
    "rm_dropout": "seed_all(rm_dropout=True) in the script takes dropout out",
    "framework": "the dump of a PyTorch run is written",
    "custom_api": "dump.register_custom_api records calls of a function of one's own",
    "seq_len": "whole tensors are recorded",
    "overflow_nums": "it belongs to msprobe's overflow_check",
    "check_mode": "it belongs to msprobe's overflow_check",
    "white_list": "it belongs to msprobe's acc_check",
    "black_list": "it belongs to msprobe's acc_check",
    "error_data_path": "it belongs to msprobe's acc_check",
    "is_print_compare_log": "it belongs to msprobe's compare",
}
"""Keys that are seen in files written for msprobe and that some version of it does not read, each with what is so."""


def wrong(where: str, expected: str, found: object) -> ConfigError:
    return ConfigError(f"{where}: expected {expected}, found {kind_of(found)}.")


def kind_of(value: object) -> str:
    """A value in a few words: short scalars as they stand, the rest by its kind."""
    text = json.dumps(value) if isinstance(value, (str, int, float)) else ""
    kind = _KINDS.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)
    return f"{kind} ({text})" if 0 < len(text) <= 40 else kind


def quoted(text: str) -> str:
    """Text from the file in quotes, on one line and not endless."""
    line = text if text.isprintable() else ascii(text)[1:-1]
    return f"'{line}'" if len(line) <= _LONGEST_SHOWN else f"'{line[:_LONGEST_SHOWN]}...'"


def closest(word: str, known: Iterable[str]) -> str | None:
    """The word that `word` may be a mistyping of."""
    lowered = {each.lower(): each for each in sorted(set(known))}
    close = get_close_matches(word.lower(), lowered, n=1)
    return lowered[close[0]] if close else None


def nearest(word: str, known: Iterable[str]) -> str:
    known = sorted(set(known))
    close = closest(word, known)
    return f" Did you mean '{close}'?" if close else f" Known: {', '.join(known)}."


def any_of(words: Iterable[str]) -> str:
    *most, last = (f"'{word}'" for word in words)
    return f"{', '.join(most)} or {last}" if most else last
