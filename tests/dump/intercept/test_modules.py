"""Module calls: their names, their owners, what they read and wrote, and their gradients."""

from __future__ import annotations

import gc
import inspect
import traceback
import weakref
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dump.intercept.modules import ModuleTree


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor | None = None) -> torch.Tensor:
        y = self.act(self.fc(x))
        return y if scale is None else y * scale


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, scale=torch.full((1,), 2.0))
        return x


class Counted(Net):
    """Counts how often it is asked for what lies below it."""

    asked = 0

    def named_modules(self, *args: Any, **kwargs: Any) -> Any:
        type(self).asked += 1
        return super().named_modules(*args, **kwargs)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        type(self).asked += 1
        return super().named_parameters(*args, **kwargs)

    def parameters(self, *args: Any, **kwargs: Any) -> Any:
        type(self).asked += 1
        return super().parameters(*args, **kwargs)


def test_what_a_script_does_where_a_module_is_walked_is_not_called(record: Any) -> None:
    net = nn.Sequential(Counted())
    optimizer = torch.optim.SGD([net[0].blocks[0].fc.weight], lr=0.1)

    def act() -> None:
        Counted.asked = 0
        net(torch.ones(1, 3)).sum().backward()
        optimizer.step()

    dump = record(act, level="mix")
    assert Counted.asked == 0
    assert "Module.0.blocks.1.fc.Linear.forward.0" in dump.names


def test_a_modules_call_shows_itself_as_torchs(record: Any) -> None:
    def seen() -> list[Any]:
        call = nn.Module.__call__
        try:
            nn.Sequential(nn.Linear(2, 2))(torch.ones(1, 3))
        except RuntimeError as error:
            lines = traceback.format_exception(error)
        return [call.__name__, call.__qualname__, call.__module__, str(inspect.signature(call)), lines[1:]]

    found: list[Any] = []
    record(lambda: found.append(seen()), level="mix")
    assert [found[0][:4], *found[0][4][1:]] == [seen()[:4], *seen()[4][1:]]


def test_a_module_is_named_by_its_path_and_class(record: Any) -> None:
    net = Net()
    dump = record(lambda: net(torch.ones(1, 3)), level="L0")
    assert dump.names == [
        "Module.blocks.0.fc.Linear.forward.0",
        "Module.blocks.0.act.ReLU.forward.0",
        "Module.blocks.0.Block.forward.0",
        "Module.blocks.1.fc.Linear.forward.0",
        "Module.blocks.1.act.ReLU.forward.0",
        "Module.blocks.1.Block.forward.0",
    ]
    assert dump.dump.owners["Module.blocks.0.fc.Linear.forward.0"] == "Module.blocks.0.Block.forward.0"
    assert dump.dump.owners["Module.blocks.0.Block.forward.0"] is None


@pytest.mark.parametrize("level", ["L1", "mix"])
def test_every_call_knows_its_module_at_every_level(record: Any, level: str) -> None:
    net = Net()
    dump = record(lambda: net(torch.ones(1, 3)).sum().backward(), level=level)
    owners = dump.dump.owners
    assert owners["Functional.linear.1.forward"] == "Module.blocks.1.fc.Linear.forward.0"
    assert owners["Functional.linear.1.backward"] == "Module.blocks.1.fc.Linear.backward.0"
    assert owners["Tensor.__mul__.0.forward"] == "Module.blocks.0.Block.forward.0"
    assert owners["Torch.ones.0.forward"] is None
    assert ("Module.blocks.0.act.ReLU.forward.0" in dump) == (level == "mix")


def test_keyword_arguments_and_parameters_are_read(record: Any) -> None:
    net = Net()
    dump = record(lambda: net(torch.ones(1, 3)), level="L0", task="tensor")
    call = "Module.blocks.0.Block.forward.0"
    assert [argument.name for argument in dump[call].inputs] == ["input.0", "input.scale"]
    fc = "Module.blocks.0.fc.Linear.forward.0"
    assert torch.equal(dump.tensor(fc, "parameters.weight"), net.blocks[0].fc.weight)
    assert dump.value(call, "output.0") == dump.value("Module.blocks.1.fc.Linear.forward.0", "input.0")


def test_a_keyword_argument_is_what_it_was_before_the_call_wrote_to_it(record: Any) -> None:
    class Writes(nn.Module):
        def forward(self, *, x: torch.Tensor) -> None:
            x.add_(1)

    model = nn.Sequential(nn.Linear(1, 1))
    model.add_module("writes", Writes())

    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: torch.Tensor) -> None:
            self.inner.writes(x=x)

    dump = record(lambda: Root()(torch.zeros(2)), level="L0", task="tensor")
    call = "Module.inner.writes.Writes.forward.0"
    assert dump.tensor(call, "input.x").tolist() == [0, 0]
    assert dump.tensor(call, "written.input.x").tolist() == [1, 1]


