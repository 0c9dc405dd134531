"""Names of one side in the words of the other: wrappers taken off, modules and operators renamed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from dump.format import names
from dump.format.names import CallName


@lru_cache(maxsize=1 << 16)
def plain_path(path: str) -> str:
    """A module path without what DDP, FSDP, checkpointing and torch.compile put around the model."""
    return names.without_wrappers(path, data_parallel=True)


@dataclass(frozen=True, slots=True)
class Renaming:
    """What the NPU side calls otherwise than the bench.

    `modules` maps the beginning of a module's path, in which `*` stands for one part of it; `classes` a module's class;
    `apis` an operator with its prefix (`NPU.npu_fast_gelu`); `calls` one call (`Functional.linear.3.forward`; its
    backward call goes with it); `layers` for each class of modules the paths of what lies inside one, TopLayer for the
    model as a whole.  Where `layers` rename a path, the class is the bench's there.
    """

    modules: Mapping[str, str]
    classes: Mapping[str, str]
    apis: Mapping[str, str]
    calls: Mapping[str, str]
    layers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.modules or self.classes or self.apis or self.calls or self.layers)


TOP_LAYER = "TopLayer"


class Translator:
    """The bench's words for the NPU side's names.  `used` holds the entries that have renamed something.

    `npu_classes` and `bench_classes` are the classes of modules by their paths, which `layers` need.
    """

    def __init__(
        self,
        renaming: Renaming,
        npu_classes: Mapping[str, str] | None = None,
        bench_classes: Mapping[str, str] | None = None,
    ) -> None:
        self._npu_classes = npu_classes or {}
        self._bench_classes = {plain_path(path): kind for path, kind in (bench_classes or {}).items()}
        self._layered: dict[str, str] = {}
        self.used: set[tuple[str, str]] = set()
        self.renames = bool(renaming)
        self._renaming = renaming
        # The longest beginning wins, so that a part can be renamed apart from the whole.
        ordered = sorted(renaming.modules.items(), key=lambda entry: -len(entry[0]))
        self._paths = [(key, _pattern(key), new) for key, new in ordered]

    def path(self, path: str) -> str:
        """A module path of the NPU side as the bench has it."""
        plain = plain_path(self._by_layers(path) if self._renaming.layers else path)
        for key, pattern, new in self._paths:
            match = pattern.match(plain)
            if match is not None:
                self.used.add(("modules", key))
                return plain_path(_filled(new, match.groups())) + plain[match.end() :]
        return plain

    def _by_layers(self, path: str) -> str:
        """A path renamed part by part from the model down, as the class of each module on the way says."""
        known = self._layered.get(path)
        if known is not None:
            return known
        parts, new, at = path.split("."), [], 0
        kind = TOP_LAYER
        while at < len(parts):
            table = self._renaming.layers.get(kind, {})
            for end in range(len(parts), at, -1):
                inner = ".".join(parts[at:end])
                if inner in table:
                    self.used.add(("layers", f"{kind}.{inner}"))
                    new += [part for part in table[inner].split(".") if part]
                    break
            else:
                end = at + 1
                new.append(parts[at])
            at = end
            kind = self._npu_classes.get(".".join(parts[:at]), "")
        found = self._layered[path] = ".".join(new)
        return found

    def name(self, name: CallName) -> CallName:
        """A call's name of the NPU side as the bench has it; numbers stay."""
        text = str(name)
        single = self._call(text)
        if single is not None:
            return names.parse(single)
        if name.is_module:
            api = self._looked_up("classes", self._renaming.classes, name.api) or name.api
            path = self.path(name.path)
            if self._renaming.layers and path != plain_path(name.path):
                api = self._bench_classes.get(path, api)
            return replace(name, path=path, api=api)
        found = self._looked_up("apis", self._renaming.apis, f"{name.prefix}.{name.api}")
        if found is None:
            return name
        prefix, _, api = found.partition(".")
        return replace(name, prefix=prefix, api=api)

    def _call(self, text: str) -> str | None:
        found = self._looked_up("calls", self._renaming.calls, text)
        if found is None and text.endswith(".backward"):
            forward = self._looked_up("calls", self._renaming.calls, names.forward_name(text))
            found = f"{forward.removesuffix(names.FORWARD)}{names.BACKWARD}" if forward is not None else None
        return found

    def _looked_up(self, section: str, table: Mapping[str, str], key: str) -> str | None:
        found = table.get(key)
        if found is not None:
            self.used.add((section, key))
        return found

    def unused(self) -> list[str]:
        """Entries that renamed nothing, as `modules 'encoder.attn'`."""
        sections = ("modules", "classes", "apis", "calls")
        layers = [f"{kind}.{inner}" for kind, table in self._renaming.layers.items() for inner in table]
        entries = [(section, key) for section in sections for key in getattr(self._renaming, section)]
        return [
            f"{section} {key!r}"
            for section, key in (*entries, *(("layers", key) for key in layers))
            if (section, key) not in self.used
        ]


def _pattern(key: str) -> re.Pattern[str]:
    parts = [r"([^.]+)" if part == "*" else re.escape(part) for part in plain_path(key).split(".")]
    return re.compile(r"\.".join(parts) + r"(?=\.|$)")


def _filled(new: str, found: tuple[str, ...]) -> str:
    """`new` with each `*` replaced by what the star of the same place stood for."""
    stars = iter(found)
    return ".".join(next(stars, part) if part == "*" else part for part in new.split("."))
