"""config.json and flags to one frozen, validated object.

    {"task": "statistics", "dump_path": "./dump_path", "rank": [], "step": [0, "4-6"], "level": "L1",
     "statistics": {"scope": [], "list": [], "data_mode": ["all"], "summary_mode": "statistics"},
     "tensor": {"scope": [], "list": [], "data_mode": ["all"]}}

Settings that belong to a task stand under its name; those of the task in force count.  The keys of msprobe's
config.json keep their meaning and defaults.  One that asks for something that recording here does not do is
either named in `DumpConfig.ignored` with a sentence, or refused where leaving it out would change the run or
record what the user wanted left out; none is dropped silently.  What msprobe passes over because it does not know it
is named too; `Unknown` says when it is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dump.config_keys import (
    CHECKS,
    EXCEPTION_DUMP,
    FOREIGN_SECTIONS,
    OWN,
    PASSED_OVER,
    SECTION,
    TASKS,
    TOP,
    Setting,
    any_of,
    closest,
    kind_of,
    nearest,
    parse_ranges,
    quoted,
    wrong,
)
from dump.format.errors import ConfigError
from dump.format.paths import from_home, working_folder

__all__ = ["DumpConfig", "load_config", "merge", "parse_ranges", "read_json"]

Task: TypeAlias = Literal["statistics", "tensor", "structure"]
Level: TypeAlias = Literal["L0", "L1", "mix", "debug"]
SummaryMode: TypeAlias = Literal["statistics", "md5", "hash", "xor"]
Digest: TypeAlias = Literal["md5", "crc32", "xxh3", "xor"]

_DIGESTS: Mapping[str, Digest] = {"md5": "md5", "hash": "xxh3", "xor": "xor"}

Unknown: TypeAlias = Literal["strict", "guess", "pass"]
"""What becomes of a key that is not known here.  "strict" refuses it.  "guess" refuses what looks like a key that was
mistyped, and all in a file that has keys of our own; what is left was written for msprobe, is named and passed over.
"pass" passes over all of them, as msprobe does: a file that its callers hand in."""

_TOP_LEVEL = ""  # the key of the settings outside any section, in `DumpConfig.sections`


@dataclass(frozen=True, slots=True)
class DumpConfig:
    """What to record, and where to.

    >>> config = merge(DumpConfig(), task="tensor", step=["0", "4-6"])
    >>> config.task, config.level, sorted(config.step)
    ('tensor', 'L1', [0, 4, 5, 6])

    `rank` and `step` are empty for all; `scope` is empty or (first, last) name; `api_list` and `tensor_list`
    hold parts of call names, or `name-regex(...)`; `dump_enable` is None where nothing can switch recording on
    and off; `buffer_mb` are 2**20 bytes of tensor contents that may wait to be digested or written; `max_bytes`
    and `max_steps` end the recording of a process (`write.limits`), None for no end; `every` and `budget`, a share of
    the run's time, pick steps (`sampling`); `nan_word` writes NaN as msprobe does, None leaves it to whose names are
    called; `request_id` is the request without which a batch is not recorded, "" for any; with `checks_finite` each
    step is looked through for the first NaN; `ignored` holds one sentence for each setting made in the file that has
    no effect here.  `sections` keeps the settings of both tasks, so that changing the
    task by a flag finds its own (`merge`); a relative `dump_path` is of `place`, the working folder as it was made.
    """

    task: Task = "statistics"
    dump_path: Path = Path("./dump_path")
    rank: frozenset[int] = frozenset()
    step: frozenset[int] = frozenset()
    level: Level = "L1"
    async_dump: bool = False
    audit: bool = False
    remeasure: bool = False
    dump_enable: bool | None = None
    extra_info: bool = True
    precision: Literal["high", "low"] = "low"
    scope: tuple[str, ...] = ()
    api_list: tuple[str, ...] = ()
    tensor_list: tuple[str, ...] = ()
    data_mode: tuple[str, ...] = ("all",)
    summary_mode: SummaryMode = "statistics"
    file_format: Literal["pack", "safetensors", "npy", "pt"] = "pack"
    hash: Digest | None = None
    buffer_mb: int = 512
    max_bytes: int | None = None
    max_steps: int | None = None
    every: int = 1
    budget: float | None = None
    nan_word: bool | None = None
    request_id: str = ""
    checks_finite: bool = False
    ignored: tuple[str, ...] = ()
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False, compare=False)
    place: str = field(default_factory=working_folder, repr=False, compare=False)

    @property
    def root(self) -> Path:
        """The folder of the dump, from wherever the script has gone."""
        return Path(self.place, self.dump_path)

    @property
    def digest(self) -> Digest | None:
        """The digest that is taken of every tensor: what `hash` says, else that of the `summary_mode`; None where
        statistics or whole tensors are recorded."""
        if self.task == "tensor" or self.summary_mode == "statistics":
            return None
        return self.hash or _DIGESTS[self.summary_mode]

    def is_wanted(self, scheduled_tokens: Mapping[str, int] | None) -> bool:
        """Is a batch with these requests to be recorded?"""
        return not self.request_id or not scheduled_tokens or self.request_id in scheduled_tokens


def load_config(path: Path | str, *, unknown: Unknown = "guess") -> DumpConfig:
    """The settings of a config.json; `unknown` says what becomes of keys that are not known.

    Raises ConfigError, one line with the file, the key, what was expected and found, and the nearest key.
    """
    source = from_home(path)
    content = read_json(source)
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: expected a JSON object, found {kind_of(content)}.")
    top: dict[str, Any] = {}
    ignored: list[str] = []
    sections: dict[str, Mapping[str, Any]] = {}
    if unknown == "guess" and _has_own_keys(content):
        unknown = "strict"
    for key, value in content.items():
        where = f"{source}: {quoted(key)}"
        if key in TASKS:
            sections[key] = _section(key, value, source, unknown)
        elif key in FOREIGN_SECTIONS:
            if value is not None and not isinstance(value, dict):
                raise wrong(where, "an object", value)
        else:
            _take(key, value, where=where, known=TOP, into=top, ignored=ignored, unknown=unknown)
    _take_check(top)
    asked = content.get("task")
    own = content.get(asked) if top.get("checks_finite") else None
    if isinstance(own, dict) and any(value not in (None, "", [], ["all"]) for value in own.values()):
        ignored.append(f"{source}: {quoted(str(asked))} has no effect: settings under 'statistics' count for it.")
    sections[_TOP_LEVEL] = top
    config = replace(DumpConfig(), **top, ignored=tuple(ignored), sections=sections)
    return _settled(_with_section(config, config.task))


def read_json(source: Path) -> object:
    """What a JSON file of settings holds.  Raises ConfigError where it is not one, or gives a key twice."""
    return _parse_json(_read_text(source), source)


def merge(config: DumpConfig, **flags: object) -> DumpConfig:
    """`config` with the flags that are not None in place of its own settings.

    Flags bear the names of `DumpConfig`'s fields and hold what config.json could (`step="0,2-4"`).  A flag
    that changes the task brings the settings of that task's section with it.  Raises ConfigError.
    """
    by_field = {setting.field: setting for setting in (*TOP.values(), *SECTION.values()) if setting.field}
    given: dict[str, Any] = {}
    ignored: list[str] = []
    for name, value in flags.items():
        setting = by_field.get("api_list" if name == "list" else name)
        if setting is None:
            raise ConfigError(f"flag '{name}' is unknown.{nearest(name, by_field)}")
        if value is None:
            continue
        plain = list(value) if isinstance(value, (tuple, set, frozenset)) else value
        given[setting.field] = setting.read(_as_text(plain), f"flag '{name}'", ignored)
    _take_check(given)
    if given.get("task", config.task) != config.task:
        config = _with_section(_without_section(config), given["task"])
    return _settled(replace(config, **given, ignored=(*config.ignored, *ignored)))


def _take_check(settings: dict[str, Any]) -> None:
    """A task that only checks is statistics with a look at them."""
    if "task" in settings:
        settings["checks_finite"] = settings["task"] in CHECKS
        if settings["task"] in (*CHECKS, EXCEPTION_DUMP):
            settings["task"] = "statistics"


def _settled(config: DumpConfig) -> DumpConfig:
    """`config` where one setting follows from another: what contains what is not known of API calls alone."""
    return replace(config, level="mix") if config.task == "structure" and config.level not in ("L0", "mix") else config


def _has_own_keys(content: Mapping[str, Any]) -> bool:
    """Was the file written for us?  Then a key that nobody knows is a mistake."""
    parts = [content, *(content[task] for task in TASKS if isinstance(content.get(task), dict))]
    return any(key in OWN for part in parts for key in part)


def _section(task: str, value: Any, source: Path, unknown: Unknown) -> Mapping[str, Any]:
    """The fields that a task's section sets, with its own `ignored`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(f"{source}: '{task}'", "an object", value)
    found: dict[str, Any] = {}
    ignored: list[str] = []
    for key, item in value.items():
        _take(
            key,
            item,
            where=f"{source}: {quoted(f'{task}.{key}')}",
            known=SECTION,
            into=found,
            ignored=ignored,
            unknown=unknown,
        )
    return {**found, "ignored": tuple(ignored)}


