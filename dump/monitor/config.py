"""monitor_config.json to one frozen, validated object.

    {"targets": {}, "wg_distribution": true, "format": "csv", "ops": ["norm", "min", "max", "nans"]}

The keys of msprobe's monitor keep their names, meanings and defaults; null leaves the default.  One that asks for
something that is not done here is named in `MonitorConfig.ignored`, and so is one that nobody knows, which msprobe
passes over; one that looks like a key that was mistyped is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from ..config import read_json
from ..config_keys import closest, kind_of, nearest, parse_ranges, quoted, wrong
from ..format.errors import ConfigError
from ..format.paths import from_home

MEASURED_OPS = ("norm", "min", "max", "mean", "zeros", "nans", "sketch")
OPS = (*MEASURED_OPS, "id", "shape", "dtype")
RULES = ("AnomalyTurbulence", "AnomalyNan")

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]

# Keys that msprobe knows and that change nothing here, each with why, and the values of which nothing need be said.
_WITHOUT_EFFECT: dict[str, tuple[str, tuple[Any, ...]]] = {
    "recording_l2_features": ("attention entropy and stable ranks are not computed here", (False,)),
    "l2_targets": ("attention entropy and stable ranks are not computed here", ({},)),
    "sa_order": ("attention entropy and stable ranks are not computed here", ("s,b,h,d", "b,s,h,d")),
    "mg_distribution": ("no version of msprobe reads it; use mg_direction", (False,)),
}


class Rule(msgspec.Struct, frozen=True):
    """One rule of `alert`; `threshold` is the number under `args`, None where the rule needs none."""

    rule_name: str
    threshold: float | None = None


class Alert(msgspec.Struct, frozen=True):
    """What is alarming, and whether alarms go to anomaly.json too."""

    rules: tuple[Rule, ...] = ()
    dump: bool = False


class Collectives(msgspec.Struct, frozen=True):
    """`cc_distribution`: which collectives are watched, by patterns of the lines that call them; () for all."""

    enable: bool = False
    cc_codeline: tuple[str, ...] = ()
    cc_log_only: bool = False
    cc_pre_hook: bool = False


class MonitorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What to watch, when, and where it goes.  Field by field what docs/monitor.md says.

    `targets` are the names alone; empty means everything.  `ops` end with shape and dtype.  `ndigits` is 0 for
    full precision.  `plain` is the file as it was read, `ignored` one sentence for each key without effect.
    """

    targets: tuple[str, ...] = ()
    wg_distribution: bool = False
    xy_distribution: bool = False
    all_xy: bool = False
    forward_only: bool = False
    backward_only: bool = False
    mv_distribution: bool = False
    param_distribution: bool = False
    mg_direction: bool = False
    ur_distribution: bool = False
    cc_distribution: Collectives = Collectives()
    ops: tuple[str, ...] = ("norm", "shape", "dtype")
    eps: Annotated[float, msgspec.Meta(ge=0)] = 1e-8
    ndigits: Annotated[int, msgspec.Meta(ge=0, le=20)] = 0
    start_step: Count = 0
    step_interval: Positive = 1
    collect_times: Count = 100_000_000
    step_count_per_record: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    module_ranks: tuple[Count, ...] = ()
    print_struct: bool = False
    stack_info: bool = False
    monitor_mbs_grad: bool = False
    squash_name: bool = False
    append_output: tuple[str, ...] = ()
    dynamic_on: bool = False
    alert: Alert = Alert()
    format: str = "csv"
    plain: dict[str, Any] = {}
    ignored: tuple[str, ...] = ()

    @property
    def watches_everything(self) -> bool:
        return not self.targets


_KEYS = tuple(name for name in MonitorConfig.__struct_fields__ if name not in ("plain", "ignored"))


def load_config(path: Path | str) -> MonitorConfig:
    """The settings of a monitor_config.json.

    Raises ConfigError, one line with the file, the key, what was expected and found, and the nearest key.
    """
    source = from_home(path)
    content = read_json(source)
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: expected a JSON object, found {kind_of(content)}.")
    return read_config(content, source=str(source))


def read_config(content: dict[str, Any], *, source: str = "monitor_config") -> MonitorConfig:
    """The settings in an object that came from JSON; `source` names it in errors.  Raises ConfigError."""
    settings: dict[str, Any] = {}
    ignored: list[str] = []
    for key, value in content.items():
        where = f"{source}: {quoted(key)}"
        if key in _WITHOUT_EFFECT:
            why, silent = _WITHOUT_EFFECT[key]
            if value is not None and value not in silent:
                ignored.append(f"{where} has no effect: {why}.")
        elif key not in _KEYS:
            if closest(key, _KEYS) is not None:
                raise ConfigError(f"{where} is unknown.{nearest(key, _KEYS)}")
            ignored.append(f"{where} is unknown and has no effect.")
        elif value is not None:
            settings[key] = _READERS[key](value, where) if key in _READERS else value
    settings.setdefault("ops", _ops([], source))
    try:
        config = msgspec.convert(settings, MonitorConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_told(error)}") from error
    return msgspec.structs.replace(config, plain=content, ignored=tuple(ignored))


