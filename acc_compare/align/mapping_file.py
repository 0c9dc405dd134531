"""map.yaml to rules.  The file is untrusted: plain texts, lists and tables only, of bounded size and depth.

modules: {encoder.layers.*.attn: decoder.blocks.*.attention}      NPU: bench
classes: {NpuRMSNorm: LlamaRMSNorm}
apis:    {NPU.npu_fast_gelu: Functional.gelu}
calls:   {Functional.linear.3.forward: Functional.linear.4.forward}
fused:   {my_norm: {fused: NPU.my_norm, composites: [pow mean add rsqrt mul]}}
layers:  {TransformerLayer: {self_attention: attn}}                  by the class of the module around it
shipped: false                                                     leave the shipped table out

msprobe's mappings are taken too: of data (Functional.linear.3.forward.input.0: Functional.linear.4.forward.input.0),
of layers (TopLayer: {0.module: module} ..., a table for each class), of cells (fc2.Dense: fc2.Linear) and of APIs (a
list of entries with ms_api and pt_api).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from acc_compare.align.paths import Renaming
from acc_compare.align.rules import FusedRule, Rules, Step, steps_of
from dump.format.errors import ConfigError
from dump.format.paths import from_home

LARGEST = 256 * 1024
"""Bytes of a mapping file; the largest that makes sense names each call of a large model."""

_DEEPEST = 8
_MOST_NODES = 50_000
_SHIPPED = Path(__file__).with_name("known_pairs.yaml")
_TABLES = ("modules", "classes", "apis", "calls")
_KEYS = (*_TABLES, "layers", "fused", "shipped")
_RULE_KEYS = ("fused", "composites", "outputs")
_MOST_RULES = 200
_MOST_STEPS = 32
_SHOWN = 60
_CALL = re.compile(r"(.+?\.\d+)\.(?:forward|backward)(?:\..*)?", re.DOTALL)
"""The name of an argument, or of a call, as msprobe's data mapping has it; its group is the call's."""

_CELL = re.compile(r"(.+)\.([A-Z]\w*)", re.DOTALL)
"""A module's path and its class, as msprobe's cell mapping has them."""

_API = re.compile(r"[A-Z]\w*\.[a-z_]\w*")
"""An API with its prefix, as msprobe's API mapping has it."""

_PLACES = ("args", "outputs", "parameters", "parameters_grad")

Node: TypeAlias = "str | list[Node] | dict[str, Node]"


def read_rules(path: Path | str | None, *, is_fuzzy: bool = False) -> Rules:
    """The rules of a mapping file, and the shipped ones after them; the shipped ones alone for None.

    Raises ConfigError where the file cannot be read or says something else than the module's docstring allows.
    """
    if path is None:
        return Rules(fused=shipped(), is_fuzzy=is_fuzzy)
    source = from_home(path)
    content = plain_yaml(source)
    if isinstance(content, list) and any(isinstance(entry, dict) for entry in content):
        content = _of_apis(content, source)
    found = _table(content, source, "the file")
    if found and not set(found) & set(_KEYS):
        found = _of_msprobe(found, source)
    _known(found, _KEYS, source, "the file")
    tables = {key: _names(found.get(key, {}), source, key) for key in _TABLES}
    for side in tables["apis"].items():
        for api in side:
            if "." not in api:
                raise _wrong(source, f"apis: {_brief(api)} lacks its prefix, as in Functional.{_brief(api)}")
    layers = {
        kind: _names(table, source, f"layers: {_brief(kind)}")
        for kind, table in _table(found.get("layers", {}), source, "layers").items()
    }
    own = _fused(found.get("fused", {}), source)
    keeps = _flag(found.get("shipped", "true"), source)
    return Rules(Renaming(**tables, layers=layers), (*own, *(shipped() if keeps else ())), is_fuzzy, str(source))


def _of_msprobe(found: Mapping[str, Node], source: Path) -> dict[str, Node]:
    """A mapping of msprobe's under our keys; another file as it is."""
    if all(_CALL.match(key) for key in found):
        return {"calls": _calls_of_arguments(found, source)}
    if all(key[:1].isupper() and isinstance(value, dict) for key, value in found.items()):
        return {"layers": dict(found)}
    if all(_CELL.fullmatch(key) and isinstance(value, str) and _CELL.fullmatch(value) for key, value in found.items()):
        return _of_cells({key: value for key, value in found.items() if isinstance(value, str)}, source)
    if all(_API.fullmatch(key) and isinstance(value, str) and _API.fullmatch(value) for key, value in found.items()):
        return {"apis": dict(found)}
    return dict(found)