def _take(
    key: str,
    value: Any,
    *,
    where: str,
    known: Mapping[str, Setting],
    into: dict[str, Any],
    ignored: list[str],
    unknown: Unknown,
) -> None:
    """Read one key into `into`.  null and "" leave the default, as they do in msprobe."""
    setting = known.get(key)
    if setting is None:
        ignored.append(_passed_over(key, value, where=where, known=known, unknown=unknown))
        return
    if value is None or value == "":
        return
    read = setting.read(value, where, ignored)
    if setting.field:
        into[setting.field] = read


def _passed_over(key: str, value: Any, *, where: str, known: Mapping[str, Setting], unknown: Unknown) -> str:
    """What is said of a key that is not known here.  Raises ConfigError where it is refused."""
    places = (*known, *(TASKS if known is TOP else ()))
    elsewhere = ""
    if known is TOP and key in SECTION:
        elsewhere = f"belongs inside the task's section, {any_of(TASKS)}"
    elif known is SECTION and key in TOP:
        elsewhere = "belongs at the top level of the file"
    if unknown == "strict":
        raise ConfigError(f"{where} {elsewhere}." if elsewhere else f"{where} is unknown.{nearest(key, places)}")
    if elsewhere:
        return f"{where} has no effect: it {elsewhere}."
    if key in PASSED_OVER:
        return f"{where} has no effect: {PASSED_OVER[key]}."
    found = closest(key, places)
    if found is not None and unknown == "guess":
        raise ConfigError(f"{where} is unknown.{nearest(key, places)}")
    return f"{where} is unknown and has no effect{'.' if found is None else f'; did you mean {quoted(found)}?'}"


