"""What scripts do with the newer parts of torch, one function a situation; a script, as `situations.py` is."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import itertools
import logging
import operator
import pickle
import traceback
import warnings
from collections import Counter, UserDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import situations
import torch
import torch.nn.functional as F
import torch.utils._pytree as pytree
from situations import batches, mlp, train
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential, set_checkpoint_debug_enabled

NEWER: dict[str, Callable[[], Any]] = {}


def newer(function: Callable[[], Any]) -> Callable[[], Any]:
    NEWER[function.__name__] = function
    return function


def attempt(act: Callable[[], Any]) -> Any:
    """What `act` returns; or its error and the functions that it came by, but for the frame that a recording adds."""
    try:
        return act()
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        names = [frame.name for frame in frames if "/dump/" not in frame.filename]
        return [
            f"{type(error).__name__}: {str(error)[:400]}",
            [name for name, _ in itertools.groupby(names)],
            type(error.__cause__),
            type(error.__context__),
        ]


# ---- modules


class Drops(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.second = nn.Linear(6, 6), nn.Dropout(0.5), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.drop(F.silu(self.first(x))))


@newer
def hooks_that_are_always_called() -> Any:
    seen: list[Any] = []
    net = mlp()
    handles = [
        net.register_forward_hook(lambda m, a, o: seen.append(("always", type(o).__name__)), always_call=True),
        net[0].register_forward_hook(lambda m, a, k, o: o * 1.5, with_kwargs=True),
        net[0].register_forward_pre_hook(lambda m, a: (a[0] + 1,), prepend=True),
        net[2].register_full_backward_pre_hook(lambda m, g: (g[0] * 2,)),
        net[2].register_full_backward_hook(lambda m, gi, go: seen.append((gi[0].norm(), go[0].norm()))),
        nn.modules.module.register_module_forward_pre_hook(lambda m, a: seen.append(type(m).__name__)),
        nn.modules.module.register_module_forward_hook(lambda m, a, o: seen.append(tuple(o.shape)), always_call=True),
        nn.modules.module.register_module_full_backward_hook(lambda m, i, o: seen.append(f"back {type(m).__name__}")),
        nn.modules.module.register_module_parameter_registration_hook(lambda m, n, p: seen.append(n)),
        nn.modules.module.register_module_buffer_registration_hook(lambda m, n, b: seen.append(n)),
    ]
    try:
        x = batches(1)[0].requires_grad_()
        net(x).square().sum().backward()
        found = [x.grad, *(p.grad for p in net.parameters())]
        failing = attempt(lambda: net(torch.ones(2, 5)))
        nn.BatchNorm1d(3)
        hard = attempt(lambda: net[0].register_forward_hook(lambda *_: 1 / 0) and net(x))
    finally:
        for handle in handles:
            handle.remove()
    return found, seen, failing, hard


class Tricky(nn.Module):
    """Sets, finds and calls its own parts in ways of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.sets: list[str]
        object.__setattr__(self, "sets", [])
        self.scale = nn.Parameter(torch.ones(6))
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.layers = nn.ModuleDict({"one": nn.Linear(6, 6), "two": nn.Linear(6, 6)})
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(6)) for _ in range(2)])
        self.named = nn.ParameterDict({"a": torch.ones(6)})
        object.__setattr__(self, "hidden", nn.Linear(6, 6))

    def __setattr__(self, name: str, value: Any) -> None:
        if "sets" in self.__dict__:
            self.sets.append(name)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("virtual_"):
            return self.layers[name.removeprefix("virtual_")]
        return super().__getattr__(name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs) * 1.0

    def __eq__(self, other: object) -> bool:
        self.sets.append("asked")
        return NotImplemented

    def __hash__(self) -> int:
        self.sets.append("hashed")
        return id(self)

    def __len__(self) -> int:
        self.sets.append("counted")
        return 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = self.seen + 1
        self.last = x.detach()
        x = self.virtual_one(x) * self.scale + self.hidden(x)
        for weight in self.weights:
            x = x * weight
        return self.virtual_two(x) + self.named["a"]


@newer
def modules_with_ways_of_their_own() -> Any:
    model = Tricky()
    losses = train(model, *batches(2))
    names = [name for name, _ in model.named_modules()], list(model.state_dict()), sorted(vars(model))
    clone = copy.deepcopy(model)
    return losses, names, model.sets, clone.sets, clone(batches(1)[0]), nn.Module.__call__ is Tricky.__call__


