"""Sentences that can be said in every language of the catalogue.

A `Said` is its English text, a plain `str` to everybody who does not ask, and remembers from which message and values
it was made.  What is no `Said` (names of calls, paths, commands, numbers) is the same in every language.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from acc_compare.report.messages import CATALOGUE, LANGUAGES, Lang

_JOINS: dict[str, tuple[str, str]] = {
    "list.comma": (", ", "、"),
    "list.semicolon": ("; ", "；"),
    "list.space": (" ", ""),
}


class Said(str):
    """One message of the catalogue with its values filled in, in English.

    Raises KeyError where the catalogue has no such message or a value is missing.
    """

    key: str
    values: dict[str, object]

    def __new__(cls, key: str, values: dict[str, object]) -> Said:
        made = super().__new__(cls, _filled(key, values, "en"))
        made.key, made.values = key, values
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.key, self.values


def say(key: str, /, **values: object) -> Said:
    """The message `key` of the catalogue with `values`, which may be sentences themselves.  Raises KeyError."""
    return Said(key, values)


def listed(parts: Iterable[str], *, by: str = "comma") -> Said:
    """`parts` one after the other, separated as a language does it: by a comma, a semicolon or a space."""
    return Said(f"list.{by}", {str(number): part for number, part in enumerate(parts)})


def in_language(text: str, lang: Lang) -> str:
    """`text` in `lang`; what is no `Said` stays as it is."""
    if lang == "en" or not isinstance(text, Said):
        return str(text)
    return _filled(text.key, text.values, lang)


def _filled(key: str, values: dict[str, object], lang: Lang) -> str:
    told = {name: in_language(value, lang) if isinstance(value, str) else value for name, value in values.items()}
    number = LANGUAGES.index(lang)
    if key in _JOINS:
        return _JOINS[key][number].join(str(value) for value in told.values())
    return CATALOGUE[key][number].format(**told)
