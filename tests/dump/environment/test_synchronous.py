from __future__ import annotations

import pytest
import torch

from dump.environment.synchronous import Event, Stream, drawing_on_the_host


def test_a_stream_has_nothing_pending() -> None:
    start, end = Event(enable_timing=True), Event(enable_timing=True)
    start.record()
    with Stream(device="anywhere", priority=-1) as stream:
        assert stream.record_event(end) is end
    stream.wait_event(start)
    stream.wait_stream(Stream())
    assert stream.query()
    assert start.elapsed_time(end) >= 0


@pytest.mark.parametrize(("timed", "told"), [(True, "two recorded events"), (False, "enable_timing=True")])
def test_times_that_nobody_took_are_refused(timed: bool, told: str) -> None:
    with pytest.raises(RuntimeError, match=told):
        Event(enable_timing=timed).elapsed_time(Event(enable_timing=timed))


def test_generators_of_one_kind_of_device_are_the_hosts() -> None:
    original = torch.Generator
    stand_in = drawing_on_the_host(original, "cuda")
    made = stand_in("cuda:1")
    assert made.device.type == stand_in().device.type == "cpu"
    assert isinstance(made, original)
    assert isinstance(made, stand_in)
    assert not isinstance(1, stand_in)
    assert isinstance(None, stand_in | None)
