"""What a stage has to say, as data: the key of a sentence and its values.

No stage but the report knows words: it makes the text in a language of its own (`report.i18n`).  A value is a number, a
name that is the same in every language (a call, a path, a command), or a message itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = "str | int | float | Message"


@dataclass(frozen=True, slots=True)
class Message:
    """One sentence: `key` names it, `values` are what it is filled with, by name.

    >>> say("place.step", number=3)
    Message(key='place.step', values=(('number', 3),))
    """

    key: str
    values: tuple[tuple[str, Value], ...] = ()


def say(key: str, /, **values: Value) -> Message:
    """The sentence `key` with `values`."""
    return Message(key, tuple(values.items()))


def listed(parts: Iterable[Value], *, by: str = "comma") -> Message:
    """`parts` one after the other, separated as a language does it: by `comma`, `semicolon` or `line`."""
    return Message(f"list.{by}", tuple((str(number), part) for number, part in enumerate(parts)))


def count(number: int, noun: str) -> Message:
    """So many of something: `1 call`, `1,243 calls`."""
    return Message(f"{'one' if number == 1 else 'many'}.{noun}", (("number", number),))


def number_in(value: Value) -> int:
    """The number that `count` was given; 0 of any other value.

    >>> number_in(count(1243, "call")), number_in("many")
    (1243, 0)
    """
    numbers = [part for name, part in value.values if name == "number"] if isinstance(value, Message) else []
    return next((number for number in numbers if isinstance(number, int)), 0)