def _without_section(config: DumpConfig) -> DumpConfig:
    """`config` as if the file had no section for its task."""
    section = config.sections.get(config.task, {})
    top = config.sections.get(_TOP_LEVEL, {})
    defaults = {each.name: getattr(DumpConfig(), each.name) for each in fields(config)}
    taken_back = {name: top.get(name, defaults[name]) for name in section if name != "ignored"}
    said = section.get("ignored", ())
    return replace(config, **taken_back, ignored=tuple(each for each in config.ignored if each not in said))


def _with_section(config: DumpConfig, task: str) -> DumpConfig:
    """`config` with the settings of a task's section laid over it."""
    section = config.sections.get(task, {})
    over = {name: value for name, value in section.items() if name != "ignored"}
    return replace(config, **over, ignored=(*config.ignored, *section.get("ignored", ())))


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _read_text(source: Path) -> str:
    try:
        raw = source.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{source}: cannot be read ({reason}). Give the path of a config.json.") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: expected a JSON file in UTF-8, found other bytes.") from error
    if "\0" in text:
        raise ConfigError(f"{source}: expected a JSON file in UTF-8, found a binary file.")
    if not text.strip():
        raise ConfigError(f'{source}: the file is empty. The least it must hold is {{"task": "statistics"}}.')
    return text


def _parse_json(text: str, source: Path) -> object:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ConfigError(f"{source}: {quoted(key)} is given twice. Remove one.")
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        if text[error.pos :].lstrip().startswith(("//", "/*", "#")):
            raise ConfigError(f"{source}: {at}: JSON has no comments. Remove this one.") from error
        if re.search(r",\s*\Z", text[: error.pos]) and text[error.pos : error.pos + 1] in ("}", "]"):
            raise ConfigError(f"{source}: {at}: JSON has no comma before '{text[error.pos]}'.") from error
        raise ConfigError(f"{source}: {at}: not valid JSON: {error.msg}.") from error
    except RecursionError:
        raise ConfigError(f"{source}: nests too deep for a configuration.") from None
    except ValueError as error:  # what else there is: an integer of more than 4,300 digits
        raise ConfigError(f"{source}: holds a number of thousands of digits.") from error
