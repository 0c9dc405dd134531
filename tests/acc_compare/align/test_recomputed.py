from __future__ import annotations

from pathlib import Path

import pytest

from acc_compare.align.recomputed import micro_batches, originals
from acc_compare.report.i18n import text
from dump.format.schema import Argument, CallRecord, Dump, Header, TensorRecord


def dump(text: str, *, batch: int = 4) -> Dump:
    """Calls by name, `~` before a recomputed one, `:value` after one that reads that value."""
    records = []
    for index, word in enumerate(text.split()):
        name, _, value = word.removeprefix("~").partition(":")
        leaf = TensorRecord("torch.float32", (batch, 2), value=int(value) if value else 100 + index)
        records.append(CallRecord(name, index, (Argument("input.0", leaf),), is_recompute=word.startswith("~")))
    return Dump(Path("test"), Header("statistics", "L1"), tuple(records))


def repeated(text: str) -> dict[str, str]:
    return {name: call.name for name, call in originals(dump(text).calls, {}).items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T.a.0.forward T.b.0.forward", {}),
        # Nothing but the order tells: the last part is repeated first, each in its own order.
        (
            "T.a.0.forward T.b.0.forward T.a.1.forward T.b.1.forward ~T.a.2.forward ~T.b.2.forward ~T.a.3.forward",
            {"T.a.2.forward": "T.a.1.forward", "T.b.2.forward": "T.b.1.forward", "T.a.3.forward": "T.a.0.forward"},
        ),
        # The value read tells.
        ("T.a.0.forward:7 T.a.1.forward:8 ~T.a.2.forward:7", {"T.a.2.forward": "T.a.0.forward"}),
        ("~T.a.0.forward T.a.1.forward", {}),
        ("T.b.0.forward ~T.a.0.forward", {}),
        ("T.a.0.forward ~T.a.1.forward ~T.a.2.forward", {"T.a.1.forward": "T.a.0.forward"}),
        ("Module.x.A.forward.0 ~Module.x.A.forward.1", {"Module.x.A.forward.1": "Module.x.A.forward.0"}),
    ],
)
def test_what_a_recomputation_repeats(text: str, expected: dict[str, str]) -> None:
    assert repeated(text) == expected


def step(batches: int, *, operator: str = "a") -> str:
    parts = [f"T.{operator}.{n}.forward T.b.{n}.forward T.b.{n}.backward" for n in range(batches)]
    return " ".join([*parts, "Optimizer.SGD.0.forward"])


def test_micro_batches_are_counted() -> None:
    found = micro_batches(dump(step(3), batch=2), dump(step(1), batch=6))
    assert found is not None
    assert (found.npu, found.bench, found.same_size, found.first_npu) == (3, 1, False, 3)
    assert "runs 3 micro-batches for an optimizer step, the bench side 1 (gradient" in text(found.reason(on_npu=True))
    assert "runs 1 micro-batch for an optimizer step, the NPU side 3 (gradient" in text(found.reason(on_npu=False))
    same = micro_batches(dump(step(3)), dump(step(1)))
    assert same is not None
    assert same.same_size
    assert "the first is compared" in text(same.reason(on_npu=True))


@pytest.mark.parametrize(
    ("npu", "bench"),
    [
        (step(3), step(3)),
        (step(3, operator="c"), step(1)),
        ("T.a.0.forward T.a.1.forward T.a.2.forward", "T.a.0.forward"),  # no backward between them: blocks, perhaps
        (step(1) + " T.log.0.forward", step(1)),
        ("Optimizer.SGD.0.forward", step(2)),
        ("", ""),
    ],
)
def test_what_is_no_accumulation(npu: str, bench: str) -> None:
    assert micro_batches(dump(npu), dump(bench)) is None
