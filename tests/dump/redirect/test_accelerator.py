from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from dump.redirect import redirected

pytestmark = pytest.mark.skipif(not hasattr(torch, "accelerator"), reason="torch.accelerator came with torch 2.6")


@pytest.fixture(autouse=True)
def _on_the_cpu() -> Iterator[None]:
    before = dict(vars(torch.accelerator)) if hasattr(torch, "accelerator") else {}
    with redirected("cpu"):
        yield
    assert not before or dict(vars(torch.accelerator)) == before


ANSWERS: dict[str, tuple[Callable[[], Any], Any]] = {
    "available": (lambda: torch.accelerator.is_available(), True),
    "accelerator": (lambda: torch.accelerator.current_accelerator(), torch.device("cuda")),
    "count": (lambda: torch.accelerator.device_count(), 1),
    "synchronize": (lambda: torch.accelerator.synchronize(), None),
    "index": (lambda: torch.accelerator.current_device_index(), 0),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name: str) -> None:
    ask, answer = ANSWERS[name]
    if name == "index" and not hasattr(torch.accelerator, "current_device_index"):
        pytest.skip("torch 2.6 calls it current_device_idx")
    assert ask() == answer


def test_a_script_for_any_accelerator_runs_on_the_cpu() -> None:
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    model = torch.nn.Linear(2, 2).to(device)
    assert model(torch.ones(1, 2, device=device)).device.type == "cpu"
    assert torch.zeros(1).to(torch.accelerator.current_accelerator()).device.type == "cpu"


def test_the_chosen_index_is_that_of_cuda() -> None:
    choose = getattr(torch.accelerator, "set_device_index", None) or torch.accelerator.set_device_idx
    choose(2)
    assert torch.cuda.current_device() == 2