@newer
def made_and_moved_modules() -> Any:
    made = torch.nn.utils.skip_init(nn.Linear, 6, 6)
    with torch.device("meta"):
        empty = mlp()
    empty = empty.to_empty(device="cpu")
    for parameter in empty.parameters():
        nn.init.constant_(parameter, 0.1)
    norm = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    fused = nn.utils.fusion.fuse_conv_bn_eval(norm[0], norm[1])
    image = torch.randn(2, 3, 6, 6)
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    before = repr(lazy), attempt(lambda: sum(p.numel() for p in lazy.parameters()))
    lazy(image).sum().backward()
    half = mlp().to(torch.bfloat16)
    return (
        tuple(made.weight.shape),
        empty(batches(1)[0]),
        fused(image) - norm(image),
        before,
        [p.grad for p in lazy.parameters()],
        half(batches(1)[0].bfloat16()),
        mlp().double().float().type(torch.float64)(batches(1)[0].double()),
    )


@newer
def channels_last() -> Any:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    net = net.to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
    out = net(x)
    out.square().mean().backward()
    video = torch.randn(1, 2, 3, 4, 4).contiguous(memory_format=torch.channels_last_3d)
    tensors = [out, x.grad, *(p.grad for p in net.parameters()), video * 2, torch.empty_like(x).fill_(1)]
    return [(t, t.stride(), t.is_contiguous(memory_format=torch.channels_last) if t.dim() == 4 else 0) for t in tensors]


# ---- checkpointing and what is saved


@newer
def checkpoints_and_random_numbers() -> Any:
    found: list[Any] = []
    for reentrant, preserve in itertools.product((True, False), (True, False)):
        torch.manual_seed(3)
        model, x = Drops(), batches(1)[0].requires_grad_()
        out = checkpoint(model, x, use_reentrant=reentrant, preserve_rng_state=preserve)
        out.sum().backward()
        found += [out, x.grad, torch.rand(2), *(p.grad for p in model.parameters())]
    layers = nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))
    x = batches(1)[0].requires_grad_()
    checkpoint_sequential(layers, 2, x, use_reentrant=False).sum().backward()
    return found, x.grad, attempt(lambda: checkpoint(Drops(), x, use_reentrant=False, context_fn=lambda: (1, 2)))


@newer
def checkpoints_that_differ() -> Any:
    calls = iter(range(100))

    def unsteady(x: torch.Tensor) -> torch.Tensor:
        return x.sin().cos() if next(calls) % 2 == 0 else x.sin().exp().cos().tanh()

    def other_shapes(x: torch.Tensor) -> torch.Tensor:
        return x.sin().reshape(-1)[: next(calls) % 4 + 2].exp()

    def run(function: Any, **options: Any) -> Any:
        x = torch.ones(3, 3, requires_grad=True)
        checkpoint(function, x, use_reentrant=False, **options).sum().backward()
        return x.grad

    found = [attempt(lambda: run(unsteady)), attempt(lambda: run(other_shapes, determinism_check="none"))]
    with set_checkpoint_debug_enabled(True):
        text = attempt(lambda: run(unsteady))
    lines = [line for line in str(text[0]).splitlines() if "/" not in line] if isinstance(text, list) else text
    return found, lines


@newer
def graphs_by_hand() -> Any:
    seen: list[Any] = []
    x, y = torch.ones(3, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)
    a = x * y
    b = a.exp()
    edge = torch.autograd.graph.get_gradient_edge(a)
    (through,) = torch.autograd.grad(b.sum(), edge, retain_graph=True)
    multi = torch.autograd.graph.register_multi_grad_hook((a, b), lambda grads: seen.append([g is None for g in grads]))
    one = torch.autograd.graph.register_multi_grad_hook((a, b), lambda g: seen.append(g), mode="any")
    torch.autograd.backward(edge, torch.ones(3), retain_graph=True)
    b.sum().backward(retain_graph=True, inputs=[x])
    multi.remove()
    one.remove()
    with torch.autograd.graph.save_on_cpu(pin_memory=False):
        (x * y).sin().sum().backward()
    with torch.autograd.graph.disable_saved_tensors_hooks("not here"):
        refused = attempt(lambda: torch.autograd.graph.save_on_cpu().__enter__())
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        z = torch.ones(3, requires_grad=True) * 2
        out = z.square()
        z.mul_(3)
        out.sum().backward()
    node = b.grad_fn
    assert node is not None
    handle = node.register_prehook(lambda grads: tuple(g * 2 for g in grads))
    (twice,) = torch.autograd.grad(b.sum(), x, retain_graph=True)
    handle.remove()
    frozen = torch.ones(2)
    version = frozen._version
    torch.autograd.graph.increment_version(frozen)
    return through, seen, x.grad, y.grad, refused, twice, node.name(), frozen._version - version, node.metadata


