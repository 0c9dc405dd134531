"""Functions and methods of torch that take a device: where tensors are made, and where they move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from .. import torch_internals
from ..environment.synchronous import drawing_on_the_host
from ..intercept.patching import Patches
from ..intercept.scripted_code import let_scripts_compile, name_original
from .arguments import Target, device_first, placed

Function: TypeAlias = Callable[..., Any]

MAKERS = (
    "tensor", "as_tensor", "asarray", "zeros", "zeros_like", "ones", "ones_like", "full", "full_like", "empty",
    "empty_like", "empty_strided", "empty_permuted", "empty_quantized", "arange", "range", "linspace", "logspace",
    "eye",
    "tril_indices", "triu_indices", "rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm",
    "normal", "scalar_tensor", "hann_window", "hamming_window", "blackman_window", "bartlett_window", "kaiser_window",
    "sparse_coo_tensor", "sparse_csr_tensor", "sparse_csc_tensor", "sparse_bsr_tensor", "sparse_bsc_tensor",
    "sparse_compressed_tensor", "set_default_device", "set_default_tensor_type",
)  # fmt: skip
METHODS = (
    "new_tensor", "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided", "type",
)  # fmt: skip
_FREQUENCIES = ("fftfreq", "rfftfreq")
_NESTED = ("nested_tensor", "as_nested_tensor")


def install(patches: Patches, target: Target) -> None:
    """Let the functions above take CUDA devices for the target."""
    originals: dict[int, int] = {}

    def replace(owner: Any, name: str, new: Callable[[Function], Function]) -> None:
        original = getattr(owner, name, None)
        if original is None:  # another release of torch
            return
        stand_in = new(original)
        name_original(stand_in, original)
        stand_in.__dict__.pop(torch_internals.traced_original)  # dynamo must see which device is meant, and can
        originals[id(stand_in)] = id(original)
        patches.replace(owner, name, stand_in)

    def with_places(original: Function) -> Function:
        return placed(original, target)

    for owner, names in (
        (torch, MAKERS),
        (torch.Tensor, METHODS),
        (torch.fft, _FREQUENCIES),
        (torch.nested, _NESTED),
    ):
        for name in names:
            replace(owner, name, with_places)
    for kind in (torch.Tensor, torch.nn.Module):
        replace(kind, "to", lambda original: device_first(original, target))
    replace(torch.nn.Module, "to_empty", with_places)
    to, clone = torch.Tensor.to, torch.Tensor.clone
    patches.replace(torch.Tensor, "cuda", _cuda(to, target))
    patches.replace(torch.Tensor, "record_stream", lambda self, stream: None)
    if target.kind == "cpu":
        patches.replace(torch.Tensor, "pin_memory", lambda self, device=None: clone(self))
    patches.replace(torch, "Generator", drawing_on_the_host(torch.Generator, "cuda"))
    let_scripts_compile(originals, patches)


def _cuda(to: Function, target: Target) -> Function:
    def cuda(
        self: torch.Tensor,
        device: Any = None,
        non_blocking: bool = False,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> Any:
        return to(self, target.kind, non_blocking=non_blocking, memory_format=memory_format)

    return cuda