def test_gradients_of_modules_and_parameters_equal_the_reference(record: Any) -> None:
    net = Net()
    x = torch.randn(2, 3, requires_grad=True)
    net(x).sum().backward()
    expected = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    inner = net.blocks[1].fc
    hidden = net.blocks[0](x, scale=torch.full((1,), 2.0)).detach().requires_grad_()
    out = net.blocks[1](hidden, scale=torch.full((1,), 2.0))
    (into_block,) = torch.autograd.grad(out.sum(), hidden)
    net.zero_grad()

    dump = record(lambda: net(x).sum().backward(), level="L0", task="tensor")
    assert torch.equal(dump.tensor("Module.blocks.1.Block.backward.0", "output.0"), into_block)
    assert dump.tensor("Module.blocks.1.Block.backward.0", "input.0").eq(1).all()
    for name in ("weight", "bias"):
        call = "Module.blocks.1.fc.Linear.parameters_grad.0"
        assert torch.equal(dump.tensor(call, f"parameters_grad.{name}"), expected[f"blocks.1.fc.{name}"])
    assert dump.dump.owners["Module.blocks.1.fc.Linear.parameters_grad.0"].endswith("Linear.backward.0")
    assert torch.equal(inner.weight.grad, expected["blocks.1.fc.weight"])