@newer
def accumulated_and_leaf_hooks() -> Any:
    seen: list[Any] = []
    model = mlp()
    handles = [p.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.norm())) for p in model.parameters()]
    for batch in batches(2):
        model(batch).sum().backward()
    for handle in handles:
        handle.remove()
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g + 1)
    y.sum().backward()
    nan = torch.zeros(2, requires_grad=True)
    with torch.autograd.set_detect_anomaly(True, check_nan=True):
        raised = attempt(lambda: (nan.sqrt() * 0).sum().backward())
    return seen, x.grad, y.grad, raised[0] if isinstance(raised, list) else raised


# ---- modes of gradients


@newer
def inference_mixed() -> Any:
    model = mlp()
    with torch.inference_mode():
        inferred = model(batches(1)[0])
        view = inferred[:1]
        inferred.add_(1)
        with torch.inference_mode(False):
            normal = torch.ones(2, requires_grad=True) * 2
    wants = torch.ones(6, 6, requires_grad=True)
    return (
        inferred,
        view.is_inference(),
        normal,
        attempt(lambda: inferred @ wants[: inferred.shape[1]]),
        attempt(lambda: inferred.add_(1)),
        attempt(lambda: inferred._version),
        attempt(lambda: inferred.requires_grad_()),
        inferred.clone().requires_grad_().sum().requires_grad,
        [p.is_inference() for p in model.parameters()],
        torch.inference_mode()(lambda x: x * 2)(torch.ones(2)).is_inference(),
    )


@newer
def functional_modules() -> Any:
    models = [mlp() for _ in range(3)]
    params, buffers = torch.func.stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")

    def call(p: Any, b: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(base, (p, b), (x,))

    x = batches(1)[0]
    several = torch.vmap(call, (0, 0, None))(params, buffers, x)
    one = dict(models[0].named_parameters())

    def loss(p: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(models[0], p, (x,), strict=True).square().mean()

    each = torch.vmap(torch.func.grad(loss), (None, 0), chunk_size=2)(one, x)
    value, pull = torch.func.vjp(lambda x: loss(one, x), x)
    linear = torch.func.linearize(lambda x: loss(one, x), x)[1](torch.ones_like(x))
    hessian = torch.func.hessian(lambda x: loss(one, x))(x[:1, :6])
    drawn = torch.vmap(lambda x: x + torch.rand(2), randomness="different")(torch.ones(3, 2))
    same = torch.vmap(lambda x: F.dropout(x, 0.5), randomness="same")(torch.ones(3, 4))
    refused = attempt(lambda: torch.vmap(lambda x: x + torch.rand(2))(torch.ones(3, 2)))
    pure = torch.func.functionalize(lambda x: x.add_(1).view(-1).mul_(2), remove="mutations_and_views")
    return several, each, value, pull(torch.ones(())), linear, hessian, drawn, same, refused[:1], pure(torch.ones(2, 2))


class Powers(torch.autograd.Function):
    generate_vmap_rule = False

    @staticmethod
    def forward(x: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        warnings.warn("in forward", stacklevel=2)
        return x**n, x.detach().clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, ctx.n = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Any, other: Any) -> Any:
        (x,) = ctx.saved_tensors
        return None if grad is None else grad * ctx.n * x ** (ctx.n - 1), None

    @staticmethod
    def jvp(ctx: Any, tangent: Any, _: Any) -> Any:
        (x,) = ctx.saved_tensors
        return tangent * ctx.n * x ** (ctx.n - 1), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: torch.Tensor, n: int) -> Any:
        return Powers.apply(x, n), (in_dims[0], in_dims[0])


@newer
def functions_with_a_context() -> Any:
    x = torch.arange(3.0, requires_grad=True)
    out, kept = Powers.apply(x, 3)
    out.sum().backward(create_graph=True)
    mapped = torch.vmap(lambda x: Powers.apply(x, 2)[0])(torch.ones(2, 3))
    grads = torch.func.grad(lambda x: Powers.apply(x, 3)[0].sum())(torch.ones(3))
    tangents = torch.func.jvp(lambda x: Powers.apply(x, 3)[0], (torch.ones(3),), (torch.ones(3),))
    wrong = attempt(lambda: Powers.apply(x))
    return out, kept.requires_grad, x.grad, mapped, grads, tangents, wrong


# ---- kinds of tensors


@newer
def jagged() -> Any:
    parts = [torch.randn(n, 8) for n in (3, 5, 2)]
    nested = torch.nested.nested_tensor(parts, layout=torch.jagged, requires_grad=True)
    layer = nn.Linear(8, 8)
    out = F.layer_norm(F.gelu(layer(nested)), (8,))
    heads = out.unflatten(-1, [2, 4]).transpose(1, 2)
    attended = F.scaled_dot_product_attention(heads, heads, heads)
    loss = attended.transpose(1, 2).flatten(-2).values().sum() + out.to_padded_tensor(0.0).square().sum()
    loss.backward()
    lengths = nested.offsets().diff()
    return loss, nested.grad.values(), [p.grad for p in layer.parameters()], lengths, [t.shape for t in out.unbind()]


@newer
def narrow_numbers() -> Any:
    x = torch.randn(4, 4)
    found: list[Any] = []
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "uint16", "uint32", "uint64"):
        dtype = getattr(torch, name)
        y = x.abs().mul(3).to(dtype)
        found += [y.view(torch.uint8), y.to(torch.float32), torch.cat([y, y]).view(torch.uint8), y.clone().t().float()]
        found.append(
            attempt(lambda y=y: y + y)[:1] if name.startswith("float8") else attempt(lambda y=y: (y + y).tolist())
        )
    scaled = attempt(
        lambda: torch._scaled_mm(
            x.repeat(4, 4).to(torch.float8_e4m3fn),
            x.repeat(4, 4).to(torch.float8_e4m3fn).t(),
            scale_a=torch.tensor(1.0),
            scale_b=torch.tensor(1.0),
            out_dtype=torch.float32,
        )
    )
    packed = torch.arange(8, dtype=torch.uint8).view(torch.bits8)
    return (
        found,
        scaled,
        packed.view(torch.uint8),
        torch.finfo(torch.float8_e5m2).max,
        torch.ones(2, dtype=torch.half) / 3,
    )


