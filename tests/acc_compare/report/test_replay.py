"""What a replay came to, as text, JSON and a workbook."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import openpyxl
import pytest

from acc_compare.messages import say
from acc_compare.replay.results import Accuracy, ReplayedCall, ReplayedTensor, ReplayResult, read_verdicts
from acc_compare.report.replay import replay_text, write_replay
from acc_compare.report.wrapping import columns
from dump.format.errors import OutputError

RIGHT, WRONG = Accuracy(1e-8, 0.5), Accuracy(2.5e-3, 41_943.0, wrong=True)
NAN = Accuracy(math.inf, None, nonfinite=True, wrong=True)


def tensor(recorded: Accuracy, replayed: Accuracy | None = RIGHT, bench: Accuracy | None = None) -> ReplayedTensor:
    return ReplayedTensor("output.0", "torch.float32", (2, 3), recorded, replayed, bench, 6e-8, 4e-7, True)


CALLS = (
    ReplayedCall("Functional.gelu.0.forward", "Functional.gelu", 3, 1, (tensor(WRONG, WRONG, RIGHT),)),
    ReplayedCall("Functional.gelu.0.backward", "Functional.gelu", 3, 1, (tensor(WRONG),), after_wrong=True),
    ReplayedCall("Torch.exp.0.forward", "Torch.exp", 3, 1, (tensor(NAN, NAN, WRONG),)),
    ReplayedCall("=Torch.\x1bmul.0.forward", "=Torch.mul", 3, 1, (tensor(RIGHT),)),
    ReplayedCall("Torch.arange.0.forward", "Torch.arange", 3, 1, reason=say("replay.reason.reads_nothing")),
)
RESULT = ReplayResult("npu_dump", "npu", "npu", "float64", CALLS, "bench")
CLEARED = ReplayResult("npu_dump", "cpu", "npu", "float64", CALLS[3:])
NOTHING = ReplayResult("npu_dump", "cpu", "npu", "float64", CALLS[4:])


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("result", [RESULT, CLEARED, NOTHING])
def test_a_page(result: ReplayResult, lang: str) -> None:
    page = replay_text(result, lang=lang)  # type: ignore[arg-type]
    assert "\x1b" not in page
    assert all(columns(line) <= 120 for line in page.splitlines())
    assert ("Functional.gelu.0.forward" in page) == (result is RESULT)
    assert ("41,943" in page) == (result is RESULT)


@pytest.mark.parametrize(("bench", "is_told"), [("bench", True), ("", False)])
def test_a_call_that_is_cleared_of_what_a_bench_shows_was_given_something_else(bench: str, is_told: bool) -> None:
    page = replay_text(replace(CLEARED, bench=bench))
    assert ("acc dump --remeasure" in " ".join(page.split())) == is_told
    assert "Try next" not in replay_text(RESULT)


def test_of_many_operators_those_that_are_furthest_off_are_shown() -> None:
    calls = tuple(
        ReplayedCall(f"Torch.op{n:02}.0.forward", f"Torch.op{n:02}", 0, 0, (tensor(Accuracy(n * 1e-8, 1.0)),))
        for n in range(25)
    )
    page = replay_text(replace(CLEARED, calls=calls))
    assert [f"op{n:02}" in page for n in range(25)] == [n >= 5 for n in range(25)]
    assert "and 5 operators more" in page
    assert "operators more" not in replay_text(CLEARED)


def test_the_files(tmp_path: Path) -> None:
    paths = write_replay(RESULT, tmp_path, timestamp="t")
    document = json.loads(paths.document.read_bytes(), parse_constant=pytest.fail)
    assert document["counts"] == {"confirmed": 2, "cleared": 1, "inherited": 1, "not_replayed": 1}
    first, _, exp, _, arange = document["calls"]
    assert (first["cause"], first["ulp"], first["bench_wrong"]) == ("operator", 41_943.0, False)
    assert (exp["relative"], exp["tensors"][0]["recorded"]["nonfinite"]) == (None, True)
    assert arange["reason"]
    known = read_verdicts(paths.document)
    assert [(each.name, each.verdict, each.step, each.rank) for each in known] == [
        (call.name, call.verdict, call.step, call.rank) for call in RESULT.calls
    ]
    assert paths.workbook is not None
    book = openpyxl.load_workbook(paths.workbook)
    assert book.sheetnames == ["Operators", "Calls", "Left out"]
    rows = list(book["Calls"].iter_rows(min_row=2, values_only=True))
    assert [row[3] for row in rows] == ["confirmed", "inherited", "confirmed", "cleared", "not_replayed"]
    assert rows[0][7:9] == (2.5e-3, 41_943.0)
    cell = book["Calls"]["A5"]
    assert (cell.data_type, cell.quotePrefix) == ("s", True)
    with pytest.raises(OutputError):
        write_replay(RESULT, tmp_path, timestamp="t")


def test_text_and_json_alone(tmp_path: Path) -> None:
    paths = write_replay(CLEARED, tmp_path, timestamp="t", formats=())
    assert paths.workbook is None
    assert len(list((tmp_path / "replay").iterdir())) == 2
