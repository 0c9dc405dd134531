"""The catalogue: every sentence of the advisor, in English and in Chinese side by side.

A message is a pair of templates with the same placeholders.  Each file holds those of one stage; a key stands once.
Sentences are made with `report.saying.say`; those of stages that write plain text are in `elsewhere`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from . import elsewhere, looks, page, settings, suspects

Lang: TypeAlias = Literal["en", "zh"]
LANGUAGES: tuple[Lang, ...] = ("en", "zh")

Message: TypeAlias = tuple[str, str]


def _merged(*parts: Mapping[str, Message]) -> dict[str, Message]:
    found: dict[str, Message] = {}
    for part in parts:
        for key, message in part.items():
            if key in found:
                raise ValueError(f"the message {key!r} stands in the catalogue twice")
            found[key] = message
    return found


CATALOGUE: Mapping[str, Message] = _merged(
    looks.MESSAGES, suspects.MESSAGES, settings.MESSAGES, page.MESSAGES, elsewhere.MESSAGES
)
