"""Which steps are picked: by number, and by a share of a time that the test tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dump.config import DumpConfig, load_config, merge
from dump.format.errors import ConfigError
from dump.sampling import Sampling
from dump.session import Session


def _run(config: DumpConfig, steps: int, *, cost: Callable[[int], float]) -> tuple[list[int], Sampling, float]:
    """The steps that are picked of a run whose steps take 1 second, and a recorded one `cost(step)` more; and how many
    times as long the run takes."""
    now = [0.0]
    sampling = Sampling(lambda: now[0])
    picked = []
    for step in range(steps):
        recorded = sampling.picks(config, step)
        assert sampling.picks(config, step) == recorded
        now[0] += 1.0 + (cost(step) if recorded else 0.0)
        picked += [step] if recorded else []
        sampling.ended(recorded=recorded)
    return picked, sampling, now[0] / steps


def test_without_either_every_step_is_recorded() -> None:
    picked, sampling, _ = _run(DumpConfig(), 5, cost=lambda _: 9.0)
    assert picked == [0, 1, 2, 3, 4]
    assert (sampling.left_out, sampling.sentence(DumpConfig()), sampling.header(DumpConfig())) == (0, "", {})


def test_every_picks_by_number() -> None:
    config = DumpConfig(every=4)
    picked, sampling, _ = _run(config, 10, cost=lambda _: 9.0)
    assert picked == [0, 4, 8]
    assert sampling.left_out == 7
    assert sampling.header(config) == {"sampling": {"every": 4, "budget": None, "steps_left_out": 7}}
    assert "7 steps" in sampling.sentence(config)


@pytest.mark.parametrize("budget", [0.01, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("cost", [0.1, 0.8, 4.0])
def test_a_budget_is_kept_and_used(budget: float, cost: float) -> None:
    steps = 3000
    picked, _, slowed = _run(DumpConfig(budget=budget), steps, cost=lambda _: cost)
    assert picked[0] == 0
    assert slowed <= 1 + budget + cost / steps
    wanted = min(steps - 1, steps * budget / cost)  # the step after the first one says what a step takes
    assert len(picked) >= wanted * 0.95 - 2


def test_a_first_step_that_takes_long_is_paid_back_before_the_next() -> None:
    picked, _, slowed = _run(DumpConfig(budget=0.1), 1500, cost=lambda step: 50.0 if step == 0 else 1.0)
    assert picked[:2] == [0, 999]  # 50 seconds spent, and as many to be feared, are a tenth of 1,000
    assert slowed <= 1.1 + 1e-9


def test_with_both_only_every_nth_may_be_recorded() -> None:
    picked, _, slowed = _run(DumpConfig(every=7, budget=0.1), 700, cost=lambda _: 1.0)
    assert len(picked) > 30
    assert all(step % 7 == 0 for step in picked)
    assert slowed <= 1.11


@pytest.mark.parametrize(
    ("value", "share"), [("5%", 0.05), (" 2.5 % ", 0.025), (0.1, 0.1), ("0.1", 0.1), (1, 1.0), ("100%", 1.0)]
)
def test_shares(value: object, share: float) -> None:
    assert merge(DumpConfig(), budget=value).budget == share


@pytest.mark.parametrize("value", ["0%", 0, -1, "5", "101%", "a lot", True, [], "5%%"])
def test_what_is_no_share_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"budget": value}))
    with pytest.raises(ConfigError, match="share of the run's time"):
        load_config(path)


def test_a_session_leaves_out_what_is_not_picked_and_says_so(tmp_path: Path) -> None:
    config = replace(DumpConfig(), dump_path=tmp_path, every=3, step=frozenset(range(1, 8)))
    session = Session(config)
    for _ in range(9):
        session.start(rank_id=0)
        torch.relu(torch.ones(3))
        session.stop()
        session.start(rank_id=0)
        torch.relu(torch.ones(3))
        session.step()
    session.close()
    assert [part.folder.parent.name for part in session.written] == ["step3", "step6"]
    header = json.loads((session.written[1].folder / "dump.json").read_text())
    assert header["coverage"]["sampling"] == {"every": 3, "budget": None, "steps_left_out": 4}
    assert "5 steps" in session.sampling.sentence(config)


def test_where_sampling_leaves_out_all_that_is_the_reason(tmp_path: Path) -> None:
    session = Session(replace(DumpConfig(), dump_path=tmp_path, every=5, step=frozenset({3})))
    for _ in range(5):
        session.start(rank_id=0)
        torch.relu(torch.ones(3))
        session.step()
    session.close()
    assert session.written == []
    assert session.why_nothing().is_wanted
    assert "every 5" in session.why_nothing().reason
