"""Sentences that can be said in every language of the catalogue.

A `Said` is its English text, a plain `str` to everybody who does not ask, and remembers from which message and values
it was made.  Plain text of earlier stages is recognised by the messages of `messages.elsewhere`; what is neither (names
of calls, paths, commands, numbers) is the same in every language.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from acc_compare.report.messages import CATALOGUE, LANGUAGES, Lang, elsewhere

_JOINS: dict[str, tuple[str, str]] = {
    "list.comma": (", ", "、"),
    "list.semicolon": ("; ", "；"),
    "list.line": ("\n", "\n"),
}
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


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
    """`parts` one after the other, separated as a language does it: by `comma`, `semicolon` or `line`."""
    return Said(f"list.{by}", {str(number): part for number, part in enumerate(parts)})


def in_language(text: str, lang: Lang) -> str:
    """`text` in `lang`; what the catalogue does not know stays as it is."""
    if lang == "en":
        return str(text)
    if isinstance(text, Said):
        return _filled(text.key, text.values, lang)
    return _recognised(str(text), lang)


def _filled(key: str, values: dict[str, object], lang: Lang) -> str:
    told = {name: in_language(value, lang) if isinstance(value, str) else value for name, value in values.items()}
    number = LANGUAGES.index(lang)
    if key in _JOINS:
        return _JOINS[key][number].join(str(value) for value in told.values())
    return CATALOGUE[key][number].format(**told)


def _recognised(text: str, lang: Lang) -> str:
    for pattern, key in _patterns():
        match = pattern.fullmatch(text)
        if match is not None:
            found = {name: in_language(value, lang) for name, value in match.groupdict().items()}
            return CATALOGUE[key][LANGUAGES.index(lang)].format(**found)
    return text


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """The messages of `elsewhere` as patterns, the one with the most text of its own first."""
    ranked = sorted(elsewhere.MESSAGES.items(), key=lambda item: -len(_PLACEHOLDER.sub("", item[1][0])))
    return tuple((re.compile(_pattern(english), re.DOTALL), key) for key, (english, _) in ranked)


def _pattern(template: str) -> str:
    parts = _PLACEHOLDER.split(template)
    return "".join(
        re.escape(part) if index % 2 == 0 else rf"(?P<{part}>.+?)" if part != "number" else r"(?P<number>[\d,]+)"
        for index, part in enumerate(parts)
    )
