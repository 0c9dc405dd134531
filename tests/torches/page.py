"""What the tests saw under each torch, and docs/compatibility.md made of it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parents[1] / "docs" / "compatibility.md"

_INTRODUCTION = """# Which torch

This page is written by `make test-torches` (`tests/torches/job.py`) from what it saw: an environment for each release,
the tests of the recording half and the end-to-end tests in it, and a recording of one training step. The comparing half
imports no torch. Every interceptor is installed by itself: what a torch does not offer is left out, named on stderr, in
the header of the dump (`coverage.left_out`) and by the advisor.

torch 2.1 to 2.14 and Python 3.10 to 3.13 are meant to work; the table says what of it was run. torch 2.13.0 with
Python 3.11 is what the project itself is tested with, all of it. What failed in a run is run again once it is mended
(`--again`), and the table says so.

Before torch 2.10 `--audit` looks away from what torch.compile has made, which under any dispatch mode would be compiled
anew at each call: an operator that no call stands for is not seen between the graphs, and the closing line says so.
"""

_LEAST = """The lowest release of each dependency that pyproject.toml allows is tested by `make test-lowest`, with torch
2.13.0; the sdist, and the wheel that is made from it, by `make dist`. Both run the tests of the command line from the
installed wheel, and fail where its installation changes what was installed before.
"""
_NEWEST = """
## What torch 2.14 changed for a recorder

Read from the difference of the two installed packages (2.13.0 and 2.14.1); each line names the test that holds it.

- `torch.autograd.Function.apply` is a descriptor in C and no `classmethod` any more
  (`intercept/test_dispatcher_ops.py`, `test_torch_internals.py`).
- `Function.set_output_grad_dtype`: a backward may get its gradient in another dtype than that of its output; it is
  recorded as it arrives (`intercept/test_dispatcher_ops.py`).
- `torch.autograd.graph.node_creation_hook`: the script's hook sees the nodes of the script, none of ours
  (`intercept/test_dispatcher_ops.py`).
- `torch.distributed.gather_single`, and the deprecated `gather_into_tensor` above it, are new collectives with a method
  of the process group: recorded as `Distributed.gather_into_tensor`. A test holds that no method of a group that moves
  tensors is unknown (`intercept/test_collectives.py`).
- `torch.linalg.polar` and `torch.linalg.matrix_sqrth` are new, `torch.qr` and `torch.cholesky` are functions in Python
  that raise (`intercept/test_catalog.py` goes through all that torch lists).
- `torch.nn.functional.linear_cross_entropy` takes probabilities; its place and name stay.
- `LBFGS(maximize=True)`, `Muon(adjust_lr_fn="spectral_unclamped")`; what Muon multiplies inside its step is part of it
  (`intercept/test_optimizer.py`).
- `torch.accelerator.random` joins `torch.accelerator`; a public ImageNet script for it records unmodified
  (`end_to_end/test_accelerator_script.py`).
- `torch.jit` warns of its deprecation; scripts that use it are recorded, and the warning is told of their line
  (`intercept/test_scripted_code.py`).
- DTensor's `linspace` and `logspace`, the backends `nccl2` and `nccl-lazy` of NCCL, hooks and windows of process groups
  change no place at which calls are met. They were not run: they need a GPU.

