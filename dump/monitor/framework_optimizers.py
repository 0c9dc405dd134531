"""Where the optimizers of Megatron and DeepSpeed keep what belongs to a parameter of the model.

They update copies in float32, or shards of those, under other tensors than the model's.  Which is whose stands in
attributes of theirs that this file alone names; what is read is this rank's part, and nothing is sent to other ranks.

    Megatron   float16_groups[g][i]        is updated as  fp32_from_float16_groups[g][i]
               model_float16_groups[g][i]  is updated as  shard_fp32_from_float16_groups[g][i]
               model_fp32_groups[g][i]     is updated as  shard_fp32_groups[g][i]
    DeepSpeed  ZeRO 0: fp16_groups[g][i] is updated as fp32_groups[g][i], with a fused optimizer as its stretch of the
               flat fp32_groups_flat[g];  ZeRO 1 and 2: parameter._hp_mapping holds this rank's fragments;
               ZeRO 3: parameter._z3_optimizer does
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

_COPIES = (
    ("float16_groups", "fp32_from_float16_groups"),
    ("model_float16_groups", "shard_fp32_from_float16_groups"),
    ("model_fp32_groups", "shard_fp32_groups"),
    ("fp16_groups", "fp32_groups"),
)
_FLAT = ("fp16_groups", "fp32_groups_flat")
_MOMENTS = ("exp_avg", "exp_avg_sq")


class OptimizerStates:
    """What an optimizer keeps for each parameter, found once for all of them.

    Looks through wrappers that hold the real optimizer as `optimizer` or several as `chained_optimizers`.
    """

    def __init__(self, optimizer: Any) -> None:
        inner = list(_inner(optimizer))
        self._states = [
            state
            for each in inner
            for holder in (each, getattr(each, "optimizer", None))
            if isinstance(state := getattr(holder, "state", None), Mapping)
        ]
        self._updated: dict[int, torch.Tensor] = {}
        for each in inner:
            for theirs, ours in _COPIES:
                for parameters, copies in zip(_groups(each, theirs), _groups(each, ours), strict=False):
                    self._updated.update({id(p): c for p, c in zip(parameters, copies, strict=False) if c is not None})
        self._stretches = dict(stretch for each in inner for stretch in _stretches(each))

    def of(self, parameter: torch.Tensor) -> Mapping[str, Any]:
        """The state of one parameter, of sharded ones this rank's part; empty before the first step."""
        for key in (parameter, self._updated.get(id(parameter))):
            for state in self._states:
                if key is not None and key in state:
                    found: Mapping[str, Any] = state[key]
                    return found
        if id(parameter) in self._stretches:
            return self._of_stretch(parameter, *self._stretches[id(parameter)])
        return _of_deepspeed(parameter)

    def _of_stretch(self, parameter: torch.Tensor, flat: torch.Tensor, start: int) -> Mapping[str, Any]:
        found: Mapping[str, Any] = next((state[flat] for state in self._states if flat in state), {})
        return {
            name: value.detach()[start : start + parameter.numel()].view(parameter.shape)
            for name, value in found.items()
            if isinstance(value, torch.Tensor) and value.shape == flat.shape
        }


def _inner(optimizer: Any) -> Iterator[Any]:
    chained = getattr(optimizer, "chained_optimizers", None)
    if not chained:
        yield optimizer
    for each in chained or ():
        yield from _inner(each)


def _groups(optimizer: Any, name: str) -> list[Any]:
    found = getattr(optimizer, name, None)
    return list(found) if isinstance(found, (list, tuple)) else []


def _stretches(optimizer: Any) -> Iterator[tuple[int, tuple[torch.Tensor, int]]]:
    """By the id of each parameter the flat copy that is updated for it, and where in it the parameter begins."""
    for parameters, flat in zip(*(_groups(optimizer, name) for name in _FLAT), strict=False):
        start = 0
        for parameter in parameters if isinstance(flat, torch.Tensor) else ():
            yield id(parameter), (flat, start)
            start += parameter.numel()


def _of_deepspeed(parameter: torch.Tensor) -> Mapping[str, Any]:
    fragment = getattr(getattr(parameter, "_hp_mapping", None), "optim_fragment", None)
    if isinstance(fragment, Mapping):
        return fragment
    holder = getattr(parameter, "_z3_optimizer", None)
    if holder is None:
        return {}
    try:
        return {name: holder.get_local_fp32_param(parameter, name) for name in _MOMENTS}
    except KeyError:  # before the first step
        return {}


def gradient_held_elsewhere(parameter: torch.Tensor) -> torch.Tensor | None:
    """The gradient that DeepSpeed has taken from a parameter, of a sharded one this rank's part; None for all others.

    It is there between the last micro batch's backward and the optimizer's step.
    """
    mapping, holder = getattr(parameter, "_hp_mapping", None), getattr(parameter, "_z3_optimizer", None)
    try:
        if mapping is not None:
            return _tensor(mapping.get_lp_grad_fragment(getattr(parameter, "_index_in_param_group", None)))
        if holder is not None:
            return _tensor(holder.get_local_fp32_grad_for_param(parameter))
    except (AttributeError, KeyError, TypeError, ValueError):  # at other times
        pass
    return None


def _tensor(found: Any) -> torch.Tensor | None:
    return found if isinstance(found, torch.Tensor) else None
