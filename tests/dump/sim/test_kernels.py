"""The simulated device gives the CPU's numbers, and its own calls stay out of sight."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import dump.sim

if dump.sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
dump.sim.enable()

Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 1, stride=2),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )


def transformer() -> nn.Module:
    return nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, activation="gelu", batch_first=True)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options: bool) -> None:
        super().__init__()
        self.cells = kind(5, 7, num_layers=2, batch_first=True, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cells(x)[0]


def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def adamw(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-2)


def fused(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-2, fused=True)


def train(make: Callable[[], nn.Module], optimizer: Optimizer, x: torch.Tensor, *, device: str) -> dict:
    """Three steps; losses, final state and last gradients, all on the CPU."""
    torch.manual_seed(0)
    model = make().to(device)
    stepper = optimizer(list(model.parameters()))
    seen = {}
    for step in range(3):
        stepper.zero_grad()
        loss = model(x.to(device)).square().mean()
        loss.backward()
        stepper.step()
        seen[f"loss.{step}"] = loss.detach()
    seen |= {f"grad.{name}": p.grad for name, p in model.named_parameters()}
    seen |= model.state_dict()
    assert all(value.device.type == device for value in seen.values())
    return {name: value.detach().cpu() for name, value in seen.items()}


@pytest.mark.parametrize("optimizer", [sgd, adamw, fused])
@pytest.mark.parametrize(("make", "shape"), [(cnn, (4, 3, 12, 12)), (transformer, (2, 6, 16))])
def test_a_training_run_is_bit_equal_to_the_cpu(make, shape, optimizer):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    on_cpu, on_npu = (train(make, optimizer, x, device=device) for device in ("cpu", "npu"))
    assert [name for name in on_cpu if not torch.equal(on_cpu[name], on_npu[name])] == []


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"bidirectional": True}])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_agree_with_the_cpu_to_rounding(kind, options):
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))
    on_cpu, on_npu = (train(lambda: Recurrent(kind, **options), sgd, x, device=device) for device in ("cpu", "npu"))
    for name, expected in on_cpu.items():
        torch.testing.assert_close(on_npu[name], expected, rtol=1e-5, atol=1e-6)


def attention(x: torch.Tensor, **options: object) -> torch.Tensor:
    return F.scaled_dot_product_attention(x, x, x, **options)


X = torch.arange(1, 25.0).view(2, 3, 4) / 7
Z = torch.complex(X, X.flip(0))
MASK = torch.tensor([[True, False, True], [True, True, True], [False, True, True]])

CALLS = {
    "number for a tensor": lambda x: 2.5 * x + 1,
    "0-d with a number": lambda x: x.sum() * 2.5,
    "comparison and index": lambda x: x[x > 1],
    "index by tensors": lambda x: x[:, torch.tensor([0, 2], device=x.device)],
    "view, then write": lambda x: x.clone().transpose(0, 1)[1:].mul_(3),
    "write seen through the base": lambda x: _written_through_view(x.clone()),
    "strided": lambda x: x.permute(2, 0, 1) @ x.permute(2, 1, 0),
    "dtype view": lambda x: x.contiguous().view(torch.int32) >> 1,
    "list argument": lambda x: torch.cat([x, x.flip(1)]),
    "several results": lambda x: x.sort(descending=True)[1],
    "list of results": lambda x: torch._foreach_mul([x, x[0]], [x, x[1]])[1],
    "foreach in place": lambda x: _foreach(x.clone()),
    "out": lambda x: torch.add(x, x, out=torch.empty_like(x)),
    "out, resized": lambda x: torch.add(x, x, out=torch.empty(0, device=x.device)),
    "resize_": lambda x: x.clone().resize_(2, 2),
    "like": lambda x: torch.zeros_like(x) + torch.ones(3, 1, device=x.device),
    "cast": lambda x: x.to(torch.bfloat16) * 3,
    "channels last": lambda x: x[None].to(memory_format=torch.channels_last),
    "random": lambda x: torch.randn(5, device=x.device) + torch.rand_like(x)[0, 0, 0],
    "decomposition": lambda x: torch.linalg.svdvals(x),
    "empty": lambda x: x[:0].sum(0),
    "attention": attention,
    "attention, masked": lambda x: attention(x[None], attn_mask=MASK.to(x.device)),
    "attention, causal": lambda x: attention(x[None], is_causal=True),
    "attention of integers' width": lambda x: attention(x[None].double()),
}


def _written_through_view(x: torch.Tensor) -> torch.Tensor:
    x.view(-1)[::2] = -1
    return x


def _foreach(x: torch.Tensor) -> torch.Tensor:
    torch._foreach_add_([x[0], x[1]], 2.0)
    return x


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_bit_equal_to_the_cpu(name):
    results = []
    for device in ("cpu", "npu"):
        torch.manual_seed(0)
        result = CALLS[name](X.to(device))
        assert result.device.type == device
        results.append(result)
    expected, found = results
    assert (found.dtype, found.shape, found.stride()) == (expected.dtype, expected.shape, expected.stride())
    assert torch.equal(found.cpu(), expected)


CONVOLUTIONS = {
    "1d": (F.conv1d, [(2, 3, 9), (4, 3, 3), (4,)], {}),
    "2d, no bias": (F.conv2d, [(2, 3, 9, 9), (4, 3, 3, 3)], {"padding": 1}),
    "2d, groups": (F.conv2d, [(2, 4, 9, 9), (4, 1, 3, 3), (4,)], {"groups": 4, "dilation": 2}),
    "2d, transposed": (F.conv_transpose2d, [(1, 2, 5, 5), (2, 3, 3, 3), (3,)], {"stride": 2}),
    "3d": (F.conv3d, [(1, 2, 5, 5, 5), (3, 2, 3, 3, 3), (3,)], {}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_and_its_gradients_are_bit_equal_to_the_cpu(name):
    convolve, shapes, options = CONVOLUTIONS[name]
    results = []
    for device in ("cpu", "npu"):
        torch.manual_seed(0)
        given = [torch.randn(shape).to(device).requires_grad_() for shape in shapes]
        out = convolve(*given, **options)
        out.square().sum().backward()
        results.append([out.detach().cpu(), *(x.grad.cpu() for x in given)])
    assert all(torch.equal(expected, found) for expected, found in zip(*results, strict=True))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_model_can_be_traced_on_the_device():
    model = cnn().eval().to("npu")
    x = torch.randn(1, 3, 12, 12, device="npu")
    assert torch.equal(torch.jit.trace(model, x)(x).cpu(), model(x).cpu())


@pytest.mark.parametrize(
    "call",
    [torch.conj, lambda z: z.conj() @ z.mT, lambda z: z.conj().imag, lambda z: z.conj().clone().abs()],
)
def test_lazy_conjugation_and_negation_are_kept(call):
    assert torch.equal(call(Z.to("npu")).cpu(), call(Z))


def test_results_share_memory_like_on_a_real_device():
    x = torch.zeros(3, 4, device="npu")
    column = x[:, 1]
    column += 5
    assert x.untyped_storage().data_ptr() == column.untyped_storage().data_ptr()
    assert x.sum().item() == 15
    assert (x + 0).untyped_storage().data_ptr() != x.untyped_storage().data_ptr()


def test_backward_runs_on_the_devices_own_thread():
    threads = []

    class Spy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            threads.append(threading.current_thread())
            return grad * 2

    x = torch.ones(3, device="npu", requires_grad=True)
    Spy.apply(x).sum().backward()
    assert torch.equal(x.grad.cpu(), torch.full((3,), 2.0))
    assert threads
    assert threads[0] is not threading.main_thread()


def test_gradients_are_those_of_finite_differences():
    x = torch.randn(2, 3, dtype=torch.float64, device="npu", requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: (v @ v.mT).tanh(), (x,))


def test_inference_mode_agrees_with_the_cpu():
    model = transformer().eval()
    x = torch.randn(2, 6, 16)
    with torch.inference_mode():
        expected = model(x)
        assert torch.equal(model.to("npu")(x.to("npu")).cpu(), expected)


def test_the_simulators_own_calls_are_seen_by_no_mode_and_no_patch(monkeypatch):
    seen = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func.__name__)
            return func(*args, **(kwargs or {}))

    def watched(name, original):
        def call(*args, **kwargs):
            seen.append(f"patched {name}")
            return original(*args, **kwargs)

        return call

    x, out = torch.ones(2, 3, device="npu"), torch.empty(0, device="npu")
    for owner, name in [
        (torch, "empty"), (torch, "add"), (torch.Tensor, "set_"), (torch.Tensor, "copy_"),
        (torch.Tensor, "as_strided"), (torch.Tensor, "new"), (torch.Tensor, "mul_"), (torch.Tensor, "to"),
        (torch.Tensor, "size"), (torch.Tensor, "untyped_storage"),
    ]:  # fmt: skip
        monkeypatch.setattr(owner, name, watched(name, getattr(owner, name)))
    with dump.sim.npu(faults=["aten::tanh=scale:2", "aten::tanh=bf16", "aten::tanh=nan:0"]), Watch():
        x.T.tanh()
        torch.sub(x, x, out=out)
    assert seen == ["__get__", "tanh", "sub"]


def test_counting_goes_by_base_name():
    x = torch.ones(2, device="npu")
    before = dump.sim.op_counts()
    x.view(1, 2)
    _ = x + x
    _ = x + 1
    after = dump.sim.op_counts()
    grown = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert grown == {"aten::add": 2}


def test_a_custom_operator_arrives_through_the_fallback():
    library = torch.library.Library("sim_test", "FRAGMENT")
    library.define("twice(Tensor x, Tensor(a!) y) -> Tensor")

    def twice(x, y):
        assert x.device.type == y.device.type == "cpu"
        y.add_(1)
        return x * 2

    library.impl("twice", twice, "CPU")
    x, y = torch.ones(2, device="npu"), torch.zeros(2, device="npu")
    out = torch.ops.sim_test.twice(x, y)
    assert out.device.type == "npu"
    assert (out.tolist(), y.tolist()) == ([2.0, 2.0], [1.0, 1.0])
    library._destroy()
