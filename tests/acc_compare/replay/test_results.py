from __future__ import annotations

from pathlib import Path

import pytest

from acc_compare.messages import say
from acc_compare.replay.results import Accuracy, ReplayedCall, ReplayedTensor, ReplayResult, read_verdicts
from acc_compare.replay.wanted import Wanted, read_suspects
from dump.format.errors import AccError, ConfigError, DumpCorrupt, DumpNotFound

RIGHT, WRONG = Accuracy(1e-8, 0.5), Accuracy(1e-2, 1e5, wrong=True)


def call(recorded: Accuracy, replayed: Accuracy | None, **fields: bool) -> ReplayedCall:
    tensor = ReplayedTensor("output.0", "torch.float32", (2,), recorded, replayed, limit=1e-7)
    return ReplayedCall("Torch.exp.0.forward", "Torch.exp", tensors=(tensor,), **fields)


@pytest.mark.parametrize(
    ("made", "cause", "verdict"),
    [
        (call(WRONG, WRONG), "operator", "confirmed"),
        (call(WRONG, RIGHT), "elsewhere", "confirmed"),
        (call(WRONG, None), "elsewhere", "confirmed"),
        (call(WRONG, RIGHT, on_its_device=False), "recorded_device", "confirmed"),
        (call(RIGHT, WRONG), "replay", "confirmed"),
        (call(WRONG, WRONG, after_wrong=True), "forward", "inherited"),
        (call(RIGHT, RIGHT, after_wrong=True), "", "cleared"),
        (call(RIGHT, RIGHT), "", "cleared"),
        (ReplayedCall("x", "x", reason=say("replay.reason.random")), "", "not_replayed"),
    ],
)
def test_what_a_call_comes_to(made: ReplayedCall, cause: str, verdict: str) -> None:
    assert (made.cause, made.verdict) == (cause, verdict)


def test_rows_by_operator_those_with_confirmed_calls_first() -> None:
    calls = (call(RIGHT, RIGHT), ReplayedCall("Torch.add.0.forward", "Torch.add", reason=say("replay.reason.huge")))
    result = ReplayResult("d", "cpu", "cpu", "float64", (*calls, call(WRONG, RIGHT)))
    first, second = result.rows
    assert (first.operator, first.calls, first.confirmed, first.cleared) == ("Torch.exp.forward", 2, 1, 1)
    assert (first.recorded, first.replayed, first.ulp) == (1e-2, 1e-8, 1e5)
    assert (second.not_replayed, second.recorded) == (1, 0.0)
    assert result.reasons == ((say("replay.reason.huge"), 1),)


def test_suspects_of_a_step_and_rank() -> None:
    wanted = Wanted(places=(("a", 0, None), ("b", 1, 0), ("c", None, 1)))
    assert wanted.asks_for(0, 0) == ("a",)
    assert wanted.asks_for(1, 0) == ("b",)
    assert wanted.asks_for(1, None) == ("b", "c")
    assert Wanted().asks_for(0, 0) is None
    assert Wanted(("a",)).asks_for(5, 5) == ("a",)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, DumpNotFound),
        ("", DumpCorrupt),
        ("[]", DumpCorrupt),
        ('{"suspects": [1]}', DumpCorrupt),
        ('{"suspects": []}', ConfigError),
        ('{"path": "x", "against": "", "calls": [{"name": "a", "verdict": "maybe"}]}', DumpCorrupt),
        ("[" * 100_000, DumpCorrupt),
    ],
)
def test_a_file_of_another_kind(tmp_path: Path, text: str | None, error: type[AccError]) -> None:
    path = tmp_path / "x.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=r"x\.json"):
        read_suspects(path)
    if error is not ConfigError:
        with pytest.raises(error, match=r"x\.json"):
            read_verdicts(path)