def _told(error: msgspec.ValidationError) -> str:
    """`Expected `int`, got `str` - at `$.ndigits`` as `'ndigits': expected int, found str.`"""
    text = str(error).replace("`", "")
    problem, _, place = text.partition(" - at $.")
    problem = problem.replace(", got ", ", found ")
    if not place:
        return f"{problem}."
    return f"'{place}': {problem[0].lower()}{problem[1:]}."


def _object(value: Any, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    """`value` as an object whose keys are all in `known`; nulls are left out."""
    if not isinstance(value, dict):
        raise wrong(where, "an object", value)
    for key in value:
        if key not in known:
            raise ConfigError(f"{where}: {quoted(key)} is unknown.{nearest(key, known)}")
    return {key: item for key, item in value.items() if item is not None}


def _targets(value: Any, where: str) -> list[str]:
    """The names.  What msprobe lets stand beside one, such as {"input": "tuple[2]:0"}, it does not read either."""
    if not isinstance(value, dict):
        raise wrong(where, 'an object such as {"layers.0": {}}', value)
    for name, field in value.items():
        if not isinstance(field, dict):
            raise wrong(f"{where}: {quoted(name)}", "an object such as {}", field)
    return [name for name in value if name]


def _ops(value: Any, where: str) -> list[str]:
    if not isinstance(value, list):
        raise wrong(where, "a list such as ['norm', 'min', 'max', 'nans']", value)
    for op in value:
        if op not in OPS:
            raise ConfigError(f"{where}: {quoted(str(op))} is unknown.{nearest(str(op), OPS)}")
    asked = list(dict.fromkeys(value))
    if not set(asked) & set(MEASURED_OPS):
        asked.insert(0, "norm")
    return [*asked, *(op for op in ("shape", "dtype") if op not in asked)]


def _alert(value: Any, where: str) -> dict[str, Any]:
    content = _object(value, where, ("rules", "dump"))
    rules = content.get("rules", [])
    if not isinstance(rules, list):
        raise wrong(f"{where}: 'rules'", "a list", rules)
    return {**content, "rules": [_rule(rule, f"{where}: rule {number}") for number, rule in enumerate(rules)]}


def _rule(value: Any, where: str) -> dict[str, Any]:
    content = _object(value, where, ("rule_name", "args"))
    name = content.get("rule_name")
    if name not in RULES:
        raise ConfigError(f"{where}: rule_name {quoted(str(name))} is unknown.{nearest(str(name), RULES)}")
    arguments = _object(content.get("args", {}), f"{where}: 'args'", ("threshold",))
    threshold = arguments.get("threshold")
    if threshold is None and name == "AnomalyTurbulence":
        raise ConfigError(f'{where}: AnomalyTurbulence needs a threshold, such as "args": {{"threshold": 0.5}}.')
    is_number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if threshold is not None and not (is_number and threshold >= 0):
        raise wrong(f"{where}: 'threshold'", "a number of at least 0", threshold)
    return {"rule_name": name, "threshold": threshold}


def _collectives(value: Any, where: str) -> dict[str, Any]:
    return _object(value, where, Collectives.__struct_fields__)


def _append_output(value: Any, where: str) -> list[str]:
    from .output import read_timestamp

    if not isinstance(value, list) or len(value) not in (0, 2):
        raise wrong(where, "no or two timestamps, such as ['Dec03_21-34-40', 'Dec03_21-34-41']", value)
    for text in value:
        if not isinstance(text, str) or read_timestamp(text) is None:
            raise wrong(where, "timestamps such as 'Dec03_21-34-40'", text)
    return value


def _ndigits(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(where, "a number of digits from 1 to 20", value)
    return value


def _format(value: Any, where: str) -> str:
    from .writers import WRITERS

    if value not in WRITERS:
        raise ConfigError(f"{where}: {quoted(str(value))} is unknown.{nearest(str(value), WRITERS)}")
    return str(value)


def _ranks(value: Any, where: str) -> Any:
    """Numbers; as text too, which msprobe's own examples have."""
    if isinstance(value, str):
        return sorted(parse_ranges(value, where=where))
    if not isinstance(value, list):
        return value
    return [int(rank) if isinstance(rank, str) and rank.isdecimal() and len(rank) < 7 else rank for rank in value]


_READERS: dict[str, Any] = {
    "module_ranks": _ranks,
    "targets": _targets,
    "ops": _ops,
    "alert": _alert,
    "cc_distribution": _collectives,
    "append_output": _append_output,
    "ndigits": _ndigits,
    "format": _format,
}