class Scaled(torch.Tensor):
    """A wrapper of two tensors that flattens, with the shape of neither's own methods."""

    values: torch.Tensor
    scale: torch.Tensor

    @staticmethod
    def __new__(cls: Any, values: torch.Tensor, scale: torch.Tensor) -> Any:
        return torch.Tensor._make_wrapper_subclass(
            cls, values.shape, dtype=values.dtype, device=values.device, requires_grad=values.requires_grad
        )

    def __init__(self, values: torch.Tensor, scale: torch.Tensor) -> None:
        self.values, self.scale = values, scale

    def __tensor_flatten__(self) -> Any:
        return ["values", "scale"], None

    @staticmethod
    def __tensor_unflatten__(inner: Any, meta: Any, size: Any, stride: Any) -> Any:
        return Scaled(inner["values"], inner["scale"])

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Scaled({type(self.values).__name__})"

    asked: Counter[str] = Counter()  # noqa: RUF012

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from torch.utils._python_dispatch import return_and_correct_aliasing

        cls.asked[str(func)] += 1
        plain = pytree.tree_map_only(Scaled, lambda t: t.values, (args, kwargs or {}))
        out = func(*plain[0], **plain[1])
        scale = next(t.scale for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Scaled))
        wrapped = pytree.tree_map_only(torch.Tensor, lambda t: Scaled(t, scale), out)
        return return_and_correct_aliasing(func, args, kwargs or {}, wrapped)


@newer
def wrappers_that_flatten() -> Any:
    Scaled.asked.clear()
    weight = nn.Parameter(Scaled(torch.randn(6, 6), torch.ones(())))
    x = batches(1)[0]
    loss = F.linear(x, weight).tanh().sum()
    loss.backward()
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    optimizer.step()
    compiled = torch.compile(lambda w: (w * 2).sin() + 1, backend="aot_eager")
    through = compiled(Scaled(torch.ones(3), torch.ones(())))
    return (
        loss.values,
        weight.grad.values,
        weight.data.values,
        type(through),
        through.values,
        sorted(Scaled.asked.items()),
    )


class Odd(torch.Tensor):
    """Answers for itself, by what Python lets a class answer for."""

    heard: list[str] = []  # noqa: RUF012

    @property
    def shape(self) -> Any:
        Odd.heard.append("shape")
        return super().shape

    def data_ptr(self) -> int:
        Odd.heard.append("data_ptr")
        return super().data_ptr()

    def numel(self) -> int:
        Odd.heard.append("numel")
        return super().numel()

    def __getattribute__(self, name: str) -> Any:
        Odd.heard.append(name)
        return super().__getattribute__(name)

    def __hash__(self) -> int:
        Odd.heard.append("hash")
        return id(self)


class Watched(UserDict):  # type: ignore[type-arg]
    heard: list[str] = []  # noqa: RUF012

    def __getitem__(self, key: Any) -> Any:
        Watched.heard.append(str(key))
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[Any]:
        Watched.heard.append("iter")
        return super().__iter__()


