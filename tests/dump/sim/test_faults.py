"""Each kind of fault fires for its operator, does what it says, and leaves all others alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

import dump.sim
from dump.format.errors import ConfigError
from dump.sim import fault_kinds, faults
from dump.sim.faults import Fault

if dump.sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
dump.sim.enable()

X = torch.linspace(-2, 2, 12).view(3, 4) + 0.013
W = torch.linspace(-1, 1, 8).view(2, 4)


@pytest.fixture(autouse=True)
def _no_fault_left_behind():
    yield
    left = faults.injected()
    faults.clear()
    assert left == ()


def poked(x: torch.Tensor, index: int, value: float) -> torch.Tensor:
    out = x.clone()
    out.view(-1)[index] = value
    return out


def without_tail(x: torch.Tensor, count: int) -> torch.Tensor:
    out = x.clone()
    out[..., -count:] = 0
    return out


def hf32(x: torch.Tensor) -> torch.Tensor:
    """Rounded to 11 bits of mantissa, in float64: what lies between two multiples of the last bit goes to the even."""
    mantissa, exponent = torch.frexp(x.double())
    return torch.ldexp((mantissa * 2**12).round() / 2**12, exponent).float()


def gelu(x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x)


EFFECTS = [
    ("aten::gelu=bf16", gelu, lambda: F.gelu(X.bfloat16()).float()),
    ("aten::gelu=fp16", gelu, lambda: F.gelu(X.half()).float()),
    ("aten::gelu=scale:1.01", gelu, lambda: F.gelu(X) * 1.01),
    ("aten::gelu=add:0.5", gelu, lambda: F.gelu(X) + 0.5),
    ("aten::gelu=sign", gelu, lambda: -F.gelu(X)),
    ("aten::gelu=nan:5", gelu, lambda: poked(F.gelu(X), 5, math.nan)),
    ("aten::gelu=nan:17", gelu, lambda: poked(F.gelu(X), 5, math.nan)),
    ("aten::gelu=zero_tail:3", gelu, lambda: without_tail(F.gelu(X), 3)),
    ("aten::gelu=zero_tail:99", gelu, lambda: torch.zeros_like(X)),
    ("gelu=sign", gelu, lambda: -F.gelu(X)),
    ("aten::mul_=scale:3", lambda x: x.clone().mul_(2), lambda: X * 6),
    ("aten::mul_=bf16", lambda x: x.clone().mul_(1.1), lambda: (X.bfloat16() * 1.1).float()),
    ("aten::sub=add:1", lambda x: torch.sub(x, 1, out=torch.empty(0, device=x.device)), lambda: (X - 1) + 1),
    ("aten::tanh=fp16", lambda x: torch.tanh(x, out=torch.empty(0, device=x.device)),
     lambda: X.half().tanh().float()),
    ("aten::_foreach_add=scale:2", lambda x: torch._foreach_add([x], 1)[0], lambda: (X + 1) * 2),
    ("aten::mm=transpose_free", lambda x: x @ x.t(), lambda: X @ X.reshape(4, 3)),
    ("aten::addmm=nan:0", lambda x: F.linear(x, W.to(x.device), x[:1, :2].reshape(2)),
     lambda: poked(F.linear(X, W, X[0, :2]), 0, math.nan)),
    ("aten::mm=hf32", lambda x: x @ x.t(), lambda: hf32(X) @ hf32(X).t()),
    ("aten::sum=zero_tail:1", lambda x: x.sum(), lambda: torch.zeros(())),
    ("aten::_to_copy=add:1", lambda x: x.to(torch.float64), lambda: X.double() + 1),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "call", "expected"), EFFECTS, ids=[spec for spec, *_ in EFFECTS])
def test_a_fault_does_what_its_kind_says(spec, call, expected):
    healthy = call(X)
    with dump.sim.npu(faults=[spec]):
        found = call(X.to("npu")).cpu()
        others = X.to("npu").relu_().sigmoid().cpu()
    torch.testing.assert_close(found, expected(), rtol=0, atol=0, equal_nan=True)
    assert found.dtype == healthy.dtype
    assert not torch.equal(found, healthy), "the fault must change something for this test to mean anything"
    assert torch.equal(others, X.relu().sigmoid())
    assert torch.equal(call(X.to("npu")).cpu(), healthy), "the fault must end with its context"


@pytest.mark.parametrize("kind", fault_kinds.kinds(), ids=lambda kind: kind.name)
def test_every_kind_stays_silent_for_other_operators(kind):
    value = None if kind.takes == "nothing" else 1.0
    x = X.to("npu")
    with dump.sim.npu(faults=[Fault("aten::gelu", kind.name, value=value)]):
        found = (x @ x.t()).relu_().softmax(-1)
    assert torch.equal(found.cpu(), (X @ X.t()).relu_().softmax(-1))


def test_low_precision_leaves_integers_and_running_statistics_in_place():
    mean, var = torch.zeros(4), torch.ones(4)
    on_npu = mean.to("npu"), var.to("npu")
    with dump.sim.npu(faults=["aten::native_batch_norm=bf16"]):
        F.batch_norm(X.to("npu"), *on_npu, training=True)
    F.batch_norm(X, mean, var, training=True)
    torch.testing.assert_close(on_npu[0].cpu(), mean, rtol=1e-2, atol=1e-2)
    assert not torch.equal(on_npu[0].cpu(), mean)
    with dump.sim.npu(faults=["aten::index_select=bf16"]):
        rows = F.embedding(torch.tensor([2, 0], device="npu"), X.to("npu"))
    assert torch.equal(rows.cpu(), X[[2, 0]].bfloat16().float())


def test_transpose_free_leaves_contiguous_and_expanded_inputs_alone():
    x = X.to("npu")
    row = torch.ones(4, device="npu").expand(3, 4)
    with dump.sim.npu(faults=["aten::add=transpose_free"]):
        assert torch.equal((x + x).cpu(), X + X)
        assert torch.equal((x + row).cpu(), X + 1)


def test_a_backward_operator_is_faulted_by_its_own_name():
    grads = []
    for specs in ([], ["aten::gelu_backward=scale:2"]):
        x = X.to("npu").requires_grad_()
        with dump.sim.npu(faults=specs):
            out = F.gelu(x)
            out.sum().backward()
        grads.append(x.grad.cpu())
        assert torch.equal(out.detach().cpu(), F.gelu(X))
    assert torch.equal(grads[1], grads[0] * 2)


def test_one_call_of_many():
    x = X.to("npu")
    with dump.sim.npu(faults=["aten::gelu=sign@2"]):
        hit = [not torch.equal(F.gelu(x).cpu(), F.gelu(X)) for _ in range(4)]
    assert hit == [False, False, True, False]


def test_faults_of_one_operator_are_applied_in_order():
    x = X.to("npu")
    with dump.sim.npu(faults=["aten::relu=add:1", "aten::relu=scale:2"]):
        assert torch.equal(x.relu().cpu(), (X.relu() + 1) * 2)


def test_copies_between_host_and_device_are_never_falsified():
    with dump.sim.npu(faults=["aten::_to_copy=add:1"]):
        assert torch.equal(X.to("npu").cpu(), X)


def test_a_context_restores_what_was_in_force():
    outer = dump.sim.inject("aten::gelu=sign")
    with dump.sim.npu(faults=["aten::gelu=scale:2", "aten::relu=sign"]):
        assert len(faults.injected()) == 3
    assert faults.injected() == (outer,)
    with pytest.raises(ConfigError), dump.sim.npu(faults=["aten::relu=sign", "aten::relu=nonsense"]):
        pass
    assert faults.injected() == (outer,)
    dump.sim.clear()
    assert faults.injected() == ()


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("aten::gelu=bf16", Fault("aten::gelu", "bf16")),
        ("aten::gelu=scale:1.01", Fault("aten::gelu", "scale", value=1.01)),
        ("aten::addmm=nan:0", Fault("aten::addmm", "nan", value=0)),
        ("aten::gelu=bf16@3", Fault("aten::gelu", "bf16", call=3)),
        ("aten::mm=add:-1e-06@0", Fault("aten::mm", "add", value=-1e-6, call=0)),
    ],
)
def test_a_spec_is_read_and_written_back(spec, fault):
    assert Fault.parse(spec) == fault
    assert str(fault) == spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("aten::gelu", "operator=kind"),
        ("=bf16", "operator=kind"),
        ("aten::gelu=", "operator=kind"),
        ("aten::gelu=bfloat16", "did you mean 'bf16'"),
        ("aten::gelu=scael:2", "did you mean 'scale'"),
        ("aten::gelu=scale", "needs a number"),
        ("aten::gelu=scale:fast", "Expected a number"),
        ("aten::gelu=scale:inf", "finite"),
        ("aten::gelu=bf16:2", "takes no value"),
        ("aten::gelu=nan:0.5", "whole number"),
        ("aten::gelu=nan:-1", "whole number from 0"),
        ("aten::gelu=zero_tail:0", "whole number from 1"),
        ("aten::gelu=bf16@x", "Expected a number as the call"),
        ("aten::gelu=bf16@1.5", "whole number"),
        ("aten::gelu=bf16@-1", "counted from 0"),
        ("aten::gleu=bf16", "no operator aten::gleu.*aten::gelu"),
        ("aten::layer_norm=bf16", "composed of other operators.*aten::native_layer_norm"),
        ("aten::view=bf16", "re-describes memory"),
        ("aten::add.Tensor=bf16", "no operator aten::add.Tensor"),
    ],
)
def test_a_bad_spec_says_what_is_wrong(spec, message):
    with pytest.raises(ConfigError, match=message):
        dump.sim.inject(spec)


def test_a_kind_is_registered_once():
    with pytest.raises(ValueError, match="registered twice"):
        fault_kinds.fault_kind("bf16")(lambda launch, value: None)
