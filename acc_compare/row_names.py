"""Names of rows taken apart: the call and its argument."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_CALL = re.compile(
    r"(?P<call>(?:Module|Cell)\..*?\.(?:forward|backward|parameters_grad)\.\d+|.+?\.(?:forward|backward))\.(?P<argument>.+)",
    re.DOTALL,
)
_ARGUMENT = re.compile(r"(?P<call>.+?)\.(?P<argument>(?:input|output|parameters|written)(?:\..*)?)", re.DOTALL)


def split_names(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names of rows as (call, argument): `Functional.gelu.2.forward`, `output.0`."""
    call = start = "\0"
    for name in names:
        if name.startswith(start):  # rows of one call follow each other
            yield call, name[len(start) :]
            continue
        found = _CALL.fullmatch(name) or _ARGUMENT.fullmatch(name)
        if found is None:
            yield name, ""
            continue
        call, start = found["call"], f"{found['call']}."
        yield call, found["argument"]
