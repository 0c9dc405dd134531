"""One `acc compare` of two recordings, and what its advisor names."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Named:
    """A suspect as a tool names it.  `kind` is empty where the tool tells none, `step` and `rank` None likewise."""

    name: str
    kind: str = ""
    step: int | None = None
    rank: int | None = None
    rel_l2: float | None = None
    expected: float | None = None

    def __str__(self) -> str:
        error = "" if self.rel_l2 is None else f" off {self.rel_l2:.2g}"
        normal = "" if self.expected is None else f" of {self.expected:.2g} normal"
        place = "".join(
            f" {what} {number}" for what, number in (("step", self.step), ("rank", self.rank)) if number is not None
        )
        return f"{self.kind or '-'} {self.name}{place}{error}{normal}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Suspects, the first first; or why there is no verdict."""

    suspects: tuple[Named, ...] = ()
    error: str = ""


def preload() -> None:
    """Import what a comparison needs, once for all the processes forked from here."""
    from acc_compare import cli, comparison  # noqa: F401


def compare(npu: Path, bench: Path, out: Path) -> None:
    """Run `acc compare` in this process, which ends with its exit code."""
    from acc_compare import cli

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    log = os.open(out / "log.txt", os.O_WRONLY | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    raise SystemExit(cli.main(["compare", str(npu), str(bench), "-q", "-o", str(out), "--format", "csv"]))


def read_verdict(out: Path) -> Verdict:
    """What the comparison below `out` said."""
    found = sorted((out / "accuracy_compare").glob("advisor_*.json"))
    if not found:
        log = out / "log.txt"
        told = log.read_text(encoding="utf-8", errors="replace").strip() if log.is_file() else "no log"
        return Verdict(error=f"no verdict: {told[-300:]}")
    return Verdict(tuple(_named(part) for part in json.loads(found[-1].read_bytes())["suspects"]))


def _named(part: dict[str, Any]) -> Named:
    return Named(**{field: part[field] for field in ("name", "kind", "step", "rank", "rel_l2", "expected")})
