"""A real browser for tests: Debian's Chromium without a window, steered by Playwright."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acc_compare.report.html import page as page_module

AXE = Path(page_module.__file__).parent / "source" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
CHROMIUM = shutil.which("chromium")
NEEDS_CHROMIUM = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
]


def until(tab: Any, condition: Callable[[], bool]) -> None:
    """Wait for what the page's own policy lets no foreign script wait for."""
    for _ in range(400):
        if condition():
            return
        tab.wait_for_timeout(25)
    raise AssertionError("it did not happen within ten seconds")


def accessible(tab: Any) -> None:
    """What axe finds of weight fails the test."""
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    found = tab.evaluate("axe.run()")["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")] == []
