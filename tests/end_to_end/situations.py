"""What scripts do with torch, one function a situation: each returns what it can see of its own results.

Run as a script, it runs those that are named (all without names) and prints a line for each: a digest of the results,
the warnings with their places, or the exception.  With RECORD=folder a PrecisionDebugger records the run.
"""

from __future__ import annotations

import copy
import functools
import gc
import hashlib
import io
import os
import pickle
import re
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint as checkpointing
from torch.utils._python_dispatch import TorchDispatchMode

SITUATIONS: dict[str, Callable[[], Any]] = {}
EARLY = {"relu": torch.relu, "gelu": F.gelu, "silu": F.silu}
HANDLED: dict[Any, Any] = {}


def situation(function: Callable[[], Any]) -> Callable[[], Any]:
    SITUATIONS[function.__name__] = function
    return function


def train(model: nn.Module, *batches: torch.Tensor, loss: Any = None, optimizer: Any = None) -> list[Any]:
    """A few steps; losses, gradients and parameters."""
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=1e-2)
    seen: list[Any] = []
    for batch in batches:
        optimizer.zero_grad()
        value = (loss or (lambda y: y.square().mean()))(model(batch))
        value.backward()
        optimizer.step()
        seen.append(value)
    return [*seen, [p.grad for p in model.parameters()], list(model.parameters())]


def mlp(width: int = 6) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, width), nn.Tanh())


def batches(count: int = 2, *shape: int) -> list[torch.Tensor]:
    return [torch.randn(shape or (4, 6)) for _ in range(count)]


# ---- compilers and graphs


def _compiled(**options: Any) -> Any:
    torch._dynamo.reset()
    model = mlp()
    return train(torch.compile(model, **options), *batches())


@situation
def compile_eager() -> Any:
    return _compiled(backend="eager", fullgraph=True)


@situation
def compile_aot() -> Any:
    return _compiled(backend="aot_eager")


@situation
def compile_dynamic() -> Any:
    return _compiled(backend="eager", dynamic=True)


@situation
def compile_regional() -> Any:
    torch._dynamo.reset()
    model = mlp()
    model[0].compile(backend="eager")
    return train(model, *batches())


@situation
def compile_breaks() -> Any:
    torch._dynamo.reset()
    graphs: list[list[str]] = []

    def backend(module: Any, _: Any) -> Any:
        graphs.append([f"{node.op} {getattr(node.target, '__name__', node.target)}" for node in module.graph.nodes])
        return module.forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        y = F.relu(torch.add(x, 1))
        torch._dynamo.graph_break()
        return F.interpolate(torch.einsum("ij,ij->ij", y, y)[None], size=3)

    return torch.compile(forward, backend=backend)(batches(1)[0]), graphs


@situation
def compile_cudagraph_trees_off() -> Any:
    torch._dynamo.reset()

    @torch.compile(backend="eager", fullgraph=True)
    def step(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([torch.sin(x), x.cos(), F.softmax(x, dim=-1)]).sum(0)

    return step(batches(1)[0])


@situation
def script() -> Any:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return F.relu(torch.matmul(x, x.t())) + torch.sigmoid(x).sum()

    scripted = torch.jit.script(forward)
    return scripted(batches(1)[0]), str(scripted.code)


@situation
def trace() -> Any:
    traced = torch.jit.trace(mlp(), batches(1)[0])
    return traced(torch.ones(4, 6)), traced.code


@situation
def export() -> Any:
    program = torch.export.export(mlp(), (torch.ones(4, 6),))
    targets = [str(node.target) for node in program.graph.nodes]
    return program.module()(batches(1)[0]), targets


@situation
def fx_pass() -> Any:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(F.relu(torch.relu(self.a(x)) + F.gelu(x)).flatten(1))

    graph = torch.fx.symbolic_trace(Model())
    replaced = 0
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target in (torch.relu, F.relu, F.gelu):
            replaced += 1
            node.target, node.kwargs = torch.tanh, {}
    graph.recompile()
    return replaced, graph.code, train(graph, *batches())


@situation
def fx_pickled() -> Any:
    graph = torch.fx.symbolic_trace(lambda x: F.relu(torch.add(x, 1)) + F.linear(x, x))
    return pickle.loads(pickle.dumps(graph))(torch.ones(2, 2)), graph.code


@situation
def fx_shapes() -> Any:
    from torch.fx.operator_schemas import get_signature_for_torch_op
    from torch.fx.passes.shape_prop import ShapeProp

    graph = torch.fx.symbolic_trace(mlp())
    ShapeProp(graph).propagate(torch.ones(4, 6))
    shapes = [str(node.meta["tensor_meta"].shape) for node in graph.graph.nodes]
    return shapes, [str(get_signature_for_torch_op(f)) for f in (torch.add, F.linear, torch.relu)]


@situation
def make_fx() -> Any:
    from torch.fx.experimental.proxy_tensor import make_fx as trace_with

    return trace_with(lambda x: F.gelu(x @ x.t()).sum())(torch.ones(2, 3)).code


@situation
def quantisation_aware() -> Any:
    from torch.ao.quantization import get_default_qat_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_qat_fx

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c, self.bn, self.l = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = F.relu(self.bn(self.c(x)))
            y = torch.cat([y, torch.sigmoid(y)], 1).mean((2, 3))
            return self.l(F.hardtanh(y[:, :4] + y[:, 4:]))

    mapping = get_default_qat_qconfig_mapping("x86")
    model = prepare_qat_fx(Model().train(), mapping, (torch.randn(2, 1, 8, 8),))
    observers = sum("activation_post_process" in name for name, _ in model.named_modules())
    found = train(model, *batches(2, 4, 1, 8, 8))
    return observers, found, convert_fx(model.eval())(torch.randn(4, 1, 8, 8))


@situation
def quantised_dynamic() -> Any:
    model = torch.ao.quantization.quantize_dynamic(mlp(), {nn.Linear}, dtype=torch.qint8)
    x = torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8)
    return model(batches(1)[0]), x.int_repr(), (x.dequantize() + 1)


