from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from dump.redirect import redirected


@pytest.fixture(autouse=True)
def _on_the_cpu() -> Iterator[None]:
    with redirected("cpu"):
        yield


ANSWERS: dict[str, tuple[Callable[[], Any], Any]] = {
    "available": (lambda: torch.cuda.is_available(), True),
    "count": (lambda: torch.cuda.device_count(), 1),
    "name": (lambda: torch.cuda.get_device_name(0), "cpu in place of CUDA"),
    "properties": (lambda: torch.cuda.get_device_properties("cuda:0").name, "cpu in place of CUDA"),
    "capability": (lambda: torch.cuda.get_device_capability(), (0, 0)),
    "memory": (lambda: torch.cuda.max_memory_allocated(0), 0),
    "synchronize": (lambda: torch.cuda.synchronize(), None),
    "empty_cache": (lambda: torch.cuda.empty_cache(), None),
    "bfloat16": (lambda: torch.cuda.is_bf16_supported(), True),
    "nvtx": (lambda: torch.cuda.nvtx.range_pop(), 0),
}


@pytest.mark.parametrize(("ask", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_answers(ask: Callable[[], Any], answer: Any) -> None:
    assert ask() == answer


def test_the_chosen_device_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.cuda.set_device("cuda:3")
    assert torch.cuda.current_device() == 3
    torch.cuda.set_device(torch.device("cuda"))  # no number: nothing is chosen
    assert torch.cuda.current_device() == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert torch.cuda.device_count() == 8


def test_streams_and_events_are_done_at_once() -> None:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    stream = torch.cuda.Stream()
    start.record()
    with torch.cuda.stream(stream), torch.cuda.device(1), torch.cuda.nvtx.range("work"):
        x = torch.ones(2, device="cuda") * 3
    x.record_stream(stream)
    torch.cuda.current_stream().wait_stream(stream)
    stream.record_event(end)
    assert end.query()
    assert 0 <= start.elapsed_time(end) < 10_000
    assert x.tolist() == [3, 3]


def test_a_seed_for_the_device_does_not_disturb_the_host() -> None:
    torch.manual_seed(1)
    first = torch.rand(3)
    torch.manual_seed(1)
    torch.cuda.manual_seed_all(2)
    torch.cuda.set_rng_state(torch.zeros(16, dtype=torch.uint8))  # one that was saved on a GPU
    assert torch.equal(torch.rand(3), first)
    with torch.random.fork_rng():
        torch.rand(1)
    assert torch.cuda.get_rng_state().dtype is torch.uint8


@pytest.mark.skipif(torch.backends.cuda.is_built(), reason="this torch could do it")
def test_what_is_not_known_raises_as_before() -> None:
    with pytest.raises((AssertionError, RuntimeError, AttributeError, TypeError)):
        torch.cuda.CUDAGraph()
