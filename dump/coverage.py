"""What a recording saw and what it missed: for the header of each step, and in one sentence at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .config import DumpConfig

if TYPE_CHECKING:
    from .intercept.interceptors import Interceptors
    from .record.recorder import StepRecorder

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Coverage:
    """The account of one step.

    `calls` is the number of records; `not_recordable` counts tensors by the reason why they were not measured,
    `failed` what went wrong in our own hooks; `overwritten` is the number of values found changed past torch's
    version counter (`record.identity`), `elsewhere` that of calls of models on other threads than the one recorded,
    `repeated` that of backward passes through the graph of a call whose first pass alone is recorded.
    `scripted_code` tells of scripted and compiled code, whose insides nobody sees (`intercept.scripted_code`); `audit`
    is what the dispatcher was seen to run (`intercept.audit`), None where nobody looked; `left_out` is what this torch
    did not allow to record, with the reason (`intercept.points`), `models` whose modules' names begin with what.
    """

    calls: int
    not_recordable: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    overwritten: int = 0
    elsewhere: int = 0
    repeated: int = 0
    scripted_code: Mapping[str, Any] = field(default_factory=dict)
    audit: Mapping[str, Any] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)

    def header(self) -> dict[str, object]:
        """As it stands in dump.json."""
        found: dict[str, object] = {
            "calls": self.calls,
            "not_recordable": self.not_recordable,
            "failed": self.failed,
            **self.scripted_code,
            **(self.audit or {}),
        }
        if self.left_out:
            found["left_out"] = self.left_out
        if self.models:
            found["models"] = self.models
        if self.repeated:
            found["repeated"] = self.repeated
        return {**found, "overwritten": self.overwritten} if self.overwritten else found


def covered(recorder: StepRecorder, interceptors: Interceptors, left_out: Mapping[str, str]) -> Coverage:
    """The account of a step that ends: what its recorder and the interceptors have counted, which begin anew."""
    return Coverage(
        calls=recorder.calls,
        not_recordable=recorder.skipped,
        failed=interceptors.watch.take_failures(),
        overwritten=recorder.overwritten,
        elsewhere=interceptors.watch.take_elsewhere(),
        repeated=recorder.repeated,
        scripted_code=interceptors.scripted_code.take(),
        audit=interceptors.audit.take() if interceptors.audit is not None else None,
        left_out={**left_out, **interceptors.left_out()},
        models=interceptors.modules.models(),
    )


@dataclass(frozen=True, slots=True)
class Nothing:
    """Why nothing was recorded; `is_wanted` where the user said so."""

    reason: str
    is_wanted: bool = False


def why_nothing(config: DumpConfig, *, steps: int, is_wanted_rank: bool) -> Nothing:
    """Why a run of `steps` steps left no dump."""
    if not is_wanted_rank:
        return Nothing("this rank was not asked for", is_wanted=True)
    if config.dump_enable is False:
        return Nothing("dump_enable is false in config.json", is_wanted=True)
    if config.step and steps <= (first := min(config.step)) and first:
        return Nothing(f"the script ended after {_many(steps, 'step')}, before step {first}")
    if config.api_list or config.scope:
        return Nothing("'list' and 'scope' leave out all that was called")
    if config.level == "L0":
        return Nothing("no module was called (.forward() by itself is none; level L1 records what runs inside it)")
    return Nothing("the script called no operator that could be recorded")


def not_recorded(left_out: Mapping[str, str]) -> str:
    """What was left out, with the reasons, in words."""
    import torch  # not at the top: `acc dump --help` needs this file and no torch

    shown = list(left_out.items())[:_NAMED]
    named = "; ".join(f"{name}: {reason}" for name, reason in shown)
    if len(left_out) > len(shown):
        named += f"; and {len(left_out) - len(shown)} more"
    return f"not recorded with torch {torch.__version__}: {named}"


def sentence(steps: Sequence[Coverage]) -> str:
    """What was missed over all steps; "" where nobody knows of anything."""
    parts = []
    scripted = [step.scripted_code.get("scripted", {}) for step in steps if step.audit is None]
    for label, counts in (
        ("not recordable", _sum([step.not_recordable for step in steps])),
        ("failed", _sum([step.failed for step in steps])),
        (
            "not seen inside scripted",
            _sum(scripted),
        ),
    ):
        if counts:
            parts.append(f"{label}: {_listed(counts)}")
    compiled = steps[-1].scripted_code.get("compiled") if steps else None
    if compiled:
        operators, graphs = _many(compiled["operators"], "operator"), _many(compiled["graphs"], "graph")
        parts.append(f"not seen inside compiled: {operators} of {graphs}")
    overwritten = sum(step.overwritten for step in steps)
    if overwritten:
        parts.append(f"overwritten past the version counter: {_many(overwritten, 'value')}")
    elsewhere = sum(step.elsewhere for step in steps)
    if elsewhere:
        parts.append(f"not recorded on other threads: {_many(elsewhere, 'call')} of modules")
    repeated = sum(step.repeated for step in steps)
    if repeated:
        passes = _many(repeated, "further backward pass", "es")
        parts.append(f"not recorded at level L0: {passes} through the same graph")
    audits = [step.audit for step in steps if step.audit is not None]
    if audits:
        parts.append(_audited(audits))
    left_out = {name: reason for step in steps for name, reason in step.left_out.items()}
    if left_out:
        parts.append(not_recorded(left_out))
    return "; ".join(parts)


def _audited(audits: Sequence[Mapping[str, Any]]) -> str:
    dispatched = sum(sum(audit["dispatched"].values()) for audit in audits)
    unseen = _sum([{name: found["calls"] for name, found in audit["unseen"].items()} for audit in audits])
    if not unseen:
        return f"all {dispatched:,} dispatched operators ran under a recorded call"
    recorded = any(found["recorded_as"] for audit in audits for found in audit["unseen"].values())
    how = ", recorded by themselves" if recorded else ""
    return f"{sum(unseen.values()):,} of {dispatched:,} dispatched operators ran under no call{how}: {_listed(unseen)}"


def _sum(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            total[name] = total.get(name, 0) + number
    return total


def _listed(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    rest = len(ordered) - _NAMED
    named = [f"{name} {number:,}" for name, number in ordered[:_NAMED]]
    return ", ".join([*named, f"and {_many(rest, 'more kind')}"] if rest > 0 else named)


def _many(number: int, one: str, ending: str = "s") -> str:
    return f"{number:,} {one}{ending if number != 1 else ''}"
