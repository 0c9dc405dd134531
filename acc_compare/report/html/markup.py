"""Elements of html, with every text in them escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape

from acc_compare.report.safe_text import visible

_VOID = frozenset(("meta", "br", "input"))


class Markup(str):
    """Text that is html already."""

    __slots__ = ()


def element(name: str, attributes: Mapping[str, object] | None = None, *children: str | Iterable[str]) -> Markup:
    """`<name attributes>children</name>`.  Children that are no Markup are text; of an attribute, None and False leave
    it out and True leaves its value out."""
    head = "".join(_attribute(key, value) for key, value in (attributes or {}).items())
    if name in _VOID:
        return Markup(f"<{name}{head}>")
    return Markup(f"<{name}{head}>{joined(*children)}</{name}>")


def joined(*children: str | Iterable[str]) -> Markup:
    """Children one after the other."""
    parts = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(str(child))
        elif isinstance(child, str):
            parts.append(escape(visible(child)))
        else:
            parts.append(str(joined(*child)))
    return Markup("".join(parts))


def data_block(name: str, value: object) -> Markup:
    """JSON that a script reads by the id `name`; nothing in it can end the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return Markup(f'<script type="application/json" id="{name}">{text}</script>')


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    return f" {key}" if value is True else f' {key}="{escape(visible(str(value)), quote=True)}"'
