"""A comparison as TensorBoard shows it: the error of each module by step, and the graph of calls.

Each rank is a run of its own.  Scalars are `error/MODULE` and `excess/MODULE`, the worst of the module's calls, and
`worst/error`, `worst/excess` and `suspects` over all.  The graph is that of the step that is furthest off: a node for
each call under its module, with edges from who made what it reads; nodes are coloured by device, which is what the
localisation says of the call.
"""

from __future__ import annotations

import importlib
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acc_compare.measured.calls import is_output
from acc_compare.measured.profile import profile_of
from acc_compare.model import Finding, Role, Row
from acc_compare.row_names import split_names
from dump.format.errors import ConfigError, OutputError
from dump.format.names import parse
from dump.format.schema import TensorRecord

MODULES = 1_000
"""Modules that have scalars, the furthest off first."""

NODES = 20_000
"""Calls of a graph; TensorBoard lays out no more."""

_TOP = "(no module)"
_UNUSUAL = re.compile(r"[^A-Za-z0-9_.\-/]")
_ORDER: tuple[Role, ...] = ("introduced", "input", "random", "propagated", "absorbed", "agrees", "")
"""What is said of a call whose arguments play several roles: the first of these."""


@dataclass(frozen=True, slots=True)
class _Protos:
    """What TensorBoard's events are made of."""

    writer: Any
    event: Any
    summary: Any
    graph: Any
    node: Any

    @classmethod
    def load(cls) -> _Protos:
        try:
            names = ("event_pb2", "summary_pb2", "graph_pb2", "node_def_pb2")
            event, summary, graph, node = (
                importlib.import_module(f"tensorboard.compat.proto.{each}") for each in names
            )
            writer = importlib.import_module("tensorboard.summary.writer.event_file_writer")
        except ImportError as error:
            raise ConfigError(
                "--tensorboard: the package tensorboard is missing. pip install 'acc-compare[tensorboard]'."
            ) from error
        return cls(writer.EventFileWriter, event.Event, summary.Summary, graph.GraphDef, node.NodeDef)


def require_tensorboard() -> None:
    """Raises ConfigError where TensorBoard's package is missing."""
    _Protos.load()


def write_tensorboard(findings: Sequence[Finding], folder: Path) -> tuple[Path, ...]:
    """Write `findings`, which have their rows, as event files below `folder`; returns the folder of each run.

    Raises ConfigError where the package tensorboard is missing, OutputError where the folder cannot be written.
    """
    protos = _Protos.load()
    ranks: dict[int | None, list[Finding]] = {}
    for finding in findings:
        ranks.setdefault(finding.rank, []).append(finding)
    written = []
    for rank, steps in ranks.items():
        run = folder if rank is None else folder / f"rank{rank}"
        try:
            writer = protos.writer(str(run))
            for finding in steps:
                step = finding.step if finding.step is not None else 0
                values = [protos.summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(finding)]
                writer.add_event(protos.event(wall_time=time.time(), step=step, summary=protos.summary(value=values)))
            graph = _graph(max(steps, key=lambda each: each.worst_excess or 0.0), protos)
            writer.add_event(protos.event(wall_time=time.time(), graph_def=graph.SerializeToString()))
            writer.close()
        except OSError as error:
            raise OutputError(f"--tensorboard: {run} cannot be written ({error.strerror or error})") from error
        written.append(run)
    return tuple(written)


def _scalars(finding: Finding) -> Iterator[tuple[str, float]]:
    """Tags and values of one step; what is not finite cannot be drawn and is left out."""
    profile = profile_of(finding.rows, max(1, len(finding.rows)))
    worst: dict[str, list[float | None]] = {}
    for module, error, excess in zip(profile.modules, profile.errors, profile.excess, strict=True):
        kept = worst.setdefault(module or _TOP, [None, None])
        for at, value in enumerate((error, excess)):
            before = kept[at]
            if value is not None and math.isfinite(value) and (before is None or value > before):
                kept[at] = value
    ranked = sorted(worst.items(), key=lambda item: -(item[1][1] or 0.0))[:MODULES]
    for module, values in sorted(ranked):
        for kind, value in zip(("error", "excess"), values, strict=True):
            if value is not None:
                yield f"{kind}/{_plain(module)}", value
    for kind, at in (("error", 0), ("excess", 1)):
        found = [values[at] for values in worst.values() if values[at] is not None]
        if found:
            yield f"worst/{kind}", max(value for value in found if value is not None)
    yield "suspects", float(len(finding.suspects))


@dataclass(slots=True)
class _Node:
    """One call: its name in the graph, and what its rows come to."""

    name: str
    operator: str
    roles: set[Role]
    inputs: dict[str, None]
    error: float | None = None


def _graph(finding: Finding, protos: _Protos) -> Any:
    nodes: dict[str, _Node] = {}
    makers: dict[int, str] = {}
    taken: set[str] = set()
    names = split_names([row.npu_name for row in finding.rows])
    for row, (call, argument) in zip(finding.rows, names, strict=True):
        if not call or (call not in nodes and len(nodes) >= NODES):
            continue
        if call not in nodes:
            nodes[call] = _Node(_unique(_node_name(row.module, call), taken), parse(call).api or call, set(), {})
        node = nodes[call]
        node.roles.add(row.origin)
        value = row.npu.value if isinstance(row.npu, TensorRecord) else None
        if is_output(argument):
            node.error = max((each for each in (node.error, _error(row)) if each is not None), default=None)
            if value is not None:
                makers.setdefault(value, node.name)
        elif value is not None and value in makers and makers[value] != node.name:
            node.inputs[makers[value]] = None
    graph = protos.graph()
    for node in nodes.values():
        role = next(each for each in _ORDER if each in node.roles)
        made = protos.node(name=node.name, op=_plain(node.operator), input=list(node.inputs), device=role or "unjudged")
        if node.error is not None:
            made.attr["relative_error"].f = node.error
        graph.node.append(made)
    return graph


def _error(row: Row) -> float | None:
    found = row.metrics.get("RelL2", row.metrics.get("Est. RelL2"))
    return float(found) if isinstance(found, (int, float)) else None


def _node_name(module: str, call: str) -> str:
    return _plain("/".join([*module.split("."), call]) if module else call)


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 0
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found


def _plain(name: str) -> str:
    """`name` as TensorBoard takes it."""
    shown = _UNUSUAL.sub("_", name)
    return shown if shown[:1].isalnum() or shown[:1] == "." else f".{shown}"