# ---- function transforms and forward mode


@situation
def functorch() -> Any:
    model = mlp()
    params = {name: p.detach() for name, p in model.named_parameters()}

    def loss(params: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, params, (x[None],)).square().sum()

    x = batches(1)[0]
    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(params, x)
    hessian = torch.func.hessian(lambda v: torch.sin(v).prod())(x[0])
    jacobian = torch.func.jacrev(lambda v: F.softmax(v, -1))(x[0])
    return per_sample, hessian, jacobian, torch.vmap(torch.dot)(x, x)


@situation
def forward_mode() -> Any:
    import torch.autograd.forward_ad as fwd

    x, tangent = batches(2)
    model = mlp()
    with fwd.dual_level():
        dual = fwd.make_dual(x, tangent)
        y = model(dual)
        primal, slope = fwd.unpack_dual(F.softmax(y * torch.exp(dual), -1))
    return primal, slope, torch.func.jvp(lambda v: torch.tanh(v) * v, (x,), (tangent,))


@situation
def functional_autograd() -> Any:
    x = batches(1)[0]
    return (
        torch.autograd.functional.hvp(lambda v: v.pow(3).sum(), x, x),
        torch.autograd.gradcheck(torch.nn.functional.silu, x.double().requires_grad_()),
    )


# ---- kinds of tensors


@situation
def nested() -> Any:
    parts = [torch.randn(3, 4), torch.randn(2, 4)]
    strided, jagged = torch.nested.nested_tensor(parts), torch.nested.nested_tensor(parts, layout=torch.jagged)
    return [t.clone() for t in F.relu(strided).unbind()], [t.clone() for t in (jagged * 2 + 1).unbind()]


@situation
def sparse() -> Any:
    table = nn.Embedding(10, 4, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters())
    found = []
    for _ in range(2):
        optimizer.zero_grad()
        table(torch.tensor([1, 3, 1])).square().sum().backward()
        found.append(table.weight.grad.to_dense())
        optimizer.step()
    coo = torch.eye(3).to_sparse()
    return found, table.weight, torch.sparse.mm(coo, torch.ones(3, 2)), coo.to_sparse_csr().to_dense()


@situation
def complex_numbers() -> Any:
    x = torch.randn(4, dtype=torch.complex64, requires_grad=True)
    y = torch.fft.ifft(torch.fft.fft(x) * x.conj()).abs().sum()
    y.backward()
    return y, x.grad, torch.view_as_real(x.detach()), x.detach().real