class Pairs(list):  # type: ignore[type-arg]
    heard: list[str] = []  # noqa: RUF012

    def __iter__(self) -> Iterator[Any]:
        Pairs.heard.append("iter")
        return super().__iter__()

    def __len__(self) -> int:
        Pairs.heard.append("len")
        return super().__len__()


@dataclass
class Outputs:
    logits: torch.Tensor
    extra: Any = None
    heard: list[str] = field(default_factory=list)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__") and name != "heard":
            self.heard.append(name)
        return super().__getattribute__(name)


class Returns(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, batch: Any, *others: Any) -> Outputs:
        out = self.layer(batch["x"])
        return Outputs(out, Pairs([out * 2, batch]))


@newer
def classes_that_listen() -> Any:
    for kind in (Odd, Watched, Pairs):
        kind.heard.clear()  # type: ignore[attr-defined]
    x = torch.randn(3, 6).as_subclass(Odd).requires_grad_()
    (torch.exp(x) + x).sum().backward()
    model, batch = Returns(), Watched(x=batches(1)[0])
    out = model(batch, Pairs([batch]))
    torch.stack(Pairs([out.logits, out.logits])).sum().backward()
    torch.cat(Pairs([out.logits] * 2))
    return Odd.heard, Watched.heard, Pairs.heard, out.heard


def _listening(base: type, heard: Counter[tuple[str, str]]) -> Any:
    """A class that notes every attribute that is read or set, and every call of what Python asks of an object."""
    asked = ("__eq__", "__hash__", "__len__", "__bool__", "__iter__", "__contains__", "__repr__", "__reduce_ex__",
             "named_parameters", "parameters", "modules", "children", "buffers", "state_dict")  # fmt: skip

    def note(kind: str, name: str) -> Any:
        method = getattr(base, name)

        def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
            heard[kind, str(args[0]) if name in ("__getattribute__", "__setattr__") else name] += 1
            return method(self, *args, **kwargs)

        return noted

    names = [name for name in asked if getattr(base, name, None) is not None]
    own = {name: note(base.__name__, name) for name in ("__getattribute__", "__setattr__", *names)}
    return type(base)(f"Listening{base.__name__}", (base,), own)


@newer
def whatever_is_asked() -> Any:
    heard: Counter[tuple[str, str]] = Counter()
    linear, layers = _listening(nn.Linear, heard), _listening(nn.Sequential, heard)
    listed, table, pair = (_listening(kind, heard) for kind in (list, dict, tuple))
    weight = nn.Parameter(torch.randn(4, 4).as_subclass(_listening(torch.Tensor, heard)))
    net = layers(linear(4, 4), nn.ReLU(), linear(4, 4))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.weight = net, weight

        def forward(self, batch: Any, *others: Any) -> Any:
            out = self.net(batch["x"]) @ self.weight
            return table(out=out, others=listed([out, pair((out,))]))

    model = Model()
    optimizer = _listening(torch.optim.SGD, heard)(list(model.parameters()), lr=0.1, momentum=0.9)
    found: list[Any] = []
    for _ in range(2):
        heard.clear()
        out = model(table(x=torch.ones(2, 4)), listed([torch.ones(1)]), pair(("a",)))
        dict.__getitem__(out, "out").square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.stack(listed([torch.ones(2)])).sum().add(torch.cat(pair((torch.ones(2), torch.ones(2)))).sum())
        found.append(sorted((*asked, count) for asked, count in heard.items()))
    return found


# ---- operators


def _operators() -> Any:
    name = "newer_situations::scale_add"
    if not hasattr(torch.ops.newer_situations, "scale_add"):

        @torch.library.custom_op(name, mutates_args=())
        def scale_add(x: torch.Tensor, y: torch.Tensor, factor: float) -> torch.Tensor:
            return torch.from_numpy(x.detach().numpy() * np.float32(factor)) + y

        @scale_add.register_fake
        def _(x: torch.Tensor, y: torch.Tensor, factor: float) -> torch.Tensor:
            return torch.empty_like(x)

        def backward(ctx: Any, grad: torch.Tensor) -> Any:
            return grad * ctx.factor, grad, None

        scale_add.register_autograd(
            backward, setup_context=lambda ctx, inputs, output: setattr(ctx, "factor", inputs[2])
        )
        scale_add.register_autocast("cpu", torch.float32)
        scale_add.register_vmap(
            lambda info, dims, x, y, f: (scale_add(x, y if dims[1] is not None else y.expand_as(x), f), 0)
        )

        @torch.library.custom_op("newer_situations::bump", mutates_args=("x",))
        def bump(x: torch.Tensor, by: int) -> None:
            x.numpy()[...] += by

    return torch.ops.newer_situations.scale_add, torch.ops.newer_situations.bump