def _of_apis(entries: Sequence[Node], source: Path) -> dict[str, Node]:
    """msprobe's API mapping, entry by entry, `ms_api` for this side.

    Raises ConfigError where arguments or results change places, which is not followed.
    """
    apis: dict[str, Node] = {}
    for entry in entries:
        table = _table(entry, source, "an entry of a list")
        mine, other = (table.get(f"{side}_api") for side in ("ms", "pt"))
        if not isinstance(mine, str) or not isinstance(other, str):
            raise _wrong(source, "a list: expected entries of an API mapping, with 'ms_api' and 'pt_api'")
        for place in _PLACES:
            if table.get(f"ms_{place}") != table.get(f"pt_{place}"):
                raise _wrong(source, f"{_brief(mine)}: {place} that change places are not followed")
        if apis.setdefault(mine, other) != other:
            raise _wrong(source, f"{_brief(mine)} answers to two others")
    return {"apis": apis}


def _of_cells(found: Mapping[str, str], source: Path) -> dict[str, Node]:
    """msprobe's cell mapping, `path.Class: path.Class`, as modules and classes."""
    modules: dict[str, Node] = {}
    classes: dict[str, Node] = {}
    for key, value in found.items():
        sides = zip(key.rpartition("."), value.rpartition("."), strict=True)
        for table, (mine, other) in zip((modules, {}, classes), sides, strict=True):
            if mine != other and table.setdefault(mine, other) != other:
                raise _wrong(source, f"{_brief(key)}: {_brief(mine)} answers to two others")
    return {"modules": modules, "classes": classes}


def _calls_of_arguments(found: Mapping[str, Node], source: Path) -> dict[str, Node]:
    """msprobe's data mapping, argument by argument, as the calls that the arguments belong to.

    Raises ConfigError where arguments of one call answer to two.
    """
    calls: dict[str, Node] = {}
    for key, value in found.items():
        name, other = _CALL.match(key), _CALL.match(value) if isinstance(value, str) else None
        if name is None or other is None:
            raise _wrong(source, f"{_brief(key)}: expected the name of an argument or call, found {_kind(value)}")
        pair = f"{name[1]}.forward", f"{other[1]}.forward"
        if calls.setdefault(*pair) != pair[1]:
            raise _wrong(
                source, f"{_brief(pair[0])}: its arguments answer to two calls, {calls[pair[0]]} and {pair[1]}"
            )
    return calls


def plain_yaml(source: Path) -> Node:
    """Any small YAML file of plain texts, lists and tables.  Raises ConfigError."""
    return _parsed(_text(source), source)


@cache
def shipped() -> tuple[FusedRule, ...]:
    """The table that comes with the package."""
    found = _table(_parsed(_SHIPPED.read_text(encoding="utf-8"), _SHIPPED), _SHIPPED, "the file")
    return _fused(found["fused"], _SHIPPED)


def _text(source: Path) -> str:
    try:
        if not source.is_file():
            raise ConfigError(f"{source}: no such file. docs/mapping.md shows what goes into a mapping.")
        with source.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise ConfigError(f"{source}: cannot be read ({error}).") from error
    if len(data) > LARGEST:
        raise _wrong(source, f"more than {LARGEST} bytes; rename modules by their beginnings, with * for numbers")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _wrong(source, "it is not UTF-8") from None


def _parsed(text: str, source: Path) -> Node:
    """The file as texts, lists and tables.

    From PyYAML's events, one at a time: nothing is constructed by tags, aliases and merge keys (which can blow a small
    file up) are refused, and the limits hold before anything is built.
    """
    try:
        events = _counted(yaml.parse(text, Loader=yaml.SafeLoader), source)
        for event in events:
            if isinstance(event, yaml.NodeEvent):
                found = _node(event, events, source)
                if any(isinstance(later, yaml.NodeEvent) for later in events):
                    raise _wrong(source, "it holds more than one document")
                return found
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())[:200]
        hint = "; put names that begin with * in quotes" if "alias" in said else ""
        raise _wrong(source, f"not YAML: {said}{hint}") from None
    except (ValueError, OverflowError, IndexError) as error:  # PyYAML on odd escapes and versions
        raise _wrong(source, f"not YAML: {_brief(str(error))}") from None
    return {}


