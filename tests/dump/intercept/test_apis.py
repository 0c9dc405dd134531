"""Which calls are recorded, under which names, and with which arguments."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F

from dump.format.schema import ScalarRecord, TensorRecord

CALLS: list[tuple[str, Callable[[torch.Tensor], object], list[str]]] = [
    ("function of torch", lambda x: torch.exp(x), ["Torch.exp.0"]),
    ("functional, without what it calls inside", lambda x: F.softplus(x), ["Functional.softplus.0"]),
    ("loss", lambda x: F.cross_entropy(x, torch.tensor([1])), ["Torch.tensor.0", "Functional.cross_entropy.0"]),
    ("method", lambda x: x.exp(), ["Tensor.exp.0"]),
    ("in place", lambda x: x.exp_(), ["Tensor.exp_.0"]),
    ("operator", lambda x: x + 1, ["Tensor.__add__.0"]),
    ("scalar on the left", lambda x: 1 + x, ["Tensor.__radd__.0"]),
    ("scalar minus", lambda x: 1 - x, ["Tensor.__rsub__.0"]),
    ("negation", lambda x: -x, ["Tensor.__neg__.0"]),
    ("index", lambda x: x[0], ["Tensor.__getitem__.0"]),
    ("comparison", lambda x: x > 0, ["Tensor.__gt__.0"]),
    ("matrix product", lambda x: x @ x.transpose(0, 1), ["Tensor.transpose.0", "Tensor.__matmul__.0"]),
    ("linear algebra", lambda x: torch.linalg.norm(x), ["Torch.linalg.norm.0"]),
    ("fourier transform", lambda x: torch.fft.fft(x), ["Torch.fft.fft.0"]),
    ("special function", lambda x: torch.special.expit(x), ["Torch.special.expit.0"]),
    ("kernel namespace", lambda x: torch._C._nn.gelu(x), ["Functional.gelu.0"]),
    ("constructor", lambda x: torch.zeros(2), ["Torch.zeros.0"]),
    ("twice", lambda x: (x.exp(), x.exp()), ["Tensor.exp.0", "Tensor.exp.1"]),
    ("recurrent", lambda x: torch.nn.LSTM(2, 2)(x), ["VF.lstm.0"]),
    ("a question", lambda x: (x.size(), x.is_contiguous(), x.shape, x.item if x.dim() else 0), []),
    ("detaching", lambda x: x.detach(), []),
]


@pytest.mark.parametrize(("act", "names"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS])
def test_a_call_is_recorded_once_under_what_the_user_called(
    record: Any, act: Callable[[torch.Tensor], object], names: list[str]
) -> None:
    x = torch.ones(1, 2)
    with torch.no_grad():
        found = record(lambda: act(x)).names
    if "VF.lstm.0" in names:  # the layer draws its weights and zero states first
        found = [name for name in found if name.startswith("VF.")]
    assert found == [f"{name}.forward" for name in names]


def test_what_packs_sequences_reads_and_makes_what_others_do(record: Any) -> None:
    x = torch.arange(6.0).reshape(2, 3, 1).requires_grad_()

    def act() -> None:
        doubled = torch.mul(x, 2)
        packed = torch.nn.utils.rnn.pack_padded_sequence(doubled, [3, 1], batch_first=True)
        moved = torch.nn.utils.rnn.PackedSequence(torch.neg(packed.data), packed.batch_sizes)
        padded, _ = torch.nn.utils.rnn.pad_packed_sequence(moved, batch_first=True)
        torch.sum(padded).backward()

    dump = record(act)
    chain = ["Torch.mul", "VF._pack_padded_sequence", "Torch.neg", "VF._pad_packed_sequence", "Torch.sum"]
    for maker, reader in pairwise(chain):
        assert dump.value(f"{reader}.0.forward", "input.0") == dump.value(f"{maker}.0.forward", "output.0")
        assert f"{maker}.0.backward" in dump


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "normalise", [torch.nn.utils.parametrizations.weight_norm, torch.nn.utils.weight_norm], ids=["new", "old"]
)
def test_a_weight_that_is_normalised_comes_of_a_recorded_call(record: Any, normalise: Callable[..., Any]) -> None:
    layer = normalise(torch.nn.Linear(2, 3))
    dump = record(lambda: layer(torch.ones(1, 2)).sum().backward())
    made = dump.value("Torch._weight_norm.0.forward", "output.0")
    assert dump.value("Functional.linear.0.forward", "input.1") == made
    assert "Torch._weight_norm.0.backward" in dump


def test_an_input_is_what_it_was_before_an_in_place_call(record: Any) -> None:
    x = torch.tensor([1.0, 2.0])
    dump = record(lambda: x.add_(1), task="tensor")
    assert dump.tensor("Tensor.add_.0.forward", "input.0").tolist() == [1, 2]
    assert dump.tensor("Tensor.add_.0.forward", "output.0").tolist() == [2, 3]
    assert dump["Tensor.add_.0.forward"].written == ()


def test_a_tensor_given_as_out_is_no_input(record: Any) -> None:
    out = torch.empty(2)
    dump = record(lambda: torch.add(torch.ones(2), 1, out=out), task="tensor")
    call = dump["Torch.add.0.forward"]
    assert [argument.name for argument in call.inputs] == ["input.0", "input.1"]
    assert dump.tensor(call.name, "output.0").tolist() == [2, 2]


def test_what_a_call_writes_beside_its_output_is_named(record: Any) -> None:
    mean, variance = torch.zeros(2), torch.ones(2)
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    dump = record(lambda: F.batch_norm(x, mean, variance, training=True), task="tensor")
    (call,) = dump.calls
    assert [argument.name for argument in dump[call].written] == ["written.input.1", "written.input.2"]
    torch.testing.assert_close(dump.tensor(call, "written.input.1"), mean)
    assert dump.tensor(call, "input.1").tolist() == [0, 0]
    assert dump.value(call, "written.input.1") != dump.value(call, "input.1")


def test_gradients_that_a_scaler_divides_are_written(record: Any) -> None:
    gradients = [torch.full((2,), 8.0), torch.full((3,), 4.0)]
    versions = [gradient._version for gradient in gradients]

    def unscale() -> None:
        torch.norm(gradients[0])
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, torch.zeros(1), torch.tensor(0.25))
        torch.norm(gradients[0])

    dump = record(unscale, task="tensor")
    call = "Torch._amp_foreach_non_finite_check_and_unscale_.0.forward"
    assert [gradient._version for gradient in gradients] == versions
    assert dump.tensor(call, "input.0.0").tolist() == [8, 8]
    assert dump.tensor(call, "written.input.0.0").tolist() == [2, 2]
    assert dump.tensor(call, "written.input.0.1").tolist() == [1, 1, 1]
    (read,) = [name for name in dump.calls if "norm.1" in name]
    assert dump.tensor(read, "input.0").tolist() == [2, 2]


def test_an_assignment_by_index_writes_its_first_argument(record: Any) -> None:
    x = torch.zeros(2)

    def assign() -> None:
        x[0] = 5

    dump = record(assign, task="tensor")
    assert dump["Tensor.__setitem__.0.forward"].outputs[0].leaf is None
    assert dump.tensor("Tensor.__setitem__.0.forward", "written.input.0").tolist() == [5, 0]


def test_an_output_that_is_a_view_shares_the_storage(record: Any) -> None:
    x = torch.ones(2, 3)
    dump = record(lambda: x.view(3, 2))
    read = dump.leaf("Tensor.view.0.forward", "input.0")
    made = dump.leaf("Tensor.view.0.forward", "output.0")
    assert (made.shape, made.storage) == ((3, 2), read.storage)
    assert made.value != read.value


def test_arguments_of_every_kind_have_their_places(record: Any) -> None:
    x, y = torch.ones(2), torch.zeros(2)
    dump = record(lambda: (torch.stack([x, y], dim=0), x.clamp(min=None, max=0.5), x.to(torch.float64)))
    stack = dump["Torch.stack.0.forward"]
    assert [argument.name for argument in stack.inputs] == ["input.0.0", "input.0.1", "input.dim"]
    assert dump.leaf("Torch.stack.0.forward", "input.dim") == ScalarRecord("int", 0)
    assert dump.leaf("Tensor.clamp.0.forward", "input.min") is None
    assert dump.leaf("Tensor.clamp.0.forward", "input.max") == ScalarRecord("float", 0.5)
    assert dump.leaf("Tensor.to.0.forward", "input.1") == ScalarRecord("dtype", "torch.float64")


@pytest.mark.parametrize(
    ("act", "outputs"),
    [
        (lambda x: x.max(dim=0), ["output.0", "output.1"]),
        (lambda x: torch.unbind(x), ["output.0", "output.1"]),
        (lambda x: torch.equal(x, x), ["output.0"]),
    ],
    ids=["named tuple", "tuple", "bool"],
)
def test_outputs_are_listed(record: Any, act: Callable[[torch.Tensor], object], outputs: list[str]) -> None:
    dump = record(lambda: act(torch.ones(2, 2)))
    assert [argument.name for argument in dump[dump.names[-1]].outputs] == outputs


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_inference_is_recorded(record: Any, mode: Callable[[], Any]) -> None:
    layer = torch.nn.Linear(2, 2)

    def infer() -> None:
        with mode():
            layer(torch.ones(1, 2)).relu_()

    dump = record(infer)
    assert dump.names == ["Torch.ones.0.forward", "Functional.linear.0.forward", "Tensor.relu_.0.forward"]
    assert dump.value(dump.names[1], "output.0") == dump.value(dump.names[2], "input.0")


def test_values_connect_producer_and_consumer_across_a_residual_sum(record: Any) -> None:
    x = torch.randn(2, 2)

    def act() -> None:
        y = torch.tanh(x)
        z = y + x
        z.mul_(y)

    dump = record(act)
    tanh, add, mul = dump.names
    assert dump.value(add, "input.0") == dump.value(tanh, "output.0") == dump.value(mul, "input.1")
    assert dump.value(add, "input.1") == dump.value(tanh, "input.0")
    assert dump.value(mul, "input.0") == dump.value(add, "output.0") != dump.value(mul, "output.0")


def test_a_call_that_raises_is_not_recorded_and_the_next_one_is(record: Any) -> None:
    def act() -> None:
        with pytest.raises(RuntimeError):
            torch.ones(2, 3) @ torch.ones(2, 3)
        torch.exp(torch.ones(1))

    assert record(act).names[-1] == "Torch.exp.0.forward"
    assert "Tensor.__matmul__.0.forward" not in record(act)


def test_calls_of_other_threads_are_left_alone(record: Any) -> None:
    import threading

    def act() -> None:
        other = threading.Thread(target=lambda: torch.exp(torch.ones(1)))
        other.start()
        other.join()
        torch.ones(1)

    assert record(act).names == ["Torch.ones.0.forward"]


class Tagged(torch.Tensor):
    """A subclass that knows functions by identity, as torch's documentation shows it."""

    seen: ClassVar[list[object]] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(func)
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.parametrize(
    ("act", "function"),
    [
        (lambda x: torch.exp(x), torch.exp),
        (lambda x: x.exp(), torch.Tensor.exp),
        (lambda x: F.relu(x), F.relu),
        (lambda x: F.gelu(x), F.gelu),
    ],
    ids=["torch", "method", "functional", "kernel"],
)
def test_a_subclass_sees_the_functions_that_it_could_learn_before(
    record: Any, act: Callable[[torch.Tensor], object], function: object
) -> None:
    x = torch.ones(1).as_subclass(Tagged)
    act(x)
    alone = list(Tagged.seen)
    Tagged.seen.clear()
    dump = record(lambda: act(x))
    recorded = list(Tagged.seen)
    Tagged.seen.clear()
    assert len(dump.calls) == 1
    assert function in alone
    assert recorded == alone