torch_npu 2.14.0 was tried over the stub CANN libraries beside torch 2.14.1+cu130, the build that PyPI has: both
register the allocator's setting `pinned_reserve_segment_size_mb`, and its import ends the process before any code of
ours runs. With a torch built for the CPU it was not tried; `make test-torch-npu` stays with 2.13.0.
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One run.  `skipped` counts tests by the reason given; `failed` are their names; `left_out` is what the recording
    said it left out, `without` what rests on private names that this torch does not have; `simulated` is the device
    that `--simulated-npu` gives.  `explained` is written by hand: what is known of a failure.  `repeated` is the day on
    which what had failed was run again, and nothing else; `slow_too` are files of which a quick run ran the slow tests
    as well."""

    torch: str
    python: str
    numpy: str
    date: str
    paths: tuple[str, ...]
    quick: bool
    passed: int
    failed: tuple[str, ...]
    skipped: Mapping[str, int]
    calls: int
    left_out: Mapping[str, str]
    without: tuple[str, ...]
    simulated: str
    explained: Mapping[str, str] = field(default_factory=dict)
    repeated: str = ""
    slow_too: tuple[str, ...] = ()

    @property
    def release(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.torch.partition("+")[0].split("."))

    def save(self) -> None:
        path = RESULTS / f"{self.torch.partition('+')[0]}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def outcome_of(
    reports: Sequence[Path],
    probe: Mapping[str, Any],
    *,
    paths: Sequence[str],
    quick: bool,
    slow_too: Sequence[str] = (),
) -> Seen:
    """What pytest's reports in JUnit's XML and the probe say together."""
    passed, failed, skipped = 0, [], Counter[str]()
    for case in chain.from_iterable(ET.parse(report).getroot().iter("testcase") for report in reports):
        name = f"{case.get('classname')}::{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif (skip := case.find("skipped")) is not None:
            skipped[_reason(skip)] += 1
        else:
            passed += 1
    return Seen(
        date=f"{datetime.now(timezone.utc):%Y-%m-%d}",
        paths=tuple(paths),
        quick=quick,
        slow_too=tuple(slow_too),
        passed=passed,
        failed=tuple(failed),
        skipped=dict(skipped),
        **{**probe, "without": tuple(probe["without"])},
    )


def repeated(before: Seen, now: Seen) -> Seen:
    """`before` with what failed in it as it stands `now`."""
    skipped = Counter(before.skipped) + Counter(now.skipped)
    failed = tuple(name for name in before.failed if name in now.failed)
    return replace(
        before,
        python=before.python if now.python == before.python else f"{before.python}; {now.python}",
        passed=before.passed + now.passed,
        failed=failed,
        skipped=dict(skipped),
        explained={name: text for name, text in before.explained.items() if name in failed},
        repeated=now.date,
        left_out=now.left_out,
        without=now.without,
        simulated=now.simulated,
    )


def node_of(name: str) -> str:
    """`tests/a.py::test_it[x]` of the name that a report gives: `tests.a::test_it[x]`."""
    module, _, test = name.partition("::")
    return f"{module.replace('.', '/')}.py::{test}"


def _reason(skip: ET.Element) -> str:
    """Why a test was skipped: where a whole file is, the report has it in the text, as a tuple."""
    message = skip.get("message") or "no reason"
    if message != "collection skipped" or not skip.text:
        return message
    return skip.text.rpartition("Skipped: ")[2].rstrip("')\"\n ")


def read(folder: Path = RESULTS) -> list[Seen]:
    """Every run that is kept, the newest torch first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    for each in found:
        for name in ("paths", "failed", "without", "slow_too"):
            each[name] = tuple(each.get(name, ()))
    return sorted((Seen(**each) for each in found), key=lambda seen: seen.release, reverse=True)


def page_of(runs: Sequence[Seen]) -> str:
    """The page, as Markdown."""
    lines = [
        _INTRODUCTION,
        "| torch | Python | numpy | run | passed | failed | skipped | not recorded | `--simulated-npu` |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for seen in runs:
        cells = (
            seen.torch,
            seen.python,
            seen.numpy,
            f"{seen.date}, {'quick tests' if seen.quick else 'all tests'}"
            + (f"; {seen.repeated} what had failed" if seen.repeated else ""),
            f"{seen.passed:,}",
            f"{len(seen.failed):,}",
            f"{sum(seen.skipped.values()):,}",
            "; ".join(seen.left_out) or "nothing is missing",
            "a device `npu`" if seen.simulated == "npu" else "on the device `cpu`",
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", _LEAST, _NEWEST.strip()]
    for seen in runs:
        lines += [
            "",
            f"## torch {seen.torch}",
            "",
            f"Run: {_named(seen.paths)}{f'; and the slow tests of {_named(seen.slow_too)}' if seen.slow_too else ''}.",
            *_below(seen),
        ]
    return "\n".join(lines) + "\n"


def _below(seen: Seen) -> Iterator[str]:
    if seen.failed:
        yield from ("", "Failed:", "")
        yield from (f"- `{name}`: {seen.explained.get(name, 'not explained yet')}" for name in seen.failed)
    if seen.skipped:
        yield from ("", "Skipped:", "")
        yield from (f"- {number} x {_one_line(reason)}" for reason, number in sorted(seen.skipped.items()))
    if seen.without:
        yield from ("", "This torch lacks private names on which rest:", "", *(f"- {text}" for text in seen.without))


def _named(paths: Sequence[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def write_page() -> None:
    PAGE.write_text(page_of(read()), encoding="utf-8")