@newer
def operators_of_a_library() -> Any:
    scale_add, bump = _operators()
    x = torch.randn(3, 6, requires_grad=True)
    y = torch.ones(3, 6)
    out = scale_add(x, y, 2.0)
    out.sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = scale_add(F.linear(x, torch.ones(6, 6)), y, 0.5)
    mapped = torch.vmap(lambda x: scale_add(x, torch.ones(6), 2.0))(torch.ones(3, 6))
    z = torch.zeros(3)
    version = z._version
    bump(z, 2)
    checks = torch.library.opcheck(scale_add, (torch.randn(2, 2), torch.ones(2, 2), 2.0), raise_exception=False)
    wrong = attempt(lambda: scale_add(x, y))
    compiled = torch.compile(lambda x: scale_add(x.sin(), x, 3.0), backend="aot_eager", fullgraph=True)
    return (
        out,
        x.grad,
        cast.dtype,
        mapped,
        z,
        z._version - version,
        checks,
        str(wrong)[:200],
        compiled(torch.ones(2, 2)),
    )


@newer
def control_flow() -> Any:
    def branch(x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos(), (x,))

    compiled = torch.compile(branch, backend="eager", fullgraph=True)
    x = torch.ones(3, requires_grad=True)
    branch(x).sum().backward()
    from torch._higher_order_ops.while_loop import while_loop

    counted = while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (torch.tensor(0), torch.ones(2)))
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q = torch.randn(1, 2, 8, 4, requires_grad=True)
    with sdpa_kernel([SDPBackend.MATH]):
        F.scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward()
    from torch.nn.attention.bias import causal_lower_right

    biased = F.scaled_dot_product_attention(q, q, q, attn_mask=causal_lower_right(8, 8))
    return compiled(torch.ones(2)), compiled(-torch.ones(2)), x.grad, counted, q.grad, biased


@newer
def overrides_asked() -> Any:
    names = torch.overrides.get_overridable_functions()
    tested = torch.overrides.get_testing_overrides()
    seen: list[str] = []

    class Notes(torch.overrides.BaseTorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(torch.overrides.resolve_name(func) or str(func))
            return super().__torch_function__(func, types, args, kwargs)

    class Takes(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(f"{func.__name__} {torch.overrides.is_tensor_method_or_property(func)}")
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))

    with Notes():
        x = torch.ones(3)
        F.relu(x + 1).sum().item()
        x.shape  # noqa: B018
        x[0] = 2
        torch.stack([x, x]).T  # noqa: B018
        nn.Linear(3, 3)(x)
    y = torch.ones(3).as_subclass(Takes)
    F.softplus(y), y.T, y.add(1), torch.add(1, y), y[0], len(y)
    return (
        seen,
        sorted(len(found) for found in names.values()),
        len(tested),
        len(torch.overrides.get_ignored_functions()),
        [torch.overrides.resolve_name(f) for f in (torch.add, F.relu, torch.Tensor.add, F.linear, torch.stack)],
        F.relu in tested,
        torch.add in torch.overrides.get_ignored_functions(),
    )


@newer
def compiler_stances() -> Any:
    torch._dynamo.reset()

    @torch.compiler.disable
    def kept(x: torch.Tensor) -> torch.Tensor:
        return F.relu(x) * 2

    def function(x: torch.Tensor) -> torch.Tensor:
        return kept(F.softmax(x, -1)).sin()

    compiled = torch.compile(function, backend="eager")
    found = [compiled(torch.ones(3))]
    with torch.compiler.set_stance("force_eager"):
        found.append(compiled(torch.arange(3.0)))
    with torch.compiler.set_stance("fail_on_recompile"):
        found.append(attempt(lambda: compiled(torch.ones(3, dtype=torch.float64)))[:1])
    found.append(attempt(lambda: str(torch.compile(function, backend="eager", fullgraph=True)(torch.ones(3)))[:40]))
    model = mlp()
    model.compile(backend="aot_eager")
    losses = train(model, *batches(2))
    dynamic = torch.compile(lambda x: x.sum(0) * x.shape[0], backend="eager", dynamic=True)
    explained = torch._dynamo.explain(function)(torch.ones(3))
    counts = explained.graph_count, explained.graph_break_count, explained.op_count
    torch._dynamo.reset()
    return found, losses, [dynamic(torch.ones(n, 2)) for n in (2, 3, 5)], counts


# ---- training