def test_a_default_device_stays_in_force(record: Any) -> None:
    devices = []

    def act() -> None:
        with torch.device("meta"):
            devices.append(torch.ones(1).device.type)

    record(act)
    assert devices == ["meta"]


def test_attention_masks_of_torchs_own_subclass_still_work(record: Any) -> None:
    bias = pytest.importorskip("torch.nn.attention.bias", reason="torch.nn.attention came with torch 2.2")
    causal_lower_right = bias.causal_lower_right
    q = torch.randn(1, 1, 2, 4)
    alone = F.scaled_dot_product_attention(q, q, q, attn_mask=causal_lower_right(2, 2))
    results = []
    record(lambda: results.append(F.scaled_dot_product_attention(q, q, q, attn_mask=causal_lower_right(2, 2))))
    assert torch.equal(results[0], alone)


def test_function_transforms_go_on_working(record: Any) -> None:
    from torch.func import grad, vmap

    x = torch.randn(3)
    results: list[torch.Tensor] = []

    def act() -> None:
        results.append(vmap(grad(lambda v: (v.sin() * v).sum()))(x))

    dump = record(act)
    assert torch.equal(results[0], x.sin() + x * x.cos())
    leaf = dump.leaf("Tensor.sin.0.forward", "input.0")
    assert isinstance(leaf, TensorRecord)
    assert leaf.unrecorded == "inside a function transform"
