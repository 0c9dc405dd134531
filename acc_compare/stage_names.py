"""The modules of a pipeline's stages by the names of the other side's: layers are numbered anew in each stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import msgspec

from acc_compare.stages import Staged, kind_of
from dump.format.names import parse
from dump.format.schema import Dump

_Known = TypeVar("_Known")


def named_alike(ours: Staged, theirs: Staged) -> Staged:
    """`ours` with the calls of modules named as the other side's of the same class and number."""
    first = next(iter(ours.dumps.values()))
    names = _names_alike(first, next(iter(theirs.dumps.values())))
    line = ours.line
    if line is not None and theirs.line is not None and ours.batches == theirs.batches:
        known = _names_alike(line.dump, theirs.line.dump)
        dump, recorded = _with_names(line.dump, known), _keyed(line.names, known)
        line = replace(line, dump=dump, ranks=_keyed(line.ranks, known), names=recorded)
    dumps = {number: _with_names(dump, names) for number, dump in ours.dumps.items()}
    told = [_keyed(each, names) for each in ours.names]
    return replace(ours, dumps=dumps, line=line, ranks=_keyed(ours.ranks, names), names=told)


def _names_alike(ours: Dump, theirs: Dump) -> dict[str, str]:
    sides = [
        {
            (kind_of(known), known.number, known.direction): call.name
            for call in side.calls
            if (known := parse(call.name)).is_module
        }
        for side in (ours, theirs)
    ]
    return {name: sides[1][key] for key, name in sides[0].items() if key in sides[1]}


def _keyed(known: Mapping[str, _Known], names: Mapping[str, str]) -> dict[str, _Known]:
    return {names.get(name, name): value for name, value in known.items()}


def _with_names(dump: Dump, names: Mapping[str, str]) -> Dump:
    calls = tuple(msgspec.structs.replace(call, name=names.get(call.name, call.name)) for call in dump.calls)
    owners = {names.get(name, name): names.get(owner or "", owner) for name, owner in dump.owners.items()}
    return replace(dump, calls=calls, owners=owners, stacks=_keyed(dump.stacks, names))
