"""Which callables of torch are operators: found by asking torch, less what only answers questions.

torch.overrides lists every function that a tensor subclass can override, which is torch's own account of
what is an operator.  From it go functions that read a tensor's metadata or state, and those whose outer
call hides operators that matter more.  Constructors are not overridable and are added by name.  torch_npu's
operators are those that are registered (`intercept.dispatcher_ops`), so that a new version brings its own.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from .. import torch_internals


@dataclass(frozen=True, slots=True)
class Operator:
    """`owner.attribute` is recorded as `prefix.api`."""

    owner: Any
    attribute: str
    prefix: str
    api: str


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Questions about a tensor, conversions to Python, and acts that move no data.
_QUESTIONS = frozenset(
    _words("""
    size stride dim ndimension numel nelement element_size storage_offset data_ptr const_data_ptr storage
    untyped_storage storage_type is_contiguous is_complex is_floating_point is_signed is_conj is_neg
    is_inference is_nonzero is_same_size is_set_to is_shared is_pinned is_coalesced is_distributed is_leaf
    get_device qscheme q_scale q_zero_point q_per_channel_axis q_per_channel_scales
    q_per_channel_zero_points dense_dim sparse_dim dim_order has_names names rename rename_ refine_names
    align_as align_to type item tolist numpy retain_grad register_hook register_post_accumulate_grad_hook
    requires_grad_ backward detach detach_ data record_stream share_memory_ pin_memory as_subclass
    module_load reinforce apply_ map_ map2_ new set_ resize resize_as can_cast result_type promote_types
    sym_float sym_int sym_max sym_min sym_not sym_ite sym_sqrt sym_sum get_file_path typename is_storage
    is_tensor to_dlpack from_dlpack broadcast_shapes resolve_conj resolve_neg handle_torch_function
    has_torch_function has_torch_function_unary has_torch_function_variadic boolean_dispatch
    assert_int_or_pair
    """)
)
_DUNDERS = frozenset(
    f"__{name}__"
    for name in _words("""
    add radd iadd sub rsub isub mul rmul imul truediv rtruediv itruediv div rdiv idiv floordiv rfloordiv
    ifloordiv mod rmod imod pow rpow ipow matmul rmatmul imatmul neg abs invert and rand iand or ror ior xor
    rxor ixor lshift rlshift ilshift rshift rrshift irshift eq ne lt le gt ge getitem setitem
    """)
)
_CONSTRUCTORS = _words("""
    tensor as_tensor asarray from_numpy frombuffer zeros zeros_like ones ones_like full full_like empty
    empty_like empty_strided arange range linspace logspace eye tril_indices triu_indices complex polar rand
    rand_like randn randn_like sparse_coo_tensor scalar_tensor vander randint randint_like randperm normal
    bernoulli multinomial poisson hann_window hamming_window blackman_window bartlett_window kaiser_window
    """)
_RECURRENT = _words("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
_PACKS = (torch_internals.pack_sequences, torch_internals.pad_sequences)
_SPARSE = _words("mm addmm sampled_addmm softmax log_softmax sum")
_FUSED_LAYERS = (torch_internals.multi_head_attention, torch_internals.transformer_layer)  # torch.nn in eval mode
_WEIGHT_NORM = torch_internals.weight_norm
UNSCALE = torch_internals.unscale_gradients
_FREQUENCIES = _words("fftfreq rfftfreq")  # constructors too


def operators() -> tuple[Operator, ...]:
    """Every operator that can be wrapped in this process now.

    An operator that torch holds in two places stands here twice, first as what it is recorded as: `torch.conv2d` is
    `torch.nn.functional.conv2d`, and recorded as `Functional.conv2d`.
    """
    torch_internals.device_constructors()  # a table by identity, made once: it must not be made of stand-ins
    return (*_torch_operators(), *_npu_operators())


@functools.cache
def _torch_operators() -> tuple[Operator, ...]:
    found: dict[tuple[int, str], Operator] = {}
    for operator in _enumerate():
        found.setdefault((id(operator.owner), operator.attribute), operator)
    return tuple(found.values())


def _enumerate() -> Iterator[Operator]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        overridable = torch.overrides.get_overridable_functions()
    yield from _functional(overridable[torch.nn.functional])
    yield from _in(torch_internals.recurrent_functions, _RECURRENT, "VF")
    yield from _in(torch_internals.recurrent_functions, _PACKS, "VF", private=True)
    names = {f.__name__ for namespace in (torch, torch.functional) for f in overridable[namespace]}
    in_place = {name for name in dir(torch_internals.functions) if name.endswith("_") and name[0] != "_"}
    yield from _in(torch, names | in_place | set(_CONSTRUCTORS), "Torch")
    yield from _in(torch, _FUSED_LAYERS, "Torch", private=True)
    for owner in (torch, sys.modules.get("torch.nn.utils.weight_norm")):  # which imports it by name
        yield from _in(owner, (_WEIGHT_NORM,), "Torch", private=True)
    on_lists = {name for name in dir(torch) if name.startswith(torch_internals.foreach_prefix)}
    yield from _in(torch, on_lists | {UNSCALE}, "Torch", private=True)
    for module in (torch.linalg, torch.fft, torch.special):
        short = module.__name__.rpartition(".")[2]
        names = {f.__name__.removeprefix(f"{short}_") for f in overridable[module]}
        yield from _in(module, names, "Torch", within=f"{short}.")
    yield from _in(torch.fft, _FREQUENCIES, "Torch", within="fft.")
    yield from _in(torch.sparse, _SPARSE, "Torch", within="sparse.")
    methods = {id(f) for f in overridable[torch.Tensor]}
    names = {
        name for name in dir(torch.Tensor) if not name.startswith("__") and id(getattr(torch.Tensor, name)) in methods
    }
    yield from _in(torch.Tensor, names | {"npu"}, "Tensor")
    yield from _in(torch.Tensor, _DUNDERS, "Tensor", private=True)


def _functional(overridable: Iterable[Any]) -> Iterator[Operator]:
    functional, kernels = torch.nn.functional, torch_internals.neural_functions
    for operator in _in(functional, {f.__name__ for f in overridable} | _public_callables(functional), "Functional"):
        yield operator
        # Subclasses are handed the function that C++ finds in torch._C._nn, and compare it with this one.
        original = getattr(functional, operator.attribute)
        if getattr(kernels, operator.attribute, None) is original:
            yield Operator(kernels, operator.attribute, operator.prefix, operator.api)
    yield from _in(kernels, dir(kernels), "Functional")


def _public_callables(module: Any) -> set[str]:
    """Functions a module defines for its users: no classes, no imports of others."""
    homes = (module.__name__, None, torch_internals.neural_functions.__name__, "torch")
    return {name for name, thing in vars(module).items() if getattr(thing, "__module__", None) in homes}


def _in(
    owner: Any, names: Iterable[str], prefix: str, *, within: str = "", private: bool = False
) -> Iterator[Operator]:
    """The operators among the attributes `names` of `owner`; a leading underscore is left out unless asked
    for."""
    for name in sorted(names):
        if name in _QUESTIONS or (name.startswith("_") and not private):
            continue
        thing = getattr(owner, name, None)
        if callable(thing) and not isinstance(thing, type):
            yield Operator(owner, name, prefix, f"{within}{name}")


def _npu_operators() -> Iterator[Operator]:
    """What torch_npu hands out of `torch.ops.npu` as a function of its own.

    Nearly all are the registered operators themselves, whose calls are met where they go through
    (`intercept.dispatcher_ops`): those keep their place, and with it `.default`, their overloads and torch.compile.
    """
    torch_npu = sys.modules.get("torch_npu")
    if torch_npu is None:
        return
    for operator in _in(torch_npu, npu_names(), "NPU", private=True):
        if not isinstance(getattr(torch_npu, operator.attribute), torch_internals.OpOverloadPacket):
            yield operator


def npu_names() -> tuple[str, ...]:
    """The operators that torch_npu has put into `torch.ops.npu`, whatever its version."""
    packets = torch_internals.OpOverloadPacket
    return tuple(name for name in dir(torch.ops.npu) if isinstance(getattr(torch.ops.npu, name), packets))