class Named(torch.Tensor):
    """A subclass with a table of its own functions."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.add or func is torch.mul or func is F.linear:
            return f"known {func.__name__}"
        return super().__torch_function__(func, types, args, kwargs or {})


@situation
def subclass_by_identity() -> Any:
    x = torch.ones(2, 2).as_subclass(Named)
    return [x + 1, torch.mul(x, 2), F.linear(x, x), type(torch.exp(x)).__name__, type(x[0]).__name__]


class Bag:
    def __init__(self, **parts: torch.Tensor) -> None:
        self.parts = parts

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return HANDLED[func](*args, **(kwargs or {})) if func in HANDLED else NotImplemented


HANDLED[torch.stack] = lambda bags, dim=0: torch.stack([bag.parts["a"] for bag in bags], dim)
HANDLED[F.relu] = lambda bag, inplace=False: F.relu(bag.parts["a"])


@situation
def container_with_a_table() -> Any:
    bags: Any = [Bag(a=torch.randn(2)), Bag(a=torch.randn(2))]
    found = [torch.stack(bags), F.relu(bags[0])]
    try:
        torch.cat(bags)
    except TypeError as error:
        found.append(str(error))
    return found


class Int8(torch.Tensor):
    @staticmethod
    def __new__(cls, data: torch.Tensor, scale: torch.Tensor) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=scale.dtype)

    def __init__(self, data: torch.Tensor, scale: torch.Tensor) -> None:
        self.values, self.scale = data, scale

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear:
            x, weight, bias = (*args, None)[:3]
            return F.linear(x, weight.values.to(weight.scale.dtype) * weight.scale, bias)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return Int8(args[0].values, args[0].scale)
        raise NotImplementedError(str(func))


@situation
def quantised_subclass() -> Any:
    layer = nn.Linear(8, 4)
    weight = layer.weight.detach()
    scale = weight.abs().amax(1, keepdim=True) / 127
    layer.weight = nn.Parameter(Int8((weight / scale).round().to(torch.int8), scale), requires_grad=False)
    return layer(torch.ones(2, 8))


class Logging(torch.Tensor):
    """A wrapper that goes through the dispatcher."""

    inner: torch.Tensor
    calls: list[str]

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Any:
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        CALLS.append(str(func))
        unwrapped = torch.utils._pytree.tree_map(lambda t: t.inner if isinstance(t, Logging) else t, args)
        found = func(*unwrapped, **(kwargs or {}))
        return Logging(found) if isinstance(found, torch.Tensor) else found


CALLS: list[str] = []


@situation
def dispatching_subclass() -> Any:
    CALLS.clear()
    y = F.gelu(Logging(torch.ones(2, 2)) @ torch.ones(2, 2)) + 1
    return y.inner, list(CALLS)


@situation
def fake_tensors() -> Any:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        y = mlp()(torch.empty(4, 6))
        return str(y.shape), str(type(y).__name__)


@situation
def meta_tensors() -> Any:
    with torch.device("meta"):
        model = mlp()
    return str(model(torch.empty(2, 6, device="meta")).shape), str(model.to_empty(device="cpu")[0].weight.shape)


# ---- modes


class Names(TorchFunctionMode):
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.known: list[bool] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(torch.overrides.resolve_name(func) or str(func))
        self.known.append(func in (torch.add, F.relu, F.linear) or func is torch.Tensor.mul)
        return func(*args, **(kwargs or {}))


@situation
def function_mode() -> Any:
    with Names() as mode:
        y = mlp()(torch.ones(2, 6))
        z = F.relu(torch.add(y, 1)) * 2 - y[0]
    return z, mode.seen, mode.known


class Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@situation
def dispatch_mode() -> Any:
    model = mlp()
    with Operators() as mode:
        found = train(model, *batches(1))
    return found, mode.seen


@situation
def flops() -> Any:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        mlp()(torch.ones(4, 6)).sum().backward()
    counts = {name: {str(op): n for op, n in found.items()} for name, found in counter.flop_counts.items()}
    return counter.get_total_flops(), sorted((name, sorted(found.items())) for name, found in counts.items())


@situation
def profiled() -> Any:
    model, x = mlp(), batches(1)[0]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        y = model(x)
    names = {event.key for event in profiler.key_averages()}
    return y, sorted(name for name in names if name in ("aten::linear", "aten::gelu", "aten::tanh"))


@situation
def default_device() -> Any:
    with torch.device("cpu"):
        a = torch.zeros(2)
    torch.set_default_device("cpu")
    try:
        return a, torch.ones(2), torch.get_default_device().type
    finally:
        torch.set_default_device(None)


# ---- autograd


@situation
def anomaly() -> Any:
    x = torch.zeros(2, requires_grad=True)
    with torch.autograd.detect_anomaly(check_nan=True):
        torch.sqrt(x - 1).sum().backward()


@situation
def checkpoint_both() -> Any:
    found = []
    for reentrant in (False, True):
        torch.manual_seed(1)
        model = mlp()
        x = batches(1)[0].requires_grad_()
        y = checkpointing.checkpoint(lambda v, m=model: F.dropout(m(v), 0.5), x, use_reentrant=reentrant)
        y.square().sum().backward()
        found.append([y, x.grad, [p.grad for p in model.parameters()]])
    return found


@situation
def checkpoint_selective() -> Any:
    kept: list[str] = []

    def policy(context: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
        keep = func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        kept.append(f"{func} {keep} {context.is_recompute}")
        return (checkpointing.CheckpointPolicy.PREFER_RECOMPUTE, checkpointing.CheckpointPolicy.MUST_SAVE)[keep]

    contexts = functools.partial(checkpointing.create_selective_checkpoint_contexts, policy)
    model, x = mlp(), batches(1)[0].requires_grad_()
    y = checkpointing.checkpoint(model, x, use_reentrant=False, context_fn=contexts)
    y.square().sum().backward()
    return y, x.grad, kept


@situation
def saved_tensor_hooks() -> Any:
    model, x = mlp(), batches(1)[0].requires_grad_()
    packed: list[str] = []

    def pack(t: torch.Tensor) -> torch.Tensor:
        packed.append(str(t.shape))
        return t.clone()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), torch.autograd.graph.save_on_cpu():
        y = model(x)
    y.sum().backward()
    return y, x.grad, packed


class Doubles(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: float, name: str) -> Any:
        ctx.factor = factor
        x.mul_(factor)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return gradient * ctx.factor, None, None


class Cube(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x**3

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return gradient * 3 * ctx.saved_tensors[0] ** 2


@situation
def custom_functions() -> Any:
    x = batches(1)[0].requires_grad_()
    y = Doubles.apply(x * 1, 2.0, "a")
    y.sum().backward()
    first, x.grad = x.grad, None
    (slope,) = torch.autograd.grad(Cube.apply(x).sum(), x, create_graph=True)
    slope.sum().backward()
    return first, x.grad, torch.vmap(Cube.apply)(x.detach())


@situation
def gradient_penalty() -> Any:
    model, x = mlp(), batches(1)[0].requires_grad_()
    y = model(x).sum()
    (slope,) = torch.autograd.grad(y, x, create_graph=True)
    (y + slope.square().sum()).backward()
    return y, slope, x.grad, [p.grad for p in model.parameters()]


@situation
def changing_hooks() -> Any:
    model, x = mlp(), batches(1)[0].requires_grad_()
    order: list[str] = []
    model[0].register_forward_hook(lambda m, i, o: o * 2)
    model[1].register_forward_pre_hook(lambda m, i: (i[0] + 1,))
    model[3].register_full_backward_hook(lambda m, gi, go: (gi[0] * 2,))
    x.register_hook(lambda g: g * 3)
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: order.append(str(tuple(p.shape))))
    y = model(x)
    y.register_hook(lambda g: g + 1)
    y.retain_grad()
    y.sum().backward()
    return y, y.grad, x.grad, [p.grad for p in model.parameters()], order


@situation
def backward_twice() -> Any:
    x = batches(1)[0].requires_grad_()
    y = torch.exp(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    try:
        y.backward()
    except RuntimeError as error:
        return x.grad, str(error)


@situation
def in_place_on_leaves() -> Any:
    x = batches(1)[0].requires_grad_()
    found = []
    try:
        x.add_(1)
    except RuntimeError as error:
        found.append(str(error))
    with torch.no_grad():
        x.add_(1)
    y = x.clone()
    y[0] = 0
    y.relu_().sum().backward()
    return found, x.grad, x._version, y._version


@situation
def exceptions() -> Any:
    found: list[str] = []
    for act in (
        lambda: torch.add(torch.ones(2), torch.ones(3)),
        lambda: torch.add("a", 1),
        lambda: torch.ones(2) + "a",
        lambda: torch.ones(2).view(3),
        lambda: F.relu(1),
        lambda: F.linear(torch.ones(2, 2)),
        lambda: F.cross_entropy(torch.ones(2, 2), torch.tensor([5, 0])),
        lambda: torch.ones(2).nothing(),
        lambda: torch.nothing(1),
        lambda: torch.cat([]),
        lambda: F.softmax(),
        lambda: torch.linalg.inv(torch.zeros(2, 2)),
        lambda: torch.ones(2)[5],
        lambda: 1 @ torch.ones(2),
        lambda: torch.Tensor.add(1, 2),
    ):
        try:
            found.append(str(act()))
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}; context {error.__context__!r}")
    return found


@situation
def warned() -> Any:
    F.softmax(torch.ones(2))
    F.softmax(torch.ones(2))
    torch.add(torch.ones(2), torch.ones(2), out=torch.empty(3))
    _ = torch.ones(2, 2, 2).T
    F.mse_loss(torch.ones(2), torch.ones(2, 1))
    torch.tensor(torch.ones(2))
    torch.ones(2, requires_grad=True).sum().backward(create_graph=True)
    return float(torch.ones(1, requires_grad=True))


@situation
def resized() -> Any:
    x = torch.randn(4)
    storage = x.untyped_storage()
    kept = x.clone()
    storage.resize_(0)
    storage.resize_(16)
    x.copy_(kept)
    y = torch.empty(0)
    torch.add(x, 1, out=y)
    return x, y, x.resize_(2)


# ---- modules


@situation
def tied_weights() -> Any:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    model[2].weight = model[0].weight
    return train(model, *batches())


@situation
def parametrised() -> Any:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)), nn.Linear(6, 6))
    nn.utils.parametrizations.spectral_norm(model[1])
    nn.utils.parametrizations.orthogonal(model[1], "weight") if False else None
    return train(model, *batches())


@situation
def lazy() -> Any:
    model = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(2))
    model(torch.ones(2, 6))
    return train(model, *batches())


@situation
def transformer_in_eval() -> Any:
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    pad = torch.zeros(4, 7, dtype=torch.bool)
    pad[1, 5:] = True
    with torch.inference_mode():
        return layer.activation_relu_or_gelu, encoder(torch.randn(4, 7, 32), src_key_padding_mask=pad)


@situation
def transformer_early_activation() -> Any:
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, activation=EARLY["gelu"]).eval()
    with torch.inference_mode():
        return layer.activation_relu_or_gelu, layer(torch.randn(2, 3, 32))


@situation
def recurrent() -> Any:
    model = nn.LSTM(3, 4, batch_first=True)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(2, 5, 3), [5, 3], batch_first=True)
    out, (h, c) = model(packed)
    padded, lengths = nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
    padded.sum().backward()
    return padded, lengths, h, c, [p.grad for p in model.parameters()]


class Holds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.functions = [torch.tanh, F.gelu, F.leaky_relu]
        self.act = torch.sigmoid
        self.early = EARLY["relu"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for function in self.functions:
            x = function(self.fc(x))
        return self.early(self.act(x))


@situation
def copied_and_saved() -> Any:
    model = Holds()
    found = train(model, *batches(2, 3, 4))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    copies = [copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model)), loaded]
    x = torch.ones(1, 4)
    same = [[a is b for a, b in zip(c.functions, model.functions, strict=True)] for c in copies]
    return found, [c(x) for c in copies], same, [c.act is torch.sigmoid for c in copies], model.early is torch.relu


@situation
def pickled_functions() -> Any:
    functions = (torch.relu, torch.stack, F.gelu, F.softmax, torch.Tensor.add, torch.linalg.norm, torch.fft.fft)
    return [hashlib.md5(pickle.dumps(f)).hexdigest() for f in functions], [
        pickle.loads(pickle.dumps(f)) is f for f in functions
    ]


@situation
def names_and_signatures() -> Any:
    import inspect

    found = []
    for f in (torch.relu, F.gelu, F.softmax, torch.Tensor.add, torch.Tensor.norm, torch.einsum, torch.linalg.norm):
        try:
            signature = str(inspect.signature(f))
        except ValueError:
            signature = "none"
        names = [getattr(f, name, None) for name in ("__name__", "__qualname__", "__module__", "__self__")]
        found.append((names, signature, inspect.isbuiltin(f), inspect.isfunction(f), inspect.isroutine(f)))
    overridable = torch.overrides.get_overridable_functions()
    return found, sum(map(len, overridable.values())), [torch.relu in overridable[torch], F.relu in overridable[F]]


@situation
def weak_references() -> Any:
    model = mlp()
    x = batches(1)[0]
    y = model(x)
    y.sum().backward()
    references = [weakref.ref(thing) for thing in (model, x, y, model[0].weight)]
    del model, x, y
    gc.collect()
    return [reference() is None for reference in references]


# ---- processes, threads, data


class Numbers(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((2,), float(index)).exp()


def _loader(method: str) -> Any:
    loader = torch.utils.data.DataLoader(
        Numbers(), batch_size=2, num_workers=1, collate_fn=torch.stack, multiprocessing_context=method
    )
    return list(loader)


@situation
def loader_fork() -> Any:
    return _loader("fork")


@situation
def loader_spawn() -> Any:
    return _loader("spawn")


@situation
def forked_child() -> Any:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, digest(train(mlp(), *batches())).encode())
        except RuntimeError as error:  # where autograd has threads of its own, as a compiler of torch 2.14 leaves them
            os.write(writer, str(error)[:90].encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    return os.read(reader, 100).decode()


@situation
def threads() -> Any:
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        found[number] = F.relu(torch.randn(4, generator=generator)).exp()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [found[number] for number in range(3)]


@situation
def served() -> Any:
    import asyncio

    model = mlp()

    async def answer(x: torch.Tensor) -> torch.Tensor:
        await asyncio.sleep(0)
        with torch.inference_mode():
            return model(x)

    async def serve() -> Any:
        return await asyncio.gather(*(answer(torch.full((1, 6), float(n))) for n in range(3)))

    return asyncio.run(serve())


# ---- optimizers


@situation
def lbfgs() -> Any:
    model, x = mlp(), batches(1)[0]
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    losses = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        losses.append(loss)
        return loss

    optimizer.step(closure)
    return losses, list(model.parameters())


@situation
def scaled() -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    found = []
    for x in batches():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(x).square().mean()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        found.append(nn.utils.clip_grad_norm_(model.parameters(), 0.1))
        scaler.step(optimizer)
        scaler.update()
    return found, scaler.get_scale(), list(model.parameters())


@situation
def averaged() -> Any:
    model = mlp()
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.Adam(model.parameters(), foreach=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    for x in batches():
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
    return list(average.parameters()), schedule.get_last_lr(), optimizer.state_dict()["state"][0]["exp_avg"]


@situation
def adversarial() -> Any:
    first, second = mlp(), mlp()
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (first, second)]
    for x in batches():
        for model, other, optimizer in ((first, second, optimizers[0]), (second, first, optimizers[1])):
            optimizer.zero_grad()
            other(model(x)).mean().backward()
            optimizer.step()
    return list(first.parameters()), list(second.parameters())


@situation
def fused_optimizer() -> Any:
    model = mlp()
    return train(model, *batches(), optimizer=torch.optim.AdamW(model.parameters(), fused=True))


@situation
def generator_state() -> Any:
    F.dropout(torch.ones(10), 0.5)
    return torch.get_rng_state(), torch.randperm(5)


# ---- what is printed


def digest(thing: Any) -> str:
    """Of all bits of what lies in `thing`."""
    sums = hashlib.md5()

    def add(thing: Any) -> None:
        if isinstance(thing, torch.Tensor):
            plain = thing.detach().resolve_conj().resolve_neg().contiguous()
            sums.update(f"{plain.dtype}{tuple(plain.shape)}{thing.requires_grad}".encode())
            sums.update(bytes(plain.flatten().view(torch.uint8).tolist()) if plain.numel() else b"")
        elif isinstance(thing, dict):
            for key, value in thing.items():
                sums.update(str(key).encode())
                add(value)
        elif isinstance(thing, (list, tuple)):
            sums.update(f"{len(thing)}".encode())
            for value in thing:
                add(value)
        else:
            sums.update(repr(thing).encode())

    add(thing)
    return sums.hexdigest()


def _debugger() -> Any:
    if not os.environ.get("RECORD"):
        return None
    from dump import PrecisionDebugger

    return PrecisionDebugger(dump_path=os.environ["RECORD"], task="statistics", level="mix", step=[])


def main(situations: dict[str, Callable[[], Any]] = SITUATIONS) -> None:
    torch.set_num_threads(1)
    debugger = _debugger()
    for name in sys.argv[1:] or situations:
        torch.manual_seed(0)
        if debugger is not None:
            debugger.start()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            try:
                found = situations[name]()
                line = digest(found)
            except Exception as error:
                found, line = error, f"{type(error).__name__}: {error}"
        if debugger is not None:
            debugger.stop()
            debugger.step()
        places = [
            f"{os.path.basename(w.filename)}:{w.lineno} {w.category.__name__} "
            f"{re.sub('pid=[0-9]+', 'pid', str(w.message))[:60]}"
            for w in caught
        ]
        print(f"{name}\t{line}\t{places}".replace("\n", " "), flush=True)
        if os.environ.get("SHOW"):
            print(found, file=sys.stderr)


if __name__ == "__main__":
    main()
