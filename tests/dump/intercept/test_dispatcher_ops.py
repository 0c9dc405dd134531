"""Calls that no attribute holds: autograd Functions of the user's, and operators called through torch.ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from dump.intercept import dispatcher_ops as direct
from dump.intercept.patching import Patches
from dump.intercept.points import install_each
from dump.intercept.watch import Watch

if not hasattr(torch.library, "custom_op"):
    pytest.skip("torch.library.custom_op came with torch 2.4", allow_module_level=True)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.pow(x, 3) * scale

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * 3 * x.square(), None


class Nan(torch.autograd.Function):
    """With a separate `setup_context`, which takes another way through torch."""

    @staticmethod
    def forward(x: torch.Tensor, fill: float = 0.0) -> torch.Tensor:
        return torch.nan_to_num(x, fill)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


def test_a_function_is_recorded_around_what_it_calls(record: Any) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)

    def act() -> None:
        Cube.apply(x, 1.0).sum().backward()

    dump = record(act, task="tensor")
    forward = ["Torch.pow.0.forward", "Tensor.__mul__.0.forward", "Autograd.Cube.0.forward", "Tensor.sum.0.forward"]
    assert dump.names[:4] == forward
    assert dump.tensor("Autograd.Cube.0.forward", "output.0").tolist() == [1, 8]
    assert dump.leaf("Autograd.Cube.0.forward", "input.1").value == 1.0
    assert dump.tensor("Autograd.Cube.0.backward", "input.0").tolist() == [1, 1]
    assert dump.tensor("Autograd.Cube.0.backward", "output.0").tolist() == [3, 12]
    # What it returned is what the last call inside it made.
    assert dump.value("Autograd.Cube.0.forward", "output.0") == dump.value("Tensor.__mul__.0.forward", "output.0")


def test_a_function_with_setup_context(record: Any) -> None:
    x = torch.tensor([float("nan")])
    dump = record(lambda: Nan.apply(x))
    assert dump.names == ["Torch.nan_to_num.0.forward", "Autograd.Nan.0.forward"]


class Wide(torch.autograd.Function):
    """Wants its gradient in another dtype than that of its output."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.set_output_grad_dtype(torch.float32)
        return torch.mul(x, 2)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        assert gradient.dtype is torch.float32
        return (gradient * 2).bfloat16()


@pytest.mark.skipif(
    not hasattr(torch.autograd.Function, "set_output_grad_dtype"), reason="set_output_grad_dtype came with torch 2.14"
)
def test_a_function_that_wants_its_gradient_in_another_dtype(record: Any) -> None:
    x = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    dump = record(lambda: Wide.apply(x).float().sum().backward())
    assert dump.leaf("Autograd.Wide.0.backward", "input.0").norm == pytest.approx(2**0.5)
    assert dump.leaf("Autograd.Wide.0.backward", "output.0").dtype == "torch.bfloat16"


@pytest.mark.skipif(
    not hasattr(torch.autograd.graph, "node_creation_hook"), reason="node_creation_hook came with torch 2.14"
)
def test_a_hook_on_new_nodes_sees_those_of_the_script_alone(record: Any) -> None:
    seen: list[list[str]] = []

    def act() -> None:
        names: list[str] = []
        x = torch.ones(2, 2, requires_grad=True)
        with torch.autograd.graph.node_creation_hook(lambda node: names.append(node.name())):
            loss = torch.nn.functional.gelu(Cube.apply(x @ x, 2.0)).mul_(2).view(4).sum()
        loss.backward()
        seen.append(names)

    act()
    record(act)
    record(act, task="tensor", audit=True)
    assert len(seen[0]) > 5
    assert seen[0] == seen[1] == seen[2]


def test_functions_of_torchs_own_are_no_operators(record: Any) -> None:
    x = torch.ones(2, requires_grad=True)
    dump = record(lambda: checkpoint(torch.exp, x, use_reentrant=True).sum().backward())
    assert not [name for name in dump.names if name.startswith("Autograd")]
    assert "Torch.exp.0.forward" in dump


@torch.library.custom_op("au_python::twice", mutates_args=(), schema="(Tensor x) -> Tensor")
def twice_in_python(x: torch.Tensor) -> torch.Tensor:
    return x * 2


twice_in_python.register_fake(lambda x: torch.empty_like(x))
twice_in_python.register_autograd(lambda ctx, gradient: gradient * 2)


