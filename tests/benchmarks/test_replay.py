from __future__ import annotations

from acc_compare.messages import say
from acc_compare.replay.results import Accuracy, ReplayedCall, ReplayedTensor, ReplayResult
from benchmarks.localisation.events import Event
from benchmarks.replay.run import Tally, tally


def call(name: str, *, wrong: bool) -> ReplayedCall:
    tensor = ReplayedTensor("output.0", "torch.float32", (2,), Accuracy(0.1, 9.0, wrong=wrong))
    return ReplayedCall(name, "Torch.exp", 0, tensors=(tensor,))


def test_what_was_planted_is_held_against_what_was_confirmed() -> None:
    calls = (
        call("a", wrong=True),
        call("b", wrong=False),
        call("c", wrong=True),
        ReplayedCall("d", "Torch.exp", 0, reason=say("replay.reason.random")),
        call("e", wrong=False),
        call("f", wrong=True),
    )
    planted = [
        Event("fired", "k", 0, 0, (name,), effect=effect) for name, effect in (("a", 0.1), ("b", 0.1), ("d", 0.1))
    ]
    harmless = Event("fired", "k", 0, 0, ("e",), effect=0.0)
    after = [Event("reads", "k", 0, 0, (name,)) for name in ("e", "f")]
    found = tally(ReplayResult("x", "cpu", "cpu", "float64", calls), [*planted, harmless, *after])
    assert found == Tally(5, 2, 1, ("step 0 c",))
    assert (found + found).others == ("step 0 c", "step 0 c")
