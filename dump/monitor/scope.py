"""What is watched: parameters and modules of one or more models, and the names they go by in the files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.parameter import is_lazy

from ..format.names import without_wrappers
from ..torch_internals import without_overrides
from .config import MonitorConfig

# The parts of a name at which `squash_name` cuts, the first that is found; the last place it stands at.
_CUTS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r".*\.(layers?\..*)",
        r".*\.(embeddings?\..*)",
        r".*\.(final.*)",
        r".*\.(output.*)",
        r".*\.(norm.*)",
    )
)


@dataclass(frozen=True, slots=True, eq=False)
class WatchedParameter:
    """`path` is its name as `named_parameters()` gives it, `name` the one in the files.  `elsewhere` says that
    another rank of its group writes the same reduced gradient."""

    parameter: torch.nn.Parameter
    vpp_stage: int
    path: str
    name: str
    elsewhere: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class WatchedModule:
    module: torch.nn.Module
    vpp_stage: int
    name: str


@dataclass(frozen=True, slots=True)
class Groups:
    """Process groups whose ranks hold the same gradients: of these, the first rank of each alone writes them."""

    data_parallel: torch.distributed.ProcessGroup | None = None
    tensor_parallel: torch.distributed.ProcessGroup | None = None

    def write_elsewhere(self, parameter: torch.nn.Parameter) -> bool:
        """Does another rank write the reduced gradient of `parameter`?"""
        if self.data_parallel is not None and torch.distributed.get_rank(self.data_parallel) != 0:
            return True
        if self.tensor_parallel is None or getattr(parameter, "tensor_model_parallel", False):
            return False
        return torch.distributed.get_rank(self.tensor_parallel) != 0


@dataclass(frozen=True, slots=True)
class Scope:
    """`unmatched` are targets that name nothing in any model."""

    models: tuple[torch.nn.Module, ...]
    parameters: tuple[WatchedParameter, ...]
    modules: tuple[WatchedModule, ...]
    unmatched: tuple[str, ...] = ()


def scope_of(models: Sequence[torch.nn.Module], config: MonitorConfig, groups: Groups | None = None) -> Scope:
    """All that `config` wants watched in `models`; the place of a model in them is its vpp_stage."""
    matched: set[str] = set()
    parameters: list[WatchedParameter] = []
    modules: list[WatchedModule] = []
    for stage, model in enumerate(models):
        parameters += _parameters(model, stage, config, groups or Groups(), matched)
        modules += _modules(model, stage, config, matched)
    unmatched = tuple(target for target in config.targets if target not in matched)
    return Scope(tuple(models), tuple(parameters), tuple(modules), unmatched)


def is_watched(parameter: torch.nn.Parameter) -> bool:
    """Is it trained, and has it memory?  A lazy module's parameters have none before its first call, those on the
    device meta and fake ones, of which sizes alone are worked out, have none at all."""
    with without_overrides():  # a function mode of the script's does not see this
        return parameter.requires_grad and not is_lazy(parameter) and not _is_of_sizes_alone(parameter)


def _is_of_sizes_alone(parameter: torch.nn.Parameter) -> bool:
    return parameter.layout is torch.strided and parameter.untyped_storage().device.type == "meta"


def _parameters(
    model: torch.nn.Module, stage: int, config: MonitorConfig, groups: Groups, matched: set[str]
) -> Iterable[WatchedParameter]:
    trained = [(path, parameter) for path, parameter in model.named_parameters() if is_watched(parameter)]
    spellings = {path: _spellings(path, stage, squash=config.squash_name) for path, _ in trained}
    taken: set[str] = set()
    for path, parameter in trained:
        if not config.watches_everything:
            found = _targets_of(spellings[path], config.targets, spellings.values())
            matched.update(found)
            if not found:
                continue
        full = without_wrappers(path)
        name = squashed(full) if config.squash_name else full
        name = full if name in taken else name
        taken.add(name)
        yield WatchedParameter(parameter, stage, path, name, groups.write_elsewhere(parameter))


def _modules(model: torch.nn.Module, stage: int, config: MonitorConfig, matched: set[str]) -> Iterable[WatchedModule]:
    everything = config.all_xy or config.watches_everything or config.print_struct
    seen: set[str] = set()
    for path, module in model.named_modules():
        full = without_wrappers(path)
        if full in seen or type(module).__name__ == "FullyShardedDataParallel":
            continue  # a wrapper and what it wraps go by one name; FSDP 1 cuts the graph, so there the inner one counts
        seen.add(full)
        spellings = _spellings(path, stage, squash=config.squash_name)
        named = spellings & set(config.targets)
        matched.update(named)
        if everything or named:
            yield WatchedModule(module, stage, squashed(full) if config.squash_name else full)


def _spellings(path: str, stage: int, *, squash: bool) -> set[str]:
    """The ways a target may name it: with and without the stage, wrappers, and what `squash_name` cuts."""
    plain = {path, without_wrappers(path)}
    if squash:
        plain |= {squashed(name) for name in plain}
    return plain | {f"{stage}:{name}" for name in plain}


def _targets_of(spellings: Collection[str], targets: Sequence[str], everyone: Iterable[Collection[str]]) -> list[str]:
    """The targets that name a parameter or a module around it.

    A target at which no name of the model ends or goes on with a dot counts as the beginning of names, as it does
    in msprobe: `layers.1` is not `layers.10`, but `layer` is all of `layers`.
    """

    def names(target: str) -> bool:
        if _is_within(spellings, target):
            return True
        begins = any(name.startswith(target) for name in spellings)
        return begins and not any(_is_within(others, target) for others in everyone)

    return [target for target in targets if names(target)]


def _is_within(spellings: Collection[str], target: str) -> bool:
    return any(name == target or name.startswith(f"{target}.") for name in spellings)


def squashed(name: str) -> str:
    """`module.language_model.encoder.layers.0.mlp.weight` -> `layers.0.mlp.weight`, as msprobe's squash_name."""
    for cut in _CUTS:
        match = cut.fullmatch(name)
        if match is not None:
            return match[1]
    return name