@pytest.fixture
def registered() -> Iterator[None]:
    library = torch.library.Library("au_test", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x + x, "CompositeImplicitAutograd")
    library.define("npu_twice.other(Tensor x) -> Tensor")
    library.impl("npu_twice.other", lambda x: x + x, "CompositeImplicitAutograd")
    yield
    library._destroy()


def on_cpu(x: torch.Tensor) -> torch.Tensor:
    with torch.device("cpu"):  # a mode that sees every call
        return torch.ops.au_test.twice(x)


REGISTERED: list[tuple[Callable[[torch.Tensor], object], str | None]] = [
    (lambda x: torch.ops.aten.relu(x), "Aten.relu"),
    (lambda x: torch.ops.aten.relu.default(x), None),
    (lambda x: torch.ops.au_test.twice(x), "Torch.au_test.twice"),
    (lambda x: torch.ops.au_test.twice.default(x), "Torch.au_test.twice"),
    (lambda x: torch.ops.au_test.npu_twice.other(x), "Torch.au_test.npu_twice"),
    (lambda x: torch.ops.au_python.twice(x), "Torch.au_python.twice"),
    (lambda x: twice_in_python(x), "Torch.au_python.twice"),
    (on_cpu, "Torch.au_test.twice"),
    (lambda x: torch.ops.profiler._record_function_enter_new("name"), None),
]


@pytest.mark.parametrize(("act", "key"), REGISTERED)
@pytest.mark.usefixtures("registered")
def test_a_registered_operator_is_recorded_once_under_its_namespace(
    record: Any, act: Callable[[torch.Tensor], Any], key: str | None
) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)

    def run() -> None:
        made = act(x)
        if isinstance(made, torch.Tensor):
            made.backward(torch.ones(2))

    dump = record(run, task="tensor")
    known = ("Torch.ones.0.forward", "Tensor.__mul__.0.forward")  # the latter is in the backward of twice_in_python
    assert [name for name in dump.names if name not in known] == (
        [] if key is None else [f"{key}.0.forward", f"{key}.0.backward"]
    )
    if key is not None and key.endswith("twice"):
        assert dump.tensor(f"{key}.0.forward", "output.0").tolist() == [2, 4]
        assert dump.tensor(f"{key}.0.backward", "output.0").tolist() == [2, 2]


def test_an_operator_that_is_registered_while_we_record_is_recorded(record: Any) -> None:
    library = torch.library.Library("npu", "FRAGMENT")

    def act() -> None:
        library.define("npu_of_a_later_release(Tensor x) -> Tensor")
        library.impl("npu_of_a_later_release", lambda x: x + x, "CompositeImplicitAutograd")
        torch.ops.npu.npu_of_a_later_release(torch.ones(2))

    assert record(act).names[1:] == ["NPU.npu_of_a_later_release.0.forward"]
    library._destroy()


@pytest.mark.usefixtures("registered")
def test_a_subclass_of_the_users_answers_as_without_us(record: Any) -> None:
    class Logged(torch.Tensor):
        seen: ClassVar[list[str]] = []

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            cls.seen.append(str(func))
            return super().__torch_function__(func, types, args, kwargs or {})

    x = torch.ones(2).as_subclass(Logged)
    Logged.seen.clear()
    torch.ops.au_test.twice(x)
    alone = list(Logged.seen)
    Logged.seen.clear()
    dump = record(lambda: torch.ops.au_test.twice(x))
    assert Logged.seen == alone
    assert dump.names.count("Torch.au_test.twice.0.forward") == 1


def test_nothing_is_left_behind() -> None:
    def now() -> tuple[Any, ...]:
        kinds = (torch._ops.OpOverloadPacket, torch._ops.OpOverload)
        return (vars(torch.autograd.Function)["apply"], *(vars(kind)["__call__"] for kind in kinds))

    before = now()
    with Patches() as patches:
        assert install_each(direct.points(Watch()), patches) == {}
        assert all(ours is not theirs for ours, theirs in zip(now(), before, strict=True))
    assert now() == before


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo's own doing
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_what_is_called_directly_compiles_while_we_record(record: Any, backend: str) -> None:
    def act(x: torch.Tensor) -> torch.Tensor:
        twice = torch.ops.au_python.twice
        return Cube.apply(x, 2.0) + torch.ops.aten.relu(x) + twice(x) + twice.default(x) + twice_in_python(x)

    x, results = torch.tensor([1.0, 2.0], requires_grad=True), []
    compiled = torch.compile(act, backend=backend, fullgraph=True)
    record(lambda: results.append(compiled(x)))
    torch._dynamo.reset()
    assert torch.equal(results[0], act(x))