class Answers(nn.Module):
    """Returns what it is given by name."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> Any:
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "outputs"),
    [
        (lambda x: x, {"output.0": True}),
        (lambda x: None, {"output.0": False}),
        (lambda x: (x, None, [x]), {"output.0": True, "output.1": False, "output.2.0": True}),
        (lambda x: {"logits": x, "cache": None}, {"output.0.logits": True, "output.0.cache": False}),
    ],
    ids=["tensor", "nothing", "nested", "dict"],
)
def test_outputs_of_every_shape_have_their_places(record: Any, answer: Any, outputs: dict[str, bool]) -> None:
    root = nn.Sequential(nn.Linear(1, 1), Answers(answer))
    dump = record(lambda: root(torch.ones(1, 1)), level="L0")
    found = dump["Module.1.Answers.forward.0"].outputs
    assert {argument.name: argument.leaf is not None for argument in found} == outputs


def test_a_loss_of_its_own_is_named_for_its_class(record: Any) -> None:
    net, loss = nn.Sequential(nn.Linear(2, 2)), nn.MSELoss()
    dump = record(lambda: loss(net(torch.ones(1, 2)), torch.zeros(1, 2)), level="L0")
    assert dump.names == ["Module.0.Linear.forward.0", "Module.MSELoss.MSELoss.forward.0"]


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_recomputation_is_marked(record: Any, use_reentrant: bool) -> None:
    layer = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    x = torch.randn(1, 2, requires_grad=True)

    def step() -> None:
        checkpoint(layer, x, use_reentrant=use_reentrant).sum().backward()

    dump = record(step, level="mix")
    marks = {name: dump[name].is_recompute for name in dump.names if name.endswith("forward") or "Module" in name}
    assert marks["Functional.linear.0.forward"] is False
    assert marks["Functional.linear.1.forward"] is True
    assert marks["Module.0.Linear.forward.1"] is True
    assert dump.dump.owners["Functional.linear.1.forward"] == "Module.0.Linear.forward.1"
    # Both ways the gradients are those of the recomputed calls, or of calls that were followed once.
    assert any(name.startswith("Functional.linear.") and name.endswith("backward") for name in dump.names)


def test_a_module_that_raises_leaves_the_stack_of_modules_right(record: Any) -> None:
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> None:
            raise KeyError

    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fails, self.fc = Fails(), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with pytest.raises(KeyError):
                self.fails(x)
            return self.fc(x)

    root = Root()
    dump = record(lambda: root(torch.ones(1, 2)), level="mix")
    assert dump.dump.owners["Functional.linear.0.forward"] == "Module.fc.Linear.forward.0"
    assert dump.dump.owners["Module.fc.Linear.forward.0"] is None
    assert not any("Fails" in name for name in dump.names)


def test_shared_parameters_are_recorded_once(record: Any) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x))

    tied = Tied()
    dump = record(lambda: tied(torch.ones(1, 2)).sum().backward(), level="L0", task="tensor")
    (grads,) = [name for name in dump.names if "parameters_grad" in name]
    assert grads == "Module.first.Linear.parameters_grad.0"
    assert torch.equal(dump.tensor(grads, "parameters_grad.weight"), tied.first.weight.grad)


def test_two_backwards_make_two_records_of_a_parameters_gradients(record: Any) -> None:
    net = nn.Sequential(nn.Linear(2, 1))

    def step() -> None:
        net(torch.ones(1, 2)).sum().backward()
        net(torch.full((1, 2), 3.0)).sum().backward()

    dump = record(step, level="L0", task="tensor")
    grads = [name for name in dump.names if "parameters_grad" in name]
    assert grads == ["Module.0.Linear.parameters_grad.0", "Module.0.Linear.parameters_grad.1"]
    assert [dump.tensor(name, "parameters_grad.weight").tolist() for name in grads] == [[[1, 1]], [[3, 3]]]


def test_gradients_of_some_parameters_alone_are_recorded_at_the_end(record: Any) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x * self.used, x * self.idle

    net = nn.Sequential(Half())
    dump = record(lambda: net(torch.ones(1))[0].sum().backward(), level="L0")
    assert [argument.name for argument in dump["Module.0.Half.parameters_grad.0"].outputs] == ["parameters_grad.used"]


def test_the_model_itself_is_recorded_where_it_has_parameters_of_its_own(record: Any) -> None:
    alone = nn.Linear(2, 1)
    dump = record(lambda: alone(torch.ones(1, 2)).sum().backward(), level="mix")
    assert "Module.Linear.forward.0" in dump
    assert "Module.Linear.parameters_grad.0" in dump
    assert dump.dump.owners["Functional.linear.0.forward"] == "Module.Linear.forward.0"
    around = nn.Sequential(alone)
    assert "Module.Sequential.forward.0" not in record(lambda: around(torch.ones(1, 2)), level="L0")


@pytest.mark.parametrize("own", [{"__hash__": None}, {"__eq__": lambda *_: True, "__hash__": lambda _: 1}, "fails"])
def test_modules_are_told_apart_without_their_own_methods(own: Any, record: Any) -> None:
    def fails(*_: Any) -> Any:
        raise AssertionError("a user's code must not run while recording")

    if own == "fails":
        own = dict.fromkeys(("__hash__", "__eq__"), fails)
    kind = type("Own", (nn.Linear,), own)
    net = nn.Sequential()
    for number, each in enumerate((kind(2, 2), kind(2, 2))):
        net._modules[str(number)] = each
    recorded = record(lambda: net(torch.ones(1, 2)).sum().backward(), level="mix")
    assert {"Module.0.Own.forward.0", "Module.1.Own.forward.0"} <= set(recorded.names)
    assert recorded.dump.header.coverage["failed"] == {}


def test_no_hook_is_left_behind(record: Any) -> None:
    net = Net()
    record(lambda: net(torch.ones(1, 3)).sum().backward(), level="mix")
    for module in net.modules():
        assert [module._forward_hooks, module._forward_pre_hooks, module._backward_hooks] == [{}, {}, {}]
    for parameter in net.parameters():
        assert not parameter._backward_hooks
        assert not parameter._post_accumulate_grad_hooks


def test_known_modules_are_not_kept_alive() -> None:
    tree = ModuleTree()
    net = Net()
    tree.add_root(net)
    block = weakref.ref(net.blocks[0])
    del net
    gc.collect()
    assert block() is None


def test_names_of_later_trees_are_free_again_when_a_tree_is_gone() -> None:
    tree = ModuleTree()
    net, first, second = Net(), nn.ReLU(), nn.ReLU()
    for root in (first, net, second):
        tree.add_root(root)
    assert [tree.path(root) for root in (first, net, second)] == ["ReLU", "", "ReLU2"]
    del first
    gc.collect()
    third = nn.ReLU()
    tree.add_root(third)
    assert tree.path(third) == "ReLU"


@pytest.mark.parametrize(
    ("roots", "models"),
    [
        ([Net, nn.ReLU, nn.Bilinear, nn.Bilinear], {"": "Net", "Bilinear": "Bilinear", "Bilinear2": "Bilinear"}),
        ([nn.ReLU, Net], {}),
    ],
)
def test_of_several_models_it_is_known_which_has_no_prefix(roots: list[Any], models: dict[str, str]) -> None:
    tree = ModuleTree()
    made = [kind(1, 1, 1) if kind is nn.Bilinear else kind() for kind in roots]
    for root in made:
        tree.add_root(root)
    assert tree.models() == models


def test_a_module_that_was_never_registered_is_named_below_its_caller() -> None:
    tree = ModuleTree()
    net = Net()
    tree.add_root(net)
    stray = nn.ReLU()
    assert tree.path(stray, within=net.blocks[0]) == "blocks.0.ReLU"


def test_a_module_that_joins_later_is_found() -> None:
    tree = ModuleTree()
    net = Net()
    tree.add_root(net)
    net.head = nn.Linear(3, 1)
    assert tree.path(net.head, within=net) == "head"
    assert tree.parameter_names()[id(net.head.weight)] == "head.weight"


class _Deep(torch.nn.Module):
    def __init__(self, levels: int) -> None:
        super().__init__()
        self.inner = _Deep(levels - 1) if levels else torch.nn.Identity()

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(x) if not isinstance(self.inner, torch.nn.Identity) else len(inspect.stack(0))


def test_a_call_is_no_deeper_for_being_recorded(record: Any) -> None:
    model, found = _Deep(20), []
    alone = model(torch.ones(1)) - len(inspect.stack(0))
    record(lambda: found.append(model(torch.ones(1)) - len(inspect.stack(0))), level="mix")
    assert found == [alone]