@newer
def averages_and_rates() -> Any:
    from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn

    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, amsgrad=True, foreach=True)
    swa, ema = AveragedModel(model), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    schedule = SWALR(optimizer, swa_lr=0.01, anneal_epochs=2)
    rates = []
    for batch in batches(3, 8, 6):
        optimizer.zero_grad(set_to_none=False)
        model(batch).square().mean().backward()
        total = nn.utils.clip_grad_norm_(model.parameters(), 0.5, foreach=True)
        optimizer.step()
        swa.update_parameters(model)
        ema.update_parameters(model)
        schedule.step()
        rates.append((schedule.get_last_lr(), total))
    update_bn(batches(2, 8, 6), swa)
    return rates, swa.state_dict(), ema.state_dict(), nn.utils.get_total_norm(model.parameters())


@newer
def newer_optimizers() -> Any:
    found: list[Any] = []
    for name, options in (
        ("Adafactor", {}),
        ("Muon", {"lr": 0.02}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "fused": True}),
        ("Adam", {"lr": 0.1, "differentiable": True}),
        ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ):
        kind = getattr(torch.optim, name, None)
        if kind is None:
            continue
        model = nn.Linear(6, 6, bias=False)
        optimizer = kind(model.parameters(), **options)
        seen: list[str] = []
        optimizer.register_step_pre_hook(lambda o, a, k, seen=seen: seen.append("before"))
        optimizer.register_step_post_hook(lambda o, a, k, seen=seen: seen.append("after"))
        optimizer.register_state_dict_post_hook(lambda o, s, seen=seen: seen.append("saved"))
        for batch in batches(2):
            optimizer.zero_grad()
            model(batch).square().sum().backward()
            attempt(optimizer.step)
        state = optimizer.state_dict()
        kind(model.parameters(), **options).load_state_dict(state)
        found.append((name, model.weight, seen, pytree.tree_leaves(state["state"])))
    return found


