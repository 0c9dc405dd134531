"""Callables that are recorded because their names were registered, and torch as it was when they are restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import dump
from dump import PrecisionDebugger, register_custom_api, register_custom_ops, restore_custom_api, restore_custom_ops
from dump.format.errors import ConfigError
from dump.intercept import custom

if not hasattr(torch.library, "custom_op"):
    pytest.skip("torch.library.custom_op came with torch 2.4", allow_module_level=True)


@torch.library.custom_op("au_custom::twice", mutates_args=(), schema="(Tensor x) -> Tensor")
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


twice.register_autograd(lambda ctx, gradient: gradient * 2)


class Kernel:
    """Made like a Triton kernel: `kernel[grid](...)` goes through `run`, and what is written moves no version
    counter.  Triton itself needs a GPU or minutes of its interpreter."""

    def __init__(self) -> None:
        self.grids: list[Any] = []

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        return lambda *args, **kwargs: self.run(*args, grid=grid, warmup=False, **kwargs)

    def run(self, x: torch.Tensor, out: torch.Tensor, n: int, *, grid: Any, warmup: bool, BLOCK: int) -> str:  # noqa: N803
        self.grids.append((grid, warmup, BLOCK))
        if not warmup:
            out.numpy()[:n] = x.numpy()[:n] + 1
        return "handle"


class Launcher:
    """Told its grid in brackets, without a `run`, as numba's and CuPy's kernels are."""

    def __init__(self) -> None:
        self.compiled = "yes"

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        return lambda x, out: out.numpy().__setitem__(slice(None), x.numpy() * grid[0])

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> None:
        self[1, 1](x, out)


class Norm:
    scale = 3.0

    @staticmethod
    def fixed(x: torch.Tensor) -> torch.Tensor:
        return x * 3.0

    @classmethod
    def scaled(cls, x: torch.Tensor) -> torch.Tensor:
        return x * cls.scale

    def of(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


class Cube(torch.autograd.Function):
    pass


@pytest.fixture
def kernels() -> ModuleType:
    module = ModuleType("kernels")
    module.gelu_bias = lambda x, bias=None: F.gelu(x) if bias is None else F.gelu(x + bias)  # type: ignore[attr-defined]
    module.add_one = Kernel()  # type: ignore[attr-defined]
    module.times = Launcher()  # type: ignore[attr-defined]
    module.twice = twice  # type: ignore[attr-defined]
    module.Norm = Norm  # type: ignore[attr-defined]
    module.Cube = Cube  # type: ignore[attr-defined]
    module.layer = torch.nn.ReLU()  # type: ignore[attr-defined]
    module.size = 3  # type: ignore[attr-defined]
    return module


@pytest.fixture(autouse=True)
def nothing_registered() -> Iterator[None]:
    yield
    for owner, attribute in [(each.owner, each.attribute) for each in custom._registered.values()]:
        restore_custom_api(owner, attribute)
    restore_custom_ops("au_custom")
    restore_custom_ops("au_custom", ["twice"])


def forward(recorded: Any) -> list[str]:
    return [name for name in recorded.names if name.endswith("forward")]


def test_a_function_is_recorded_whole_with_its_gradients(record: Any, kernels: ModuleType) -> None:
    original = kernels.gelu_bias
    register_custom_api(kernels, "gelu_bias")
    assert kernels.gelu_bias is original  # nothing is replaced before a session is installed
    x = torch.tensor([1.0, 2.0], requires_grad=True)

    def act() -> None:
        kernels.gelu_bias(x, bias=torch.zeros(2)).backward(torch.ones(2))

    recorded = record(act, task="tensor")
    assert forward(recorded)[1] == "kernels.gelu_bias.0.forward"  # the first made the zeros
    assert "Functional.gelu.0.forward" not in recorded
    assert recorded.leaf("kernels.gelu_bias.0.forward", "input.bias").shape == (2,)
    assert torch.equal(recorded.tensor("kernels.gelu_bias.0.forward", "output.0"), F.gelu(x).detach())
    assert torch.equal(recorded.tensor("kernels.gelu_bias.0.backward", "output.0"), x.grad)
    assert kernels.gelu_bias is original


def test_registering_and_restoring_while_a_session_is_installed(record: Any, kernels: ModuleType) -> None:
    original = kernels.gelu_bias
    x = torch.ones(2)

    def act() -> None:
        kernels.gelu_bias(x)
        PrecisionDebugger.register_custom_api(kernels, "gelu_bias", "Mine")
        kernels.gelu_bias(x)
        register_custom_api(kernels, "gelu_bias", api_prefix="Mine.other")  # another name for what follows
        kernels.gelu_bias(x)
        PrecisionDebugger.restore_custom_api(kernels, "gelu_bias")
        assert kernels.gelu_bias is original
        kernels.gelu_bias(x)

    names = [
        "Functional.gelu.0.forward",
        "Mine.gelu_bias.0.forward",
        "Mine.other.gelu_bias.0.forward",
        "Functional.gelu.1.forward",
    ]
    assert forward(record(act)) == names


def test_an_operator_of_torchs_own_goes_by_the_prefix_that_was_asked_for(record: Any) -> None:
    original = F.gelu
    register_custom_api(F, "gelu", "Fused")
    assert forward(record(lambda: F.gelu(torch.ones(2))))[-1] == "Fused.gelu.0.forward"
    restore_custom_api(F, "gelu")
    assert F.gelu is original
    assert forward(record(lambda: F.gelu(torch.ones(2))))[-1] == "Functional.gelu.0.forward"


@pytest.mark.parametrize("method", ["fixed", "scaled", "of"])
def test_methods_of_a_class_stay_what_they_are(record: Any, method: str) -> None:
    before = vars(Norm)[method]
    register_custom_api(Norm, method)
    results = []
    recorded = record(lambda: results.append(getattr(Norm(), method)(torch.ones(2))))
    assert results[0].tolist() == [3, 3]
    assert f"Norm.{method}.0.forward" in recorded
    assert vars(Norm)[method] is before


def test_a_kernel_like_tritons_is_recorded_with_what_it_wrote(record: Any, kernels: ModuleType) -> None:
    kernel, x, out = kernels.add_one, torch.tensor([1.0, 2.0]), torch.zeros(2)
    register_custom_api(kernels, "add_one", "Triton")
    handles = []

    def act() -> None:
        assert kernels.add_one is kernel
        kernel.run(x, out, 2, grid=(1,), warmup=True, BLOCK=4)
        handles.append(kernel[(7,)](x, out, 2, BLOCK=4))
        torch.neg(out)

    recorded = record(act, task="tensor")
    name = "Triton.add_one.0.forward"
    assert forward(recorded) == [name, "Torch.neg.0.forward"]
    assert handles == ["handle"]
    assert kernel.grids == [((1,), True, 4), ((7,), False, 4)]
    assert recorded.leaf(name, "input.2").value == 2
    assert recorded.leaf(name, "input.BLOCK").value == 4
    assert recorded.tensor(name, "input.1").tolist() == [0, 0]
    written = {argument.name: argument.leaf.value for argument in recorded[name].written}
    assert (
        written["written.input.1"]
        == recorded.value("Torch.neg.0.forward", "input.0")
        != recorded.value(name, "input.1")
    )
    assert recorded.tensor("Torch.neg.0.forward", "input.0").tolist() == [2, 3]
    assert "run" not in vars(kernel)


def test_a_kernel_without_run_is_recorded_too(record: Any, kernels: ModuleType) -> None:
    kernel, x, out = kernels.times, torch.ones(2), torch.zeros(2)
    register_custom_api(kernels, "times")

    def act() -> None:
        assert kernels.times.compiled == "yes"
        kernels.times[5, 1](x, out)
        kernels.times(out, x)

    recorded = record(act)
    assert forward(recorded) == ["kernels.times.0.forward", "kernels.times.1.forward"]
    assert [argument.name for argument in recorded["kernels.times.0.forward"].written] == [
        "written.input.0",
        "written.input.1",
    ]
    assert out.tolist() == [5, 5]
    assert kernels.times is kernel


def test_writes_past_the_version_counter_are_recorded_where_they_were_announced(
    record: Any, kernels: ModuleType
) -> None:
    kernels.fill = lambda x: x.numpy().fill(7)  # type: ignore[attr-defined]
    register_custom_api(kernels, "fill", writes=True)
    recorded = record(lambda: kernels.fill(torch.zeros(2)))
    assert [argument.name for argument in recorded["kernels.fill.0.forward"].written] == ["written.input.0"]


def test_registered_operators_of_torch_change_their_name_alone(record: Any, kernels: ModuleType) -> None:
    x = torch.ones(2)

    def act() -> None:
        kernels.twice(x)
        torch.ops.au_custom.twice.default(x)

    register_custom_api(kernels, "twice")
    assert kernels.twice is twice
    assert forward(record(act)) == ["kernels.twice.0.forward", "kernels.twice.1.forward"]
    restore_custom_api(kernels, "twice")
    register_custom_ops(torch.ops.au_custom)
    assert forward(record(act))[0] == "au_custom.twice.0.forward"
    register_custom_ops("au_custom", ["twice"], "Fused")
    assert forward(record(act))[0] == "Fused.twice.0.forward"
    restore_custom_ops("au_custom", ["twice"])
    restore_custom_ops(torch.ops.au_custom)
    assert forward(record(act))[0] == "Torch.au_custom.twice.0.forward"


def test_a_registered_function_compiles(record: Any, kernels: ModuleType) -> None:
    register_custom_api(kernels, "gelu_bias")
    results = []

    def act() -> None:
        compiled = torch.compile(lambda x: kernels.gelu_bias(x) + 1, backend="eager", fullgraph=True)
        results.append(compiled(torch.ones(2)))

    record(act)
    torch._dynamo.reset()
    assert torch.equal(results[0], F.gelu(torch.ones(2)) + 1)


def test_a_function_that_fails_fails_as_before(record: Any, kernels: ModuleType) -> None:
    register_custom_api(kernels, "gelu_bias")

    def act() -> None:
        with pytest.raises(TypeError, match="unexpected keyword"):
            kernels.gelu_bias(torch.ones(2), no_such=1)
        kernels.gelu_bias(torch.ones(2))

    assert forward(record(act))[-1].startswith("kernels.gelu_bias")


@pytest.mark.parametrize(
    ("api", "prefix", "sentence"),
    [
        ("missing", None, "kernels has no 'missing'"),
        (3, None, "kernels has no 3"),
        ("size", None, "kernels.size: expected a function, found int"),
        ("Norm", None, "kernels.Norm: expected a function, found type"),
        ("Cube", None, "kernels.Cube is recorded without being registered"),
        ("layer", None, "kernels.layer is recorded without being registered"),
        ("gelu_bias", "", "api_prefix: expected a name"),
        ("gelu_bias", "Module", "api_prefix: expected a name"),
        ("gelu_bias", "a b", "api_prefix: expected a name"),
        ("gelu_bias", 3, "api_prefix: expected a name"),
    ],
)
def test_what_cannot_be_registered_is_refused(kernels: ModuleType, api: Any, prefix: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        register_custom_api(kernels, api, prefix)
    assert not custom._registered


@pytest.mark.parametrize(
    ("namespace", "names", "sentence"),
    [
        ("no.name", None, "expected the name of a namespace"),
        (3, None, "expected the name of a namespace"),
        ("au_custom", ["thrice"], "torch.ops.au_custom has no thrice"),
        ("au_custom", "twice", "expected a list of operators"),
    ],
)
def test_namespaces_that_are_refused(namespace: Any, names: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        register_custom_ops(namespace, names)


def test_an_owner_without_a_name() -> None:
    class Owner:
        pass

    owner = Owner()
    owner.f = torch.neg  # type: ignore[attr-defined]
    register_custom_api(owner, "f")
    (registered,) = custom._registered.values()
    assert registered.key == "Custom.f"
    assert set(dump.__all__) >= {"register_custom_api", "register_custom_ops"}
