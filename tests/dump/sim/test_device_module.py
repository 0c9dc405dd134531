"""torch.npu answers what scripts ask of a device."""

from __future__ import annotations

import time

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

import dump.sim

if dump.sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
dump.sim.enable()


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda npu: npu.is_simulated, True),
        (lambda npu: npu.is_available(), True),
        (lambda npu: npu.device_count(), 1),
        (lambda npu: npu.current_device(), 0),
        (lambda npu: npu.get_device_name(), "SimulatedNPU"),
        (lambda npu: npu.get_device_properties(0).name, "SimulatedNPU"),
        (lambda npu: npu.is_bf16_supported(), True),
        (lambda npu: npu.get_amp_supported_dtype(), [torch.float16, torch.bfloat16]),
        (lambda npu: npu.memory_allocated(), 0),
        (lambda npu: npu.max_memory_allocated("npu:0"), 0),
        (lambda npu: npu.set_device("npu:0"), None),
        (lambda npu: npu.set_device(torch.device("npu")), None),
        (lambda npu: npu.synchronize(), None),
        (lambda npu: npu.empty_cache(), None),
    ],
)
def test_answers(ask, answer):
    assert ask(torch.npu) == answer


def test_torch_knows_the_device():
    assert torch.get_device_module("npu") is torch.npu
    assert torch.accelerator.current_accelerator().type == "npu"


@pytest.mark.parametrize("use", [torch.npu.set_device, torch.npu.device, lambda d: torch.npu.Stream(device=d)])
def test_there_is_no_second_device(use):
    with pytest.raises(RuntimeError, match="one device"):
        use("npu:1")
    with pytest.raises(RuntimeError, match="one device"):
        use(1)


@pytest.mark.parametrize("seed", [torch.npu.manual_seed, torch.npu.manual_seed_all, torch.manual_seed])
def test_seeding_repeats_the_random_numbers_and_those_of_the_cpu(seed):
    seed(5)
    first = torch.randn(4, device="npu").cpu()
    seed(5)
    assert torch.equal(torch.randn(4, device="npu").cpu(), first)
    torch.manual_seed(5)
    assert torch.equal(torch.randn(4), first)
    torch.manual_seed(6)
    assert not torch.equal(torch.randn(4, device="npu").cpu(), first)


def test_the_random_state_can_be_kept_and_restored():
    state = torch.npu.get_rng_state()
    first = torch.rand(3, device="npu").cpu()
    torch.npu.set_rng_state(state)
    assert torch.equal(torch.rand(3, device="npu").cpu(), first)


def test_checkpointing_repeats_the_same_dropout():
    x = torch.ones(64, device="npu", requires_grad=True)
    out = checkpoint(lambda v: torch.dropout(v, 0.5, True), x, use_reentrant=False)
    out.sum().backward()
    assert torch.equal(x.grad.cpu(), out.detach().cpu())


def test_an_event_measures_milliseconds():
    start, end = torch.npu.Event(enable_timing=True), torch.npu.Event(enable_timing=True)
    start.record()
    time.sleep(0.02)
    end.record()
    assert 15 < start.elapsed_time(end) < 5000
    with pytest.raises(RuntimeError, match="recorded"):
        start.elapsed_time(torch.npu.Event(enable_timing=True))
    with pytest.raises(RuntimeError, match="enable_timing"):
        start.elapsed_time(torch.npu.Event())


def test_work_on_a_stream_is_done_at_once():
    with torch.npu.stream(torch.npu.Stream()) as stream:
        x = torch.ones(2, device="npu") * 3
    event = stream.record_event()
    torch.npu.current_stream().wait_event(event)
    assert event.query()
    assert x.tolist() == [3, 3]


def test_a_tensor_may_be_used_on_several_streams():
    x = torch.ones(2, device="npu")
    x.record_stream(torch.npu.current_stream())
    torch.accelerator.synchronize()
    assert x.tolist() == [1, 1]


def test_a_generator_of_the_device_draws_what_the_cpus_draws():
    generator = torch.Generator(device="npu").manual_seed(3)
    assert isinstance(generator, torch.Generator)
    drawn = torch.randn(3, device="npu", generator=generator)
    assert drawn.device.type == "npu"
    assert torch.equal(drawn.cpu(), torch.randn(3, generator=torch.Generator().manual_seed(3)))
    assert torch.randperm(5, device="npu", generator=torch.Generator("npu:0")).sort().values.tolist() == [0, 1, 2, 3, 4]


def test_a_loader_may_ask_for_pinned_memory():
    batches = list(DataLoader(torch.arange(4.0), batch_size=2, pin_memory=True))
    assert [b.tolist() for b in batches] == [[0, 1], [2, 3]]


@pytest.mark.parametrize("kind", ["matmul", "conv"])
def test_hf32_is_a_switch_and_changes_its_operators_alone(kind):
    x, w = torch.randn(1, 1, 8, 8), torch.randn(1, 1, 3, 3)
    calls = {"matmul": lambda d: x.to(d) @ x.to(d), "conv": lambda d: torch.conv2d(x.to(d), w.to(d))}
    switch = getattr(torch.npu, kind)
    assert switch.allow_hf32 is False
    switch.allow_hf32 = True
    try:
        assert switch.allow_hf32 is True
        for name, call in calls.items():
            assert torch.equal(call("npu").cpu(), call("cpu")) is (name != kind)
    finally:
        switch.allow_hf32 = False
    assert torch.equal(calls[kind]("npu").cpu(), calls[kind]("cpu"))


def test_amp_names_of_torch_npu():
    with torch.npu.amp.autocast(dtype=torch.bfloat16):
        assert torch.mm(*[torch.ones(2, 2, device="npu")] * 2).dtype == torch.bfloat16
    assert torch.npu.amp.GradScaler(enabled=False).is_enabled() is False