@newer
def loaded_inside_the_step() -> Any:
    model, other = mlp(), mlp()
    losses = []
    for number, batch in enumerate(batches(3)):
        out = model(batch).square().mean()
        file = io.BytesIO()
        torch.save({"model": model.state_dict(), "number": number, "tied": [model[0].weight] * 2}, file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
        other.load_state_dict(state["model"], assign=number == 1)
        out = out + other(batch).square().mean()
        out.backward()
        losses.append((out, state["tied"][0] is state["tied"][1]))
    bad = io.BytesIO(pickle.dumps(Counter(a=1)))
    with torch.serialization.safe_globals([Counter]):
        safe = torch.serialization.get_safe_globals()
    missing = attempt(lambda: model.load_state_dict({"0.weight": torch.ones(2, 2)}))
    partial = model.load_state_dict({"0.weight": torch.ones_like(model[0].weight)}, strict=False)
    return losses, attempt(lambda: torch.load(bad, weights_only=True))[0][:60], missing, partial, len(safe)


@newer
def deterministic() -> Any:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        blank = torch.empty(3)
        x = torch.randn(4, 4, requires_grad=True)
        x.cumsum(0).sum().backward()
        put = torch.zeros(4).put_(torch.tensor([0, 0]), torch.ones(2), accumulate=True)
        torch.zeros(4).index_add_(0, torch.tensor([0, 1]), torch.ones(2))
        pooled = F.max_unpool1d(torch.ones(1, 1, 2), torch.tensor([[[0, 2]]]), 2)
        torch.use_deterministic_algorithms(True)
        raised = attempt(lambda: F.max_unpool1d(torch.ones(1, 1, 2), torch.tensor([[[0, 2]]]), 2))
    finally:
        torch.use_deterministic_algorithms(before)
    return blank, x.grad, put, pooled, raised


@newer
def distributions() -> Any:
    d = torch.distributions
    loc = torch.zeros(3, requires_grad=True)
    normal = d.Independent(d.Normal(loc, torch.ones(3)), 1)
    drawn = normal.rsample((2,))
    loss = -normal.log_prob(drawn.detach()).sum() + d.kl_divergence(d.Normal(loc, 1.0), d.Normal(1.0, 2.0)).sum()
    loss.backward()
    flow = d.TransformedDistribution(d.Normal(0.0, 1.0), [d.SigmoidTransform(), d.AffineTransform(1.0, 2.0)])
    mixed = d.MixtureSameFamily(d.Categorical(torch.ones(2)), d.Normal(torch.tensor([0.0, 3.0]), torch.ones(2)))
    return (
        drawn,
        loss,
        loc.grad,
        flow.sample((2,)),
        mixed.log_prob(torch.ones(2)),
        d.Beta(torch.ones(2), 2.0).sample(),
        d.Dirichlet(torch.ones(3)).rsample(),
        attempt(lambda: d.Normal(0.0, -1.0)),
        attempt(lambda: d.Categorical(torch.tensor([-1.0, 2.0]))),
        torch.multinomial(torch.ones(4), 2),
        torch.poisson(torch.ones(3) * 4),
    )


@newer
def read_from_outside() -> Any:
    x = torch.arange(6.0).reshape(2, 3)
    array = np.asarray(x)
    array[0, 0] = 9
    shared = torch.from_dlpack(np.ones(3, np.float32))
    shared += 1
    stored = torch.frombuffer(bytearray(b"\0\0\x80?" * 2), dtype=torch.float32)
    text = [repr(x), f"{x.sum():.1f}", str(x.requires_grad_()), format(torch.tensor(1.5), ".3f"), repr(x.mean())]
    with torch.autograd.profiler.record_function("mine"):
        product = operator.matmul(x, x.T)
    order = sorted([torch.tensor(3), torch.tensor(1)], key=int)
    flat, spec = pytree.tree_flatten({"a": [x, (x, 1)], "b": None})
    module = torch.utils.module_tracker.ModuleTracker() if hasattr(torch.utils, "module_tracker") else None
    parents: list[Any] = []
    if module is not None:
        model = mlp()
        with module:
            model[0].register_forward_hook(lambda *_: parents.append(sorted(module.parents)))
            model(batches(1)[0]).sum().backward()
    return x, array.tolist(), shared, stored, text, product, order, len(flat), str(spec), parents, x.tolist()


@newer
def refused() -> Any:
    x, y = torch.ones(2, 3), torch.ones(4, 5)
    leaf = torch.ones(2, requires_grad=True)
    log = logging.getLogger("newer")
    handler = logging.StreamHandler(stream := io.StringIO())
    handler.setFormatter(logging.Formatter("%(funcName)s %(message)s"))
    log.addHandler(handler)

    class Own(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            log.warning("from forward", stacklevel=1)
            return torch.addmm(x, x, y)

    def twice() -> None:
        out = leaf * 2
        out.sum().backward()
        out.sum().backward()

    acts: list[Callable[[], Any]] = [
        lambda: x @ y,
        lambda: Own()(x),
        lambda: F.cross_entropy(x, torch.tensor([9, 9])),
        lambda: F.embedding(torch.tensor([7]), x),
        lambda: torch.cat([x, y]),
        lambda: leaf.add_(1),
        lambda: torch.relu(x, 1, 2),  # type: ignore[call-arg]
        lambda: F.gelu(x, wrong=1),  # type: ignore[call-arg]
        lambda: F.softmax("x", 1),  # type: ignore[arg-type]
        lambda: nn.LayerNorm(4)(x),
        lambda: x.view(7),
        lambda: x.reshape(-1, -1),
        lambda: torch.stack([x, None]),  # type: ignore[list-item]
        lambda: F.interpolate(x, scale_factor=2),
        lambda: nn.MultiheadAttention(4, 3),
        lambda: torch.einsum("ij,jk", x, y),
        lambda: functools.reduce(torch.add, [x, y]),
        lambda: x.item(),
        lambda: bool(x),
        twice,
    ]
    found = [attempt(act) for act in acts]
    log.removeHandler(handler)
    with contextlib.suppress(RuntimeError):
        torch.set_num_interop_threads(1)
    return found, stream.getvalue()


@newer
def warned_anywhere() -> Any:
    x = torch.ones(2, 2)
    nn.Sequential(nn.Softmax(), nn.LogSoftmax())(x)
    nn.Softmin()(x)
    F.mse_loss(x, torch.ones(2, 1))
    F.l1_loss(x, torch.ones(2, 1), reduce=False)
    nn.BCELoss(size_average=True)(x.sigmoid(), x)
    F.interpolate(torch.ones(1, 1, 2, 2), scale_factor=2, mode="bilinear", recompute_scale_factor=True)
    F.grid_sample(torch.ones(1, 1, 2, 2), torch.zeros(1, 2, 2, 2))
    torch.ones(2, 3, 4).T  # noqa: B018
    torch.range(0, 2)
    torch.tensor(x)
    torch.meshgrid(torch.arange(2), torch.arange(2))
    torch.optim.lr_scheduler.StepLR(torch.optim.SGD([nn.Parameter(x)], lr=0.1), 1).step()
    nn.utils.weight_norm(nn.Linear(2, 2))
    (x.requires_grad_() * 2).grad  # noqa: B018
    x.detach().to(torch.complex64).to(torch.float32)
    nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 1), 1)
    nn.GRU(2, 2, dropout=0.5)
    torch.norm(x)
    torch.add(torch.ones(2), torch.ones(2), out=torch.empty(3))


if __name__ == "__main__":
    situations.main(NEWER)
