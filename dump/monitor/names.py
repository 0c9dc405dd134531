"""Names of parameters and modules: without what wrappers put in, and short where asked for."""

from __future__ import annotations

import re

_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_WRAPPER_ENDS = tuple(wrapper.removesuffix(".") for wrapper in _WRAPPERS)

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


def without_wrappers(name: str) -> str:
    """`_orig_mod.fc._fsdp_wrapped_module.weight` -> `fc.weight`; a wrapped model itself is ""."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    if name in _WRAPPER_ENDS:
        return ""
    for end in _WRAPPER_ENDS:
        name = name.removesuffix(f".{end}")
    return name


def squashed(name: str) -> str:
    """`module.language_model.encoder.layers.0.mlp.weight` -> `layers.0.mlp.weight`, as msprobe's squash_name."""
    for cut in _CUTS:
        match = cut.fullmatch(name)
        if match is not None:
            return match[1]
    return name
