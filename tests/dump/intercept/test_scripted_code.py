"""torch.jit and torch.compile see torch as it is without us, and what they make runs while we record."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dump.intercept.points import release

# torch.jit says that it is deprecated; what scripts still do with it must work all the same.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def multiplied(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.mm(x, y)


def scripted(x: torch.Tensor) -> torch.Tensor:
    return F.relu(torch.exp(x) - 2.0).sum() + torch.matmul(x, x)


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(self.fc(x)) + torch.tanh(x)


def test_a_function_scripts_while_we_record(record: Any) -> None:
    x = torch.ones(3)
    results = []
    dump = record(lambda: results.append(torch.jit.script(scripted)(x)))
    assert torch.equal(results[0], scripted(x))
    assert dump.names == []


def test_a_module_scripts_while_we_record(record: Any) -> None:
    model, x, results = Small(), torch.ones(1, 3), []
    record(lambda: results.append(torch.jit.script(model)(x)), level="mix")
    assert torch.equal(results[0], model(x))


def test_functions_that_were_imported_by_name_script(record: Any) -> None:
    x, results = torch.ones(3), []

    def act() -> None:
        space: dict[str, Any] = {}
        relu, exp = F.relu, torch.exp  # stand-ins, as a script that starts under us would import them

        def uses(x: torch.Tensor) -> torch.Tensor:
            return relu(exp(x) - 2.0)

        space["made"] = torch.jit.script(uses)
        results.append(space["made"](x))

    record(act)
    assert torch.equal(results[0], F.relu(torch.exp(x) - 2.0))


def test_a_trace_holds_none_of_our_operators(record: Any) -> None:
    model, x, traces = Small(), torch.ones(1, 3), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = torch.jit.trace(model, x)
        record(lambda: traces.append(torch.jit.trace(model, x)))
    kinds = [[node.kind() for node in trace.inlined_graph.nodes()] for trace in (alone, traces[0])]
    assert kinds[0] == kinds[1]


@pytest.mark.skipif(
    release(torch.__version__) < (2, 2), reason="dynamo of torch 2.1 breaks its graph at a module call that is recorded"
)
def test_a_compiled_model_runs_and_its_graph_is_the_same(record: Any) -> None:
    model, x = Small(), torch.ones(1, 3)
    graphs: list[list[str]] = []

    def backend(module: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append([str(node.target) for node in module.graph.nodes if node.op != "placeholder"])
        return module.forward

    alone = torch.compile(model, backend=backend)(x)
    torch._dynamo.reset()
    results = []

    def act() -> None:
        compiled = torch.compile(model, backend=backend)
        results.extend(compiled(x) for _ in range(2))

    dump = record(act, level="mix")
    torch._dynamo.reset()
    assert torch.equal(results[0], alone)
    assert torch.equal(results[1], alone)
    assert len(graphs) == 2
    assert graphs[0] == graphs[1]
    # A backend that runs torch's functions one by one is recorded; the reading of the code is not.
    linear = [name for name in dump.names if name.startswith("Functional.linear")]
    assert linear == ["Functional.linear.0.forward", "Functional.linear.1.forward"]


def test_what_the_compiler_runs_for_itself_is_not_the_scripts(record: Any) -> None:
    """The backward of a graph is compiled when it first runs, inside `backward`."""
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    def compiler(module: torch.fx.GraphModule, _: Any) -> Any:
        torch.zeros(2).clone()
        return make_boxed_func(module.forward)

    def act() -> None:
        x = torch.ones(3, requires_grad=True)
        torch.compile(torch.exp, backend=aot_autograd(fw_compiler=compiler, bw_compiler=compiler))(x).sum().backward()
        torch.zeros(4)

    dump = record(act)
    torch._dynamo.reset()
    assert [name for name in dump.names if "clone" in name or "zeros." in name] == ["Torch.zeros.0.forward"]


def test_a_symbolic_trace_works_while_we_record(record: Any) -> None:
    model, x, results = Small(), torch.ones(1, 3), []
    record(lambda: results.append(torch.fx.symbolic_trace(model)(x)))
    assert torch.equal(results[0], model(x))


def test_what_runs_inside_scripted_code_is_told(record: Any) -> None:
    x = torch.ones(3)
    function, model = torch.jit.script(scripted), torch.jit.script(Small())
    original = torch.jit.ScriptFunction.__call__

    def act() -> None:
        torch.exp(x)
        function(x)
        model(x)
        model.forward(x)

    coverage = record(act).dump.header.coverage
    assert coverage["scripted"] == {"scripted": 1, "Small": 2}
    assert torch.jit.ScriptFunction.__call__ is original
    assert "scripted" not in record(lambda: torch.exp(x)).dump.header.coverage


@pytest.mark.parametrize("audit", [False, True])
def test_what_scripted_code_raises_is_what_it_raises_alone(audit: bool, record: Any) -> None:
    function, model, x = torch.jit.script(multiplied), torch.jit.script(Small()), torch.ones(2, 2)
    call = vars(torch.jit.ScriptFunction)["__call__"]

    def raised(act: Callable[[], object]) -> tuple[type, tuple[object, ...], list[str]]:
        try:
            act()
        except RuntimeError as error:
            return type(error), error.args, [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        raise AssertionError("nothing was raised")

    def act() -> list[Any]:
        assert vars(torch.jit.ScriptFunction)["__call__"] is call
        return [
            raised(lambda: function(x, torch.ones(3, 2))),
            raised(lambda: model(x)),
            raised(lambda: model.forward(x)),
        ]

    alone, recorded = act(), []
    record(lambda: recorded.append(act()), audit=audit)
    assert recorded == [alone]
    assert "cannot be multiplied" in str(alone[0][1])


@pytest.mark.skipif(release(torch.__version__) < (2, 2), reason="dynamo of torch 2.1 counts one graph more")
@pytest.mark.skipif(release(torch.__version__) < (2, 7), reason="other frames are counted before torch 2.7")
def test_dynamo_compiles_the_frames_that_it_compiles_alone(record: Any) -> None:
    from torch._dynamo.utils import counters

    def frames() -> dict[str, int]:
        torch._dynamo.reset()
        counters.clear()
        model = Small()
        compiled = torch.compile(model, backend="eager")
        for _ in range(2):
            compiled(torch.ones(1, 3)).sum().backward()
        return dict(counters["frames"])

    alone, recorded = frames(), []
    record(lambda: recorded.append(frames()), level="mix")
    torch._dynamo.reset()
    assert recorded == [alone]


def test_what_was_compiled_is_told(record: Any) -> None:
    compiled, x = torch.compile(lambda x: torch.exp(x) + 1, backend="eager"), torch.ones(3)
    torch._dynamo.utils.counters.clear()
    coverage = record(lambda: (torch.exp(x), compiled(x))).dump.header.coverage
    torch._dynamo.reset()
    assert coverage["compiled"] == {"graphs": 1, "operators": 2}


@pytest.mark.parametrize("audit", [False, True])
def test_a_trace_is_to_the_letter_what_it_is_alone(record: Any, audit: bool) -> None:
    def traced(x: torch.Tensor) -> torch.Tensor:
        y = torch.zeros(2, 4)
        y[:, 1:3] = x[:, :2]
        return F.softmax(y.add_(1).relu_() @ torch.ones(4, 4), -1).split(2, -1)[0] + y[:, 2:]

    def code() -> str:
        return str(torch.jit.trace(traced, torch.ones(2, 4)).code)

    alone, found = code(), []
    record(lambda: found.append(code()), audit=audit, level="mix")
    assert found == [alone]
    assert "y = " in alone
