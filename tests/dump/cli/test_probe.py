"""What a run computes, as digests, and that looking at it changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import optimizer as torch_optimizer

from dump.cli.probe import Probe
from dump.record.observer import LastStepDone


def _train(*, steps: int, lr: float = 0.1, seed: int = 0) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for _ in range(steps):
        loss = model(torch.randn(4, 2)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [*(parameter.detach() for parameter in model.parameters()), torch.get_rng_state()]


def _log(path: Path, *, last_step: int | None = None, **run: Any) -> list[dict[str, Any]]:
    probe = Probe(path, last_step=last_step, aside=lambda act: act())
    with probe.watching():
        _train(**run)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_everything_is_looked_at_under_its_name(tmp_path: Path) -> None:
    entries = _log(tmp_path / "log", steps=2)
    counts = Counter(entry["what"] for entry in entries)
    assert counts == {
        "output": 2,
        "loss": 2,
        "gradient": 8,
        "parameter": 8,
        "optimizer state": 8,
        "buffer": 6,
        "generator": 9,  # once more at the end
    }
    first = next(entry for entry in entries if entry["what"] == "gradient")
    assert (first["step"], first["name"]) == (0, "0.weight")
    assert any(entry["name"] == "0.weight.momentum_buffer" for entry in entries)


def test_equal_runs_have_equal_logs_and_others_part_where_they_part(tmp_path: Path) -> None:
    one, two = _log(tmp_path / "1", steps=2), _log(tmp_path / "2", steps=2)
    assert one == two
    slower = _log(tmp_path / "3", steps=2, lr=0.05)
    part = next(index for index, (a, b) in enumerate(zip(one, slower, strict=True)) if a != b)
    assert (slower[part]["step"], slower[part]["what"]) == (0, "parameter")
    other = _log(tmp_path / "4", steps=2, seed=1)
    assert other[0] != one[0]


def test_looking_changes_nothing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = torch.nn.Module.__call__, torch.autograd.backward, torch.autograd.grad, torch.optim.Optimizer.__init__
    alone = _train(steps=3)
    probe = Probe(tmp_path / "log", last_step=None, aside=lambda act: act())
    with probe.watching():
        watched = _train(steps=3)
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    after = torch.nn.Module.__call__, torch.autograd.backward, torch.autograd.grad, torch.optim.Optimizer.__init__
    assert after == before
    assert not torch_optimizer._global_optimizer_pre_hooks


def test_the_run_ends_after_the_last_step(tmp_path: Path) -> None:
    probe = Probe(tmp_path / "log", last_step=1, aside=lambda act: act())
    with pytest.raises(LastStepDone), probe.watching():
        _train(steps=10)
    steps = {json.loads(line)["step"] for line in (tmp_path / "log").read_text().splitlines()}
    assert steps == {0, 1, 2}  # the last one is what is left at the end


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    probe = Probe(tmp_path / "log", last_step=None, aside=lambda act: act())
    weight = torch.ones(2, 2, requires_grad=True)
    with probe.watching():
        (weight.to_sparse() * 2).to_dense().sum().backward()
        model = torch.nn.Embedding(3, 2, sparse=True)
        optimizer = torch.optim.SparseAdam(model.parameters())
        model(torch.tensor([1])).sum().backward()
        optimizer.step()
    entries = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    told = [entry["unchecked"] for entry in entries if "unchecked" in entry]
    assert told == ["gradient (torch.sparse_coo on cpu, whose bytes cannot be read)"]


def test_several_models_are_looked_at_in_the_order_in_which_they_are_met(tmp_path: Path) -> None:
    """Two runs that compute the same must write the same log, wherever their objects lie in memory."""
    models = [torch.nn.Sequential(torch.nn.BatchNorm1d(2)) for _ in range(30)]
    probe = Probe(tmp_path / "log", last_step=None, aside=lambda act: act())
    with probe.watching():
        for model in models:
            model(torch.ones(2, 2))
    entries = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    names = [entry["name"] for entry in entries if entry["what"] == "parameter" and entry["name"].endswith("weight")]
    numbered = [f"Sequential{number}.0.weight" for number in range(2, 30)]
    assert names == ["0.weight", "Sequential.0.weight", *numbered]