def _counted(events: Iterator[Any], source: Path) -> Iterator[Any]:
    depth = 0
    for number, event in enumerate(events):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or number > _MOST_NODES:
            raise _wrong(source, f"it nests deeper than {_DEEPEST} levels, or has more than {_MOST_NODES} entries")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _wrong(source, "anchors and aliases (& and *) are not taken; put names that begin with * in quotes")
        if getattr(event, "tag", None):
            raise _wrong(source, f"tags are not taken, found {_brief(str(event.tag))}")
        yield event


def _node(event: Any, events: Iterator[Any], source: Path) -> Node:
    if isinstance(event, yaml.ScalarEvent):
        return str(event.value)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Node] = []
        for item in events:
            if isinstance(item, yaml.SequenceEndEvent):
                return items
            items.append(_node(item, events, source))
    table: dict[str, Node] = {}
    for key in events:
        if isinstance(key, yaml.MappingEndEvent):
            return table
        if not isinstance(key, yaml.ScalarEvent):
            raise _wrong(source, "a key must be a text")
        if key.value in table:
            raise _wrong(source, f"the key {_brief(key.value)} stands twice")
        table[key.value] = _node(next(events), events, source)
    raise _wrong(source, "it ends too early")


def _table(node: Node, source: Path, where: str) -> dict[str, Node]:
    if node == "":
        return {}
    if not isinstance(node, dict):
        raise _wrong(source, f"{where}: expected a table of names, found {_kind(node)}")
    return node


def _names(node: Node, source: Path, where: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for key, value in _table(node, source, where).items():
        if not isinstance(value, str) or not value or not key:
            raise _wrong(source, f"{where}: {_brief(key)}: expected the name on the bench side, found {_kind(value)}")
        found[key] = value
    return found


def _fused(node: Node, source: Path) -> tuple[FusedRule, ...]:
    rules = []
    table = _table(node, source, "fused")
    if len(table) > _MOST_RULES:
        raise _wrong(source, f"fused: more than {_MOST_RULES} entries")
    for name, body in table.items():
        where = f"fused: {_brief(name)}"
        rule = _table(body, source, where)
        _known(rule, _RULE_KEYS, source, where)
        calls = _texts(rule.get("fused", []), source, f"{where}: fused")
        if not calls or any("." not in call for call in calls):
            raise _wrong(source, f"{where}: fused: expected names with their prefix, such as NPU.npu_rms_norm")
        composites: list[tuple[Step, ...]] = []
        for text in _texts(rule.get("composites", []), source, f"{where}: composites"):
            if len(text.split()) > _MOST_STEPS or len(composites) == _MOST_STEPS:
                raise _wrong(source, f"{where}: composites: more than {_MOST_STEPS} steps, or composites")
            try:
                composites.append(steps_of(text))
            except ValueError as error:
                raise _wrong(source, f"{where}: composites: {_brief(text)}: {error}") from None
        if not composites and len(calls) < 2:
            raise _wrong(source, f"{where}: give composites, or a second name under fused")
        outputs = _names(rule.get("outputs", {}), source, f"{where}: outputs")
        rules.append(FusedRule(name, calls, tuple(composites), outputs))
    return tuple(rules)


def _texts(node: Node, source: Path, where: str) -> tuple[str, ...]:
    items = [node] if isinstance(node, str) else node
    if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
        raise _wrong(source, f"{where}: expected a text or a list of texts")
    return tuple(item for item in items if isinstance(item, str))


def _flag(node: Node, source: Path) -> bool:
    if node not in ("true", "false"):
        raise _wrong(source, f"shipped: expected true or false, found {_kind(node)}")
    return node == "true"


def _known(table: Mapping[str, Node], keys: tuple[str, ...], source: Path, where: str) -> None:
    for key in table:
        if key not in keys:
            near = get_close_matches(key[:_SHOWN], keys, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(keys)}"
            raise _wrong(source, f"{where}: unknown key {_brief(key)}; {hint}")


def _kind(node: Node) -> str:
    if isinstance(node, str):
        return f"the text {_brief(node)}" if node else "nothing"
    return "a list" if isinstance(node, list) else "a table"


def _brief(text: str) -> str:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return repr(shown)


def _wrong(source: Path, what: str) -> ConfigError:
    return ConfigError(f"{source}: {what}. docs/mapping.md shows what goes into a mapping file.")
