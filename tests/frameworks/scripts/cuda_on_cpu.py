"""What a script asks of CUDA is done on the CPU, in the manner in which torch_npu moves such scripts to an NPU.

Importing this puts stand-ins into torch, as transfer_to_npu does, before anything else sees the functions.
"""

import functools

import torch

_MAKERS = ("tensor", "zeros", "ones", "empty", "full", "arange", "rand", "randn")


def _on_cpu(function):
    @functools.wraps(function)
    def called(*args, device=None, **kwargs):
        return function(*args, device="cpu" if str(device).startswith("cuda") else device, **kwargs)

    return called


def _type_of(tensor, *args, **kwargs):
    found = _type(tensor, *args, **kwargs)
    return found.replace("torch.", "torch.cuda.") if isinstance(found, str) else found


for _name in _MAKERS:
    setattr(torch, _name, _on_cpu(getattr(torch, _name)))
_type, torch.Tensor.type = torch.Tensor.type, _type_of
torch.Tensor.cuda = lambda tensor, *args, **kwargs: tensor
torch.cuda.current_device = lambda: "cpu"
torch.cuda.synchronize = torch.cuda.empty_cache = lambda *args: None
