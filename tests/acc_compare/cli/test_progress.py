from __future__ import annotations

import io
import time

import pytest

from acc_compare.cli.progress import Bars, amount


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "patience", "shows"),
    [(True, 0.0, True), (True, 60.0, False), (False, 0.0, False)],
)
def test_bars_are_for_long_work_on_a_terminal(terminal: bool, patience: float, shows: bool) -> None:
    stream = Terminal() if terminal else io.StringIO()
    with Bars(stream, patience=patience) as told:
        told("bytes", 10**9, 4 * 10**9)
        while shows and told._bars is None:
            time.sleep(0.01)
        told("calls", 5, 10)
        told("reports", 0, 0)
    assert bool(stream.getvalue()) == shows
    assert ("1.0 of 4.0 GB" in stream.getvalue()) == shows
    assert ("5 of 10" in stream.getvalue()) == shows


@pytest.mark.parametrize(
    ("unit", "done", "total", "speed", "text"),
    [
        ("bytes", 1.2e9, 6.8e9, 2.1e9, "1.2 of 6.8 GB, 2.1 GB/s"),
        ("calls", 500, 88320, 21000.4, "500 of 88,320, 21,000/s"),
        ("steps", 1, 8, 0.25, "1 of 8, 0.2/s"),
        ("steps", 0, 8, None, "0 of 8"),
        ("reports", 0, None, None, ""),
    ],
)
def test_amount(unit: str, done: float, total: float | None, speed: float | None, text: str) -> None:
    assert amount(unit, done, total, speed) == text
