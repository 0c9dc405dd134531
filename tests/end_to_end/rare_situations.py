"""Rarer things that scripts do with torch, one function a situation; a script, as `situations.py` is."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import importlib
import inspect
import io
import pickle
import re
import sys
import threading
import traceback
import unittest.mock
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import situations
import torch
import torch.nn.functional as F
from situations import batches, mlp, train
from torch import nn
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function, wrap_torch_function

RARE: dict[str, Callable[[], Any]] = {}


def rare(function: Callable[[], Any]) -> Callable[[], Any]:
    RARE[function.__name__] = function
    return function


def attempt(act: Callable[[], Any]) -> Any:
    """What `act` returns, or its error."""
    try:
        return act()
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"


def saved(thing: Any) -> Any:
    """`thing` by way of torch.save."""
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


# ---- copies and pickles


@rare
def copies_of_tensors() -> Any:
    x = torch.randn(3, requires_grad=True)
    y = torch.relu(x)
    y.sum().backward()
    return [
        attempt(lambda: copy.deepcopy(x)),
        attempt(lambda: copy.deepcopy(x).grad),
        attempt(lambda: copy.deepcopy(y)),
        attempt(lambda: copy.copy(y).grad_fn is y.grad_fn),
        attempt(lambda: pickle.loads(pickle.dumps(x.detach()[1:]))),
        attempt(lambda: [t.data_ptr() == s.data_ptr() for t, s in [saved([x.detach(), x.detach()[:2]])]]),
        attempt(lambda: len(pickle.dumps(x.detach()))),
    ]


@rare
def copies_of_functions() -> Any:
    things = [
        functools.partial(F.gelu, approximate="tanh"),
        functools.partial(torch.add, alpha=2),
        torch.nn.functional.relu,
        torch.Tensor.matmul,
        torch.Tensor.__add__,
        torch.relu_,
        torch.ops.aten.add.Tensor,
        torch.special.expit,
        torch.nn.init.xavier_uniform_,
        {torch.relu: 1, F.relu: 2, torch.Tensor.relu: 3},
        [torch.float32, torch.strided, torch.Size([1])],
    ]
    found = []
    for thing in things:
        for way in (copy.deepcopy, copy.copy, saved, lambda x: pickle.loads(pickle.dumps(x))):
            again = attempt(lambda way=way, thing=thing: way(thing))
            found.append((again is thing, again[:60] if isinstance(again, str) else again.__class__.__name__))
    return found


@rare
def copies_of_training() -> Any:
    model = mlp()
    model[0].register_forward_hook(functools.partial(_scaled, 2.0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = train(model, *batches(), optimizer=optimizer)
    clone, other = copy.deepcopy((model, optimizer))
    second = train(clone, *batches(), optimizer=other)
    again, restored = saved((clone, other))
    third = train(again, *batches(), optimizer=restored)
    sizes = [len(pickle.dumps(thing)) for thing in (model.state_dict(), optimizer.state_dict(), model)]
    return first, second, third, sizes, sorted(vars(model[0])), sorted(vars(again[0]))


def _scaled(factor: float, module: nn.Module, given: Any, output: torch.Tensor) -> torch.Tensor:
    return output * factor


@rare
def restricted_loading() -> Any:
    file = io.BytesIO()
    torch.save([torch.tanh, F.gelu], file)
    file.seek(0)
    found = [attempt(lambda: torch.load(file, weights_only=True))]
    with torch.serialization.safe_globals([torch.tanh, F.gelu]):
        file.seek(0)
        found.append(attempt(lambda: [f is g for f, g in zip(torch.load(file), [torch.tanh, F.gelu], strict=True)]))
    return found, len(torch.serialization.get_safe_globals())


# ---- who is asked


class Named(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append((torch.overrides.resolve_name(func), getattr(func, "__name__", ""), len(args), [*types]))
        return func(*args, **(kwargs or {}))


class Doubles(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        return result * 2 if func in {torch.relu, F.gelu, torch.Tensor.add} else result


@rare
def nested_function_modes() -> Any:
    x = torch.randn(4, requires_grad=True)
    with Named() as outer, Doubles(), Named() as inner:
        y = F.gelu(torch.relu(x)).add(1)
        y = F.softmax(torch.einsum("i,i->i", y, y), dim=0)
        y = F.layer_norm(y, (4,)) + torch.stack([y, y]).mean(0)
        y.sum().backward()
        z = torch.ones(2).T, y.shape, y.requires_grad, [len(y)], y[0], y.tolist()
    return y, z, outer.seen, inner.seen, x.grad


@rare
def function_mode_over_training() -> Any:
    model = mlp()
    with Named() as mode:
        found = train(model, *batches())
    return found, mode.seen


@rare
def function_mode_in_forward() -> Any:
    class Inside(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with Doubles():
                return torch.relu(x) + F.gelu(x)

    with Named() as mode:
        return Inside()(torch.randn(3)), mode.seen, len(torch.overrides._get_current_function_mode_stack())


@wrap_torch_function(lambda x, *rest: (x,))
def wrapped(x: torch.Tensor, factor: float = 2.0) -> torch.Tensor:
    return torch.mul(x, factor)


def public(x: torch.Tensor) -> torch.Tensor:
    if has_torch_function((x,)):
        return handle_torch_function(public, (x,), x)
    return torch.exp(x)


class Counts(torch.Tensor):
    seen: ClassVar[list[Any]] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(getattr(func, "__qualname__", str(func)))
        return super().__torch_function__(func, types, args, kwargs)


@rare
def subclass_with_the_default() -> Any:
    Counts.seen = []
    x = torch.randn(4).as_subclass(Counts).requires_grad_()
    y = wrapped(x) + public(x)
    y = F.dropout(torch.cat([y, F.relu(y)]).view(2, 4), 0.0).sum()
    y.backward()
    kinds = [type(each).__name__ for each in (x, y, x.grad, x.detach(), x.data, x[0], x.T)]
    kinds.append(attempt(lambda: type(copy.deepcopy(x)).__name__))
    return y.as_subclass(torch.Tensor), kinds, Counts.seen, attempt(lambda: saved(x.detach()).tolist())


@rare
def subclass_without_functions() -> Any:
    class Plain(torch.Tensor):
        __torch_function__ = torch._C._disabled_torch_function_impl

    x = torch.randn(4).as_subclass(Plain)
    y = F.gelu(torch.relu(x) + 1)
    return y, type(y).__name__, attempt(lambda: type(nn.Parameter(x)).__name__)


@rare
def masked_tensors() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data, mask = torch.arange(6.0).view(2, 3), torch.tensor([[True, False, True], [True, True, False]])
        m = torch.masked.masked_tensor(data, mask, requires_grad=True)
        y = torch.exp(m) + m.sin()
        total = y.sum()
        total.backward()
        return (
            y.get_data(),
            y.get_mask(),
            total.get_data(),
            m.grad.get_data(),
            attempt(lambda: torch.relu(m).get_data()),
        )


IMPLEMENTED: dict[Any, Any] = {}


def implements(*functions: Any) -> Any:
    def register(function: Any) -> Any:
        IMPLEMENTED.update(dict.fromkeys(functions, function))
        return function

    return register


class WeightOnly(torch.Tensor):
    """Weights in int8, in the manner of libraries of quantisation: a table by function, and one by operator."""

    @staticmethod
    def __new__(cls, whole: torch.Tensor, scale: torch.Tensor) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, whole.shape, dtype=scale.dtype, device=whole.device)

    def __init__(self, whole: torch.Tensor, scale: torch.Tensor) -> None:
        self.whole, self.scale = whole, scale

    def __tensor_flatten__(self) -> Any:
        return ["whole", "scale"], None

    @classmethod
    def __tensor_unflatten__(cls, parts: Any, _: Any, size: Any, stride: Any) -> Any:
        return cls(parts["whole"], parts["scale"])

    def dequantised(self) -> torch.Tensor:
        return self.whole.to(self.scale.dtype) * self.scale

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in IMPLEMENTED:
            return IMPLEMENTED[func](func, types, args, kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in IMPLEMENTED:
            return IMPLEMENTED[func](func, types, args, kwargs or {})
        raise NotImplementedError(f"{func} of {cls.__name__}")


@implements(F.linear)
def _(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    x, weight, bias = (*args, None)[:3]
    return F.linear(x, weight.dequantised(), bias)


@implements(torch.Tensor.mul, torch.Tensor.__mul__, torch.mul)
def _(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    return args[0].dequantised() * args[1] if isinstance(args[0], WeightOnly) else args[0] * args[1].dequantised()


@implements(torch.ops.aten.detach.default, torch.ops.aten.alias.default, torch.ops.aten.clone.default)
def _(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    return WeightOnly(func(args[0].whole), func(args[0].scale))


@implements(torch.ops.aten.t.default)
def _(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    return args[0].dequantised().t()


@rare
def weight_only_subclass() -> Any:
    model = mlp()
    whole = model[0].weight.detach()
    scale = whole.abs().amax(1, keepdim=True) / 127
    model[0].weight = nn.Parameter(WeightOnly((whole / scale).round().to(torch.int8), scale), requires_grad=False)
    x = batches(1)[0].requires_grad_()
    y = model(x)
    y.sum().backward()
    found = [y, x.grad, model[0].weight * 2, torch.mul(model[0].weight, 3), attempt(lambda: torch.exp(model[0].weight))]
    clone = attempt(lambda: copy.deepcopy(model)(x))
    state = attempt(lambda: type(saved(model.state_dict())["0.weight"]).__name__)
    with Named() as mode:
        model(x)
    return found, clone, state, attempt(lambda: saved(model)(x)), mode.seen, sorted(vars(model[0].weight))


@rare
def weight_only_compiled() -> Any:
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    scale = torch.full((6, 1), 0.01)
    whole = (model[0].weight.detach() / scale).round().to(torch.int8)
    model[0].weight = nn.Parameter(WeightOnly(whole, scale), requires_grad=False)
    return attempt(lambda: torch.compile(model, backend="aot_eager")(batches(1)[0]))


@rare
def quantised_eagerly() -> Any:
    model = nn.Sequential(
        torch.ao.quantization.QuantStub(),
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        torch.ao.quantization.DeQuantStub(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.eval().qconfig = torch.ao.quantization.get_default_qconfig("x86")
        fused = torch.ao.quantization.fuse_modules(model, [["1", "2", "3"]])
        prepared = torch.ao.quantization.prepare(fused)
        prepared(torch.randn(2, 1, 8, 8))
        converted = torch.ao.quantization.convert(prepared)
        y = converted(torch.randn(2, 1, 8, 8))
        q = torch.quantize_per_tensor(torch.randn(4), 0.1, 3, torch.quint8)
        r = torch.relu(q)
        parts = [q.int_repr(), r.dequantize(), r.q_scale(), torch.cat([q, r]).int_repr(), saved(q).int_repr()]
        return (
            y,
            parts,
            [type(m).__name__ for m in converted.modules()],
            copy.deepcopy(converted)(torch.ones(1, 1, 8, 8)),
        )


# ---- graphs


@torch.jit.ignore
def hidden(x):  # type: ignore[no-untyped-def]
    return torch.relu(x) + 1


@torch.fx.wrap
def kept_whole(x: torch.Tensor) -> torch.Tensor:
    return x + 1 if x.sum() > 0 else x - 1


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.act = nn.Linear(6, 6), nn.Linear(6, 3), situations.EARLY["gelu"]

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        y = torch.relu(self.a(x)) * scale + F.relu(x).relu()
        return kept_whole(self.b(self.act(y)).transpose(0, 1).contiguous()).mean(dim=-1)


@rare
def fx_targets() -> Any:
    import operator

    graph = torch.fx.symbolic_trace(Mixed(), concrete_args={"scale": 2.0})
    known = {torch.relu, F.relu, F.gelu, operator.mul, operator.add, kept_whole}
    nodes = [
        (
            n.op,
            re.sub(" at 0x[0-9a-f]+", "", str(n.target)),
            n.target in known,
            torch.fx.node._get_qualified_name(n.target) if callable(n.target) else "",
        )
        for n in graph.graph.nodes
    ]
    found = [graph(batches(1)[0], 2.0), nodes, graph.code, str(graph.graph)]
    found.append(torch.fx.symbolic_trace(saved(graph)).code)
    found.append(copy.deepcopy(graph)(torch.ones(2, 6), 2.0))
    return found


@rare
def fx_rewritten() -> Any:
    class M(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(torch.add(x, x)) + torch.sigmoid(torch.add(x, x))

    graph = torch.fx.symbolic_trace(M())
    matches = torch.fx.replace_pattern(graph, lambda x: torch.add(x, x), lambda x: torch.mul(x, 2))

    class Swaps(torch.fx.Transformer):
        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            return super().call_function(torch.tanh if target is torch.sigmoid else target, args, kwargs)

    class Logs(torch.fx.Interpreter):
        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            seen.append(target in (torch.mul, torch.relu, torch.tanh))
            return super().call_function(target, args, kwargs)

    seen: list[bool] = []
    swapped = Swaps(graph).transform()
    return len(matches), graph.code, swapped.code, Logs(swapped).run(torch.randn(3)), seen


@rare
def fx_fused() -> Any:
    from torch.fx.experimental.optimization import fuse
    from torch.fx.passes.shape_prop import ShapeProp
    from torch.fx.passes.split_module import split_module

    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    fused = fuse(model)
    graph = torch.fx.symbolic_trace(mlp())
    ShapeProp(graph).propagate(*batches(1))
    shapes = [str(node.meta["tensor_meta"].shape) for node in graph.graph.nodes if "tensor_meta" in node.meta]
    parts = split_module(graph, graph, lambda node: int(str(node) > "_1"))
    return fused(torch.ones(1, 1, 5, 5)), shapes, parts(batches(1)[0]), parts.code


@rare
def exported_and_read_back() -> Any:
    program = torch.export.export(mlp(), (torch.randn(4, 6),), dynamic_shapes=({0: torch.export.Dim("n", min=2)},))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again = torch.export.load(file)
    targets = [str(node.target) for node in again.graph.nodes]
    return again.module()(torch.randn(3, 6)), targets, torch.export.unflatten(again)(torch.ones(2, 6))


@rare
def compiled_more() -> Any:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()

    @torch.compiler.disable
    def outside(x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x)

    class M(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l, self.count = nn.Linear(6, 6), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count += 1
            return F.gelu(outside(self.l(x))) if torch.compiler.is_compiling() else F.gelu(self.l(x))

    model = torch.compile(M(), backend="aot_eager")
    found = train(model, *batches(3))
    explained = torch._dynamo.explain(lambda x: F.softmax(torch.relu(x), -1))(torch.ones(2, 2))
    return found, dict(counters["stats"]), explained.graph_break_count, explained.op_count


@rare
def scripted_more() -> Any:
    def calls(x):  # type: ignore[no-untyped-def]  # scripting cannot read annotations that are text
        return hidden(F.gelu(x)).relu()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(calls)
        frozen = torch.jit.freeze(torch.jit.script(mlp()).eval())
        traced = torch.jit.trace(mlp(), batches(1)[0])
        file = io.BytesIO()
        torch.jit.save(traced, file)
        file.seek(0)
        return (
            scripted(torch.ones(1, 6)),
            frozen(torch.ones(1, 6)),
            torch.jit.load(file)(torch.ones(1, 6)),
            scripted.code,
        )


# ---- operators of the user's own


@rare
def custom_operator() -> Any:
    @torch.library.custom_op("zoo::scaled_sin", mutates_args=())
    def scaled_sin(x: torch.Tensor, factor: float) -> torch.Tensor:
        return torch.from_numpy(np.sin(x.detach().numpy())) * factor

    scaled_sin.register_fake(lambda x, factor: torch.empty_like(x))

    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.factor = inputs[1]

    scaled_sin.register_autograd(
        lambda ctx, g: (g * ctx.saved_tensors[0].cos() * ctx.factor, None), setup_context=setup
    )
    x = torch.randn(4, requires_grad=True)
    y = scaled_sin(torch.relu(x), 2.0)
    y.sum().backward()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checked = torch.library.opcheck(scaled_sin, (torch.randn(3, requires_grad=True), 1.5))
    return (
        y,
        x.grad,
        checked,
        torch.autograd.gradcheck(torch.special.erf, torch.randn(3, dtype=torch.float64).requires_grad_()),
    )


@rare
def custom_function_transformed() -> Any:
    class Cube(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x: torch.Tensor) -> Any:
            return x**3, x.sign()

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)
            ctx.mark_non_differentiable(output[1])
            ctx.set_materialize_grads(False)

        @staticmethod
        def backward(ctx: Any, grad: Any, _: Any) -> Any:
            return None if grad is None else 3 * ctx.saved_tensors[0] ** 2 * grad

        @staticmethod
        def jvp(ctx: Any, tangent: Any) -> Any:
            return 3 * ctx.saved_tensors[0] ** 2 * tangent, None

    x = torch.randn(3, 4)
    cube = lambda t: Cube.apply(t)[0]  # noqa: E731
    total = lambda t: cube(t).sum()  # noqa: E731
    leaf = x.clone().requires_grad_()
    Cube.apply(leaf)[0].sum().backward()
    return (
        leaf.grad,
        torch.func.vmap(cube)(x),
        torch.func.grad(total)(x),
        torch.func.vmap(torch.func.grad(total))(x),
        torch.func.jvp(cube, (x,), (torch.ones_like(x),)),
        torch.func.hessian(total)(x[0]),
    )


@rare
def functional_ensembles() -> Any:
    models = [mlp() for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")

    def one(p: Any, b: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(base, (p, b), (x,))

    x = batches(1)[0]
    out = torch.func.vmap(one, in_dims=(0, 0, None))(parameters, buffers, x)
    samples = torch.func.vmap(lambda t: torch.rand_like(t) + F.dropout(t, 0.5), randomness="different")(x)
    linear, pull = torch.func.linearize(torch.sin, x)
    jac = torch.func.jacrev(models[0])(x[0])
    return out, samples, linear, pull(torch.ones_like(x)), jac, torch.func.vjp(models[1], x)[1](torch.ones(4, 6))


# ---- autograd


@rare
def graph_tools() -> Any:
    x = torch.randn(4, requires_grad=True)
    w = torch.randn(4, requires_grad=True)
    found: list[Any] = []
    with torch.autograd.graph.save_on_cpu():
        y = (torch.exp(x) * w).sum()
    handle = torch.autograd.graph.register_multi_grad_hook((x, w), lambda grads: found.append([*grads]))
    y.grad_fn.register_prehook(lambda grads: (grads[0] * 2,))
    edge = torch.autograd.graph.get_gradient_edge(x)
    found.append((edge.output_nr, torch.autograd.grad(y, [x, w], retain_graph=True)))
    torch.autograd.backward([y], inputs=[x], retain_graph=True)
    found.append((x.grad, w.grad))
    y.backward()
    handle.remove()
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        a = torch.ones(2, requires_grad=True).clone()
        b = a.square()
        a.sin_()
        found.append(attempt(lambda: torch.autograd.grad((b + a).sum(), a)))
    with torch.autograd.graph.disable_saved_tensors_hooks("not here"):
        found.append(attempt(lambda: torch.autograd.graph.save_on_cpu().__enter__()))
    batch = torch.autograd.grad((x * w).tanh(), x, torch.eye(4), is_grads_batched=True)
    return found, x.grad, w.grad, batch


@rare
def errors_of_autograd() -> Any:
    def in_place_on_saved() -> Any:
        x = torch.ones(3, requires_grad=True)
        y = torch.sigmoid(x * 2)
        y.add_(1)
        y.sum().backward()

    def in_place_on_view_of_split() -> Any:
        x = torch.ones(4, requires_grad=True) * 1
        a, _ = x.split(2)
        a.mul_(2)
        return x

    def no_graph() -> Any:
        torch.ones(2).sum().backward()

    def inference_saved() -> Any:
        with torch.inference_mode():
            x = torch.ones(2)
        (x * torch.ones(2, requires_grad=True)).sum().backward()

    def anomaly() -> Any:
        with torch.autograd.detect_anomaly(check_nan=True):
            (torch.zeros(1, requires_grad=True).sqrt() * 0).sum().backward()

    def changed_unpack() -> Any:
        x = torch.ones(2, requires_grad=True)
        y = x.exp()
        y.data.add_(1)
        y.sum().backward()
        return x.grad, y._version

    acts = (in_place_on_saved, in_place_on_view_of_split, no_graph, inference_saved, anomaly, changed_unpack)
    return [attempt(act) for act in acts]


@rare
def retained_graphs() -> Any:
    model = mlp()
    x = batches(1)[0].requires_grad_()
    real = model(x).mean()
    (penalty,) = torch.autograd.grad(real, x, create_graph=True)
    loss = real + penalty.square().sum()
    loss.backward(retain_graph=True)
    first = [p.grad.clone() for p in model.parameters()]
    loss.backward()
    rows = torch.autograd.functional.jacobian(model, x)
    return loss, first, [p.grad for p in model.parameters()], rows


@rare
def names_of_the_graph() -> Any:
    model = mlp()
    y = model(batches(1)[0]).square().mean()
    todo, found = [y.grad_fn], []
    while todo:
        node = todo.pop()
        found.append((node.name(), sorted(map(str, node.metadata)), type(node).__name__))
        todo += [following for following, _ in node.next_functions if following is not None]
    return found, y.grad_fn._saved_self_sym_sizes if hasattr(y.grad_fn, "_saved_self_sym_sizes") else None


@rare
def backward_in_threads() -> Any:
    found: dict[int, Any] = {}
    model = mlp()

    def work(number: int) -> None:
        x = torch.full((2, 6), float(number), requires_grad=True)
        found[number] = torch.autograd.grad(model(x).sum(), x)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with torch.autograd.set_multithreading_enabled(False):
        model(torch.ones(1, 6)).sum().backward()
    return [found[number] for number in range(3)], [p.grad for p in model.parameters()]


@rare
def lives_of_tensors() -> Any:
    x = torch.randn(4, requires_grad=True)
    y = torch.relu(x)
    z = F.gelu(y)
    counts = [sys.getrefcount(each) for each in (x, y, z)]
    ends: list[str] = []
    weakref.finalize(y, ends.append, "y")
    weakref.finalize(z, ends.append, "z")
    z.sum().backward()
    weak = [weakref.getweakrefcount(each) for each in (x, y, z)]
    del y
    order = [*ends]
    del z
    gc.collect()
    return counts, weak, order, ends, sys.getrefcount(x), sys.getrefcount(x.grad)


@rare
def swapped_tensors() -> Any:
    model = mlp()
    found = train(model, *batches())
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        model.zero_grad()
        moved = attempt(lambda: [p.dtype for p in model.double().parameters()])
        a, b = torch.randn(2), torch.randn(3)
        torch.relu(a), torch.relu(b)
        swapped = attempt(lambda: torch.utils.swap_tensors(a, b))
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    return found, moved, swapped, a, b


# ---- modules


@rare
def hooks_of_all_kinds() -> Any:
    order: list[Any] = []
    model = mlp()

    def note(word: str) -> Any:
        return lambda *given: order.append((word, len(given)))

    handles = [
        nn.modules.module.register_module_forward_hook(note("global")),
        nn.modules.module.register_module_forward_pre_hook(note("global pre")),
        nn.modules.module.register_module_full_backward_hook(note("global backward")),
        model[0].register_forward_pre_hook(lambda m, a, k: ((a[0] + 1,), k), with_kwargs=True),
        model[1].register_forward_hook(note("always"), always_call=True),
        model[2].register_full_backward_pre_hook(note("backward pre")),
        model[3].register_full_backward_hook(lambda m, gi, go: (gi[0] * 2,)),
        model.register_state_dict_pre_hook(note("state")),
        model.register_load_state_dict_post_hook(note("load")),
    ]
    once: list[Any] = []
    once.append(model[4].register_forward_hook(lambda *_: once[0].remove()))
    x = batches(1)[0].requires_grad_()
    try:
        model(x).sum().backward()
        model.load_state_dict(model.state_dict())
        order.append(attempt(lambda: model(torch.ones(1, 2))))
        counts = [len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    finally:
        for handle in handles:
            handle.remove()
    return order, x.grad, counts, len(nn.modules.module._global_forward_hooks)


@rare
def modules_called_otherwise() -> Any:
    class Calls(nn.Linear):
        def __call__(self, *given: Any, **named: Any) -> Any:
            return super().__call__(*given, **named) * 2

    class Attributes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.__dict__["unseen"] = nn.Linear(6, 6)

        def __getattr__(self, name: str) -> Any:
            return 3.0 if name == "factor" else super().__getattr__(name)

        def forward(self, x: torch.Tensor, *, power: int = 1) -> dict[str, torch.Tensor]:
            return {"y": self.unseen(x) * self.factor**power}

    first, second = Calls(6, 6), Attributes()
    plain = nn.Linear(6, 6)
    plain.forward = functools.partial(lambda m, x: F.relu(nn.Linear.forward(m, x)), plain)
    original = nn.Module.__call__
    seen: list[str] = []

    def patched(module: nn.Module, *given: Any, **named: Any) -> Any:
        seen.append(type(module).__name__)
        return original(module, *given, **named)

    nn.Module.__call__ = patched
    try:
        y = plain(second(first(batches(1)[0]), power=2)["y"])
    finally:
        nn.Module.__call__ = original
    return y, seen, nn.Linear.forward(plain, torch.ones(1, 6)), first.forward(torch.ones(1, 6))


@rare
def replaced_by_the_script() -> Any:
    calls: list[Any] = []
    original, method = F.gelu, torch.Tensor.exp

    def mine(*given: Any, **named: Any) -> Any:
        calls.append(len(given))
        return original(*given, **named) * 2

    x = torch.randn(4, requires_grad=True)
    F.gelu = mine
    torch.Tensor.exp = lambda self: calls.append("exp") or method(self)
    try:
        y = nn.GELU()(x) + F.gelu(x) + x.exp()
    finally:
        F.gelu, torch.Tensor.exp = original, method
    with (
        unittest.mock.patch("torch.relu", side_effect=lambda t: t) as relu,
        unittest.mock.patch.object(F, "silu") as silu,
    ):
        silu.return_value = y
        z = torch.relu(y) + F.silu(x)
    return y, z, calls, relu.call_count, silu.call_count, F.gelu is original, nn.GELU()(x)


@rare
def pruned_and_normed() -> Any:
    from torch.nn.utils import prune

    model = mlp()
    prune.l1_unstructured(model[0], "weight", 0.5)
    prune.random_structured(model[3], "weight", 0.25, dim=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        normed = nn.utils.weight_norm(nn.Linear(6, 6))
    found = train(nn.Sequential(model, normed), *batches())
    found.append(attempt(lambda: copy.deepcopy(normed)(torch.ones(1, 6))))
    prune.remove(model[0], "weight")
    return (
        found,
        model[0].weight,
        nn.utils.parameters_to_vector(model.parameters()),
        attempt(lambda: saved(model)(torch.ones(1, 6))),
    )


@rare
def built_on_meta() -> Any:
    with torch.device("meta"):
        model = mlp()
    state = {name: torch.full(p.shape, 0.1) for name, p in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    other = nn.utils.skip_init(nn.Linear, 6, 6)
    nn.init.orthogonal_(other.weight)
    nn.init.zeros_(other.bias)
    empty = nn.Linear(2, 2, device="meta").to_empty(device="cpu")
    nn.init.trunc_normal_(empty.weight)
    return train(nn.Sequential(model, other), *batches()), empty.weight


@rare
def where_errors_happen() -> Any:
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.linear(torch.relu(x), torch.ones(3, 99))

    try:
        nn.Sequential(nn.Identity(), Fails())(torch.ones(2, 6))
    except RuntimeError as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = sorted({(frame.name, str(frame.line)) for frame in frames if frame.filename == __file__})
        return str(error), own, error.__cause__, error.__context__, error.__suppress_context__


# ---- optimizers


@rare
def optimizers_of_all_kinds() -> Any:
    class Own(torch.optim.Optimizer):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, {"lr": 0.1})

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    p -= group["lr"] * p.grad.sign()

    found, order = [], []
    handle = importlib.import_module("torch.optim.optimizer").register_optimizer_step_post_hook(
        lambda o, *_: order.append(type(o).__name__)
    )
    makers: list[Any] = [
        Own,
        lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), foreach=False),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, differentiable=False),
        lambda p: torch.optim.RMSprop(p, centered=True),
        lambda p: torch.optim.Adafactor(p),
        lambda p: torch.optim.Rprop(p),
        lambda p: torch.optim.NAdam(p, decoupled_weight_decay=True),
    ]
    try:
        for make in makers:
            model = mlp()
            optimizer = make(model.parameters())
            optimizer.register_step_pre_hook(lambda o, a, k: order.append(len(a)))
            train(model, *batches(), optimizer=optimizer)
            state = copy.deepcopy(optimizer.state_dict())
            optimizer.load_state_dict(state)
            found.append((train(model, *batches(), optimizer=optimizer), str(inspect.signature(optimizer.step))))
    finally:
        handle.remove()
    return found, order


@rare
def step_in_backward() -> Any:
    model = mlp()
    optimizers = {p: torch.optim.SGD([p], lr=0.1, foreach=False) for p in model.parameters()}

    def hook(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(hook)
    losses = []
    for x in batches(3):
        loss = model(x).square().mean()
        loss.backward()
        losses.append(loss)
    return losses, list(model.parameters()), [p.grad for p in model.parameters()]


@rare
def schedules() -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=2)
    chained = torch.optim.lr_scheduler.SequentialLR(
        optimizer, [first, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)], milestones=[2]
    )
    chained.step()  # before the optimizer: torch warns
    rates = []
    for x in batches(4):
        optimizer.zero_grad(set_to_none=False)
        model(x).mean().backward()
        optimizer.step()
        chained.step()
        rates.append(chained.get_last_lr())
    again = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    again.step(1.0)
    again.step(2.0)
    return rates, again.state_dict()["num_bad_epochs"], chained.state_dict()["_milestones"], list(model.parameters())


# ---- numbers, memory, processes


@rare
def numpy_beside() -> Any:
    x = torch.arange(4.0)
    array = x.numpy()
    array += 1
    y = torch.relu(x - 2)
    array *= 2
    z = torch.relu(x - 2)
    mixed = [np.sin(x), np.add(np.ones(4, np.float32), x), np.float32(2) * x, x * np.float64(3), np.asarray(x).dtype]
    shared = torch.from_dlpack(np.ones(3))
    buffer = bytearray(16)
    seen = torch.frombuffer(buffer, dtype=torch.float32)
    buffer[:4] = np.float32(7).tobytes()
    kinds = [type(each).__name__ for each in mixed]
    return y, z, mixed[:4], kinds, shared, seen.exp(), attempt(lambda: torch.ones(1, requires_grad=True).numpy())


@rare
def random_states() -> Any:
    generator = torch.Generator().manual_seed(5)
    found = [torch.randn(2, generator=generator), torch.bernoulli(torch.full((4,), 0.5), generator=generator)]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        found.append(F.dropout(torch.ones(8)))
    found += [torch.randn(2), nn.Dropout()(torch.ones(8)), torch.multinomial(torch.ones(5), 3), torch.initial_seed()]
    normal = torch.distributions.Normal(torch.zeros(2, requires_grad=True), torch.ones(2))
    found += [normal.rsample(), torch.distributions.kl_divergence(normal, torch.distributions.Normal(1.0, 2.0))]
    mixture = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    found += [
        mixture.log_prob(mixture.sample()),
        attempt(lambda: torch.distributions.Normal(torch.zeros(1), -torch.ones(1))),
    ]
    torch.use_deterministic_algorithms(True)
    try:
        found.append(attempt(lambda: torch.ones(4).put_(torch.tensor([0]), torch.tensor([2.0]))))
    finally:
        torch.use_deterministic_algorithms(False)
    return found, torch.get_rng_state()


@rare
def grad_modes() -> Any:
    @torch.no_grad()
    def numbers(x: torch.Tensor) -> Iterator[Any]:
        for _ in range(2):
            yield torch.relu(x).requires_grad, torch.is_grad_enabled()

    x = torch.ones(2, requires_grad=True)
    found: list[Any] = []
    for each in numbers(x):
        found.append((each, torch.is_grad_enabled(), (x * 2).requires_grad))
    torch.set_grad_enabled(False)
    found.append(torch.exp(x).requires_grad)
    torch.set_grad_enabled(True)

    @torch.inference_mode()
    def infer() -> torch.Tensor:
        return torch.relu(x)

    y = infer()
    with torch.autograd._force_original_view_tracking(True), contextlib.suppress(RuntimeError):
        y.add_(1)
    return (
        found,
        y.is_inference(),
        attempt(lambda: y + x),
        attempt(lambda: y.mul_(x)),
        torch.is_inference_mode_enabled(),
    )


def _fill(queue: Any, tensor: torch.Tensor) -> None:
    tensor.add_(1)
    queue.put(torch.relu(tensor - 1).tolist())


@rare
def shared_memory() -> Any:
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    tensor = torch.arange(3.0).share_memory_()
    child = context.Process(target=_fill, args=(queue, tensor))
    child.start()
    sent = queue.get(timeout=600)
    child.join()
    return sent, tensor, tensor.is_shared(), child.exitcode


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self) -> Iterator[torch.Tensor]:
        info = torch.utils.data.get_worker_info()
        for number in range(3):
            yield torch.relu(torch.tensor([float(number), torch.rand(()).item(), float(info.id)]))


@rare
def stream_of_data() -> Any:
    loader = torch.utils.data.DataLoader(
        Stream(), batch_size=2, num_workers=2, persistent_workers=True, generator=torch.Generator().manual_seed(1)
    )
    return [list(loader), list(loader)]


@rare
def attention_kinds() -> Any:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q = torch.randn(1, 2, 4, 8, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):
        y = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    y.sum().backward()
    heads = nn.MultiheadAttention(8, 2, batch_first=True)
    out, weights = heads(q[0], q[0], q[0], need_weights=True, average_attn_weights=False)
    jagged = torch.nested.nested_tensor([torch.randn(2, 8), torch.randn(3, 8)], layout=torch.jagged, requires_grad=True)
    total = F.gelu(F.linear(jagged, torch.randn(8, 8))).sum()
    total.backward()
    return y, q.grad, out, weights, total, jagged.grad.values(), [t.shape for t in jagged.unbind()]


@rare
def sparse_kinds() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
        csr, bsr = a.to_sparse_csr(), torch.eye(4).to_sparse_bsr((2, 2))
        x = torch.randn(2, 3, requires_grad=True)
        y = torch.sparse.mm(csr, x)
        y.sum().backward()
        coo = a.to_sparse().requires_grad_()
        torch.sparse.sum(coo * 2).backward()
        bag = nn.EmbeddingBag(5, 3, sparse=True, mode="sum")
        bag(torch.tensor([[0, 1], [1, 4]])).sum().backward()
        return (
            y,
            x.grad,
            coo.grad.to_dense(),
            bag.weight.grad.coalesce().values(),
            (bsr @ torch.ones(4, 1)),
            csr.values(),
        )


@rare
def what_is_there() -> Any:
    sizes = [len(dir(place)) for place in (torch, torch.Tensor, torch.linalg, torch.distributed, nn.Module)]
    functions = (torch.relu, F.gelu, torch.Tensor.add, torch.einsum, F.softmax, torch.stack, torch.optim.SGD.step)
    facts = [
        (repr(f).split(" at 0x")[0], (f.__doc__ or "")[:40], [n for n in dir(f) if n[:2] != "__"], hash(f) == hash(f))
        for f in functions
    ]
    signatures = [attempt(lambda f=f: str(inspect.signature(f))).split(" at 0x")[0] for f in functions]
    sources = [attempt(lambda f=f: len(inspect.getsource(f))) for f in (nn.Linear.forward, nn.init.ones_)]
    tables = [len(torch.overrides.get_testing_overrides()), len(torch.overrides.get_ignored_functions())]
    method = [
        torch.overrides.is_tensor_method_or_property(f) for f in (torch.Tensor.add, torch.add, torch.Tensor.T.__get__)
    ]
    bound = torch.ones(2).add
    return sizes, facts, signatures, sources, tables, method, bound.__name__, bound.__self__, bound(1)


@rare
def properties_of_tensors() -> Any:
    x = torch.randn(2, 3, requires_grad=True)
    c = torch.randn(2, 2, dtype=torch.complex64)
    found = [x.T, x.mT, c.H, c.real, c.imag, x.itemsize, x.is_leaf, x.grad, x.output_nr, x.retains_grad]
    c.real = torch.ones(2, 2)
    x.grad = torch.ones(2, 3)
    x.data = torch.zeros(2, 3)
    x.requires_grad = False
    found += [c, x.grad, hasattr(x, "nothing"), {**vars(x)}]
    x.mine = 3
    found += [
        copy.deepcopy(x),
        vars(copy.deepcopy(x)),
        vars(x),
        bool(torch.ones(1)),
        int(torch.tensor(3)),
        f"{torch.tensor(0.5):.2f}",
    ]
    return (
        found,
        repr(torch.relu(torch.ones(2, requires_grad=True))),
        str(c),
        list(iter(torch.arange(3))),
        3 in torch.arange(4),
    )


if __name__ == "__main__":
    situations.main(RARE)
