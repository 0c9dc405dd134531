"""MD5 of many messages at once, against hashlib."""

from __future__ import annotations

import hashlib
import random
import threading
from typing import Any

import numpy as np
import pytest

from dump import native

pytestmark = pytest.mark.skipif(not hasattr(native.core, "md5"), reason="the native core is not built, or of before")


def md5(messages: list[bytes]) -> list[bytes]:
    assert native.core is not None
    held = [np.frombuffer(message, np.uint8) if message else None for message in messages]
    found: list[bytes] = native.core.md5([(0, 0) if h is None else (h.ctypes.data, h.nbytes) for h in held])
    return found


def expected(messages: list[bytes]) -> list[bytes]:
    return [hashlib.md5(message).digest() for message in messages]


def test_every_length_around_the_blocks() -> None:
    messages = [random.Random(length).randbytes(length) for length in range(301)]
    assert md5(messages) == expected(messages)
    assert md5(messages[::-1]) == expected(messages[::-1])


@pytest.mark.parametrize("count", [*range(9), 15, 16, 17, 31, 32, 33, 100])
def test_any_number_of_messages_of_any_length(count: int) -> None:
    chance = random.Random(count)
    lengths = (0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1000, 100_000)
    for _ in range(5):
        messages = [chance.randbytes(chance.choice(lengths)) for _ in range(count)]
        assert md5(messages) == expected(messages)


def test_one_long_message_beside_short_ones_and_memory_of_any_alignment() -> None:
    large = random.Random(0).randbytes((1 << 22) + 77)
    messages = [large[start:] for start in range(20)] + [b"", b"a", large[:64]]
    assert md5(messages) == expected(messages)
    whole = np.frombuffer(large, np.uint8)
    assert native.core is not None
    views = [(whole.ctypes.data + start, 1000) for start in range(40)]
    assert native.core.md5(views) == [hashlib.md5(large[start : start + 1000]).digest() for start in range(40)]


def test_threads_digest_at_once() -> None:
    messages = [random.Random(length).randbytes(length) for length in range(0, 200_000, 7001)]
    found: list[list[bytes]] = []
    threads = [threading.Thread(target=lambda: found.append(md5(messages))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected(messages)] * 3


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (None, TypeError),
        ([1], TypeError),
        ([(1,)], TypeError),
        ([(0, 4)], ValueError),
        ([(8, -1)], ValueError),
        ([("a", 1)], TypeError),
        ([(1 << 70, 1)], OverflowError),
        ([(1, 1 << 70)], OverflowError),
    ],
)
def test_what_is_no_memory_is_refused(given: Any, error: type[Exception]) -> None:
    assert native.core is not None
    with pytest.raises(error):
        native.core.md5(given)
