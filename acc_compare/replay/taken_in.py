"""What an earlier replay says of a comparison's suspects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from acc_compare.messages import Message, say
from acc_compare.model import Finding, MadeAgain, Suspect
from acc_compare.replay.results import KnownVerdict
from dump.format.names import BACKWARD, FORWARD, parse


def with_verdicts(finding: Finding, known: Sequence[KnownVerdict]) -> Finding:
    """`finding` with a word of the replay's first among the evidence of each suspect that was made again, and with what
    it says of every call of that step and rank."""
    return replace(
        finding,
        suspects=tuple(_told(suspect, known) for suspect in finding.suspects),
        made_again=tuple(
            MadeAgain(verdict.name, verdict.verdict, _said(verdict))
            for verdict in known
            if _is_there(finding.step, verdict.step) and _is_there(finding.rank, verdict.rank)
        ),
    )


def _told(suspect: Suspect, known: Sequence[KnownVerdict]) -> Suspect:
    for verdict in known:
        if _is_same(suspect, verdict):
            return replace(suspect, evidence=(_said(verdict), *suspect.evidence))
    return suspect


def _is_same(suspect: Suspect, verdict: KnownVerdict) -> bool:
    is_place = _is_there(suspect.step, verdict.step) and _is_there(suspect.rank, verdict.rank)
    return verdict.name == suspect.name and is_place


def _is_there(place: int | None, other: int | None) -> bool:
    """Are two steps, or two ranks, the same as far as is known?"""
    return place is None or other is None or place == other


def _said(verdict: KnownVerdict) -> Message:
    if verdict.verdict == "not_replayed":
        return say("replay.says.not_replayed")
    if verdict.verdict == "inherited":
        return say("replay.says.inherited", forward=_forward(verdict.name))
    if verdict.verdict == "cleared" or verdict.cause == "replay":
        return say("replay.says.cleared_bench" if verdict.bench_wrong else "replay.says.cleared")
    side = say("replay.side.both" if verdict.bench_wrong else "replay.side.npu")
    if verdict.ulp is None:
        return say("replay.says.unmeasured", side=side)
    return say("replay.says.confirmed", ulp=verdict.ulp, side=side)


def _forward(name: str) -> str:
    return f"{name.removesuffix(BACKWARD)}{FORWARD}" if parse(name).direction == BACKWARD else name
