"""Messages to text, in every language that there is a table for."""

from __future__ import annotations

import math
import re
from string import Formatter
from typing import Any

from acc_compare.messages import Message
from acc_compare.report.messages import CATALOGUE, LANGUAGES, Lang
from dump.format.errors import ConfigError

LONGEST_WORD = 4096
"""Characters of a name or path that are shown whole: no system has longer paths, no program longer names."""

_LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")
_HEAD, _TAIL = 120, 40

_JOINS: dict[str, dict[Lang, str]] = {
    "list.comma": {"en": ", ", "zh": "、"},
    "list.semicolon": {"en": "; ", "zh": "；"},
    "list.line": {"en": "\n", "zh": "\n"},
}


def text(message: Message | str, lang: Lang = "en") -> str:
    """`message` in `lang`; what is text already (a name, a path) is the same in every language, and shown whole but for
    the middle of words that no program has.

    Numbers are shown short (`quantity`, integers in groups of three) unless the sentence says how.  Raises KeyError
    where there is no such sentence, or a value is missing.
    """
    if isinstance(message, str):
        return message if len(message) <= LONGEST_WORD else _LONG_WORD.sub(_shortened, message)
    join = _JOINS.get(message.key)
    if join is not None:
        return join[lang].join(_shown(part, "", lang) for _, part in message.values)
    return _FILLERS[lang].format(CATALOGUE[lang][message.key], **dict(message.values))


def _shortened(match: re.Match[str]) -> str:
    word = match.group()
    return f"{word[:_HEAD]}[{len(word) - _HEAD - _TAIL:,}]{word[-_TAIL:]}"


def known_language(lang: str) -> Lang:
    """`lang` where there is a table for it.  Raises ConfigError."""
    for known in LANGUAGES:
        if lang == known:
            return known
    raise ConfigError(f"--lang: no advisor in language {lang!r}; known languages: {', '.join(LANGUAGES)}")


def quantity(value: float) -> str:
    """A measured number, short: `0.0016` is `1.6e-3`, `3e-07` is `3e-7`, `0.25` stays."""
    if not math.isfinite(value):
        return str(float(value))
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def factor(value: float, lang: Lang = "en") -> str:
    """How many times one number is another: `1.4`, `5,300`, `2.1e9`."""
    if not math.isfinite(value):
        return CATALOGUE[lang]["infinitely_many"]
    return f"{value:,.0f}" if 10 <= value < 1e7 else quantity(value)


class _Filler(Formatter):
    """Fills a sentence of one language; a value that is a message is said in the same one."""

    def __init__(self, lang: Lang) -> None:
        self._lang = lang

    def format_field(self, value: Any, format_spec: str) -> str:
        return _shown(value, format_spec, self._lang)


_FILLERS: dict[Lang, _Filler] = {lang: _Filler(lang) for lang in LANGUAGES}


def _shown(value: object, spec: str, lang: Lang) -> str:
    if isinstance(value, (Message, str)):
        return text(value, lang)
    if not isinstance(value, (int, float)):
        raise TypeError(f"expected a number, a text or a message, found {value!r}")
    if spec == "times":
        return factor(value, lang)
    if spec == "percent":
        return f"{100 * value:.2g} %"
    if spec:
        return format(value, spec)
    return f"{value:,}" if isinstance(value, int) else quantity(value)
