"""A recorded training that is killed at any moment: what was written is a whole beginning of the full dump."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability.killed import kill

pytestmark = pytest.mark.slow

MODES: dict[str, tuple[dict[str, Any], int]] = {  # settings, and how many are killed
    "md5": ({"statistics": {"summary_mode": "md5"}}, 20),
    "tensor": ({"task": "tensor"}, 20),
    "tensor, a file a mention, no buffer": ({"task": "tensor", "file_format": "pt", "buffer_mb": 0}, 6),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(("settings", "kills"), MODES.values(), ids=MODES)
def test_what_a_killed_recording_leaves_is_a_beginning_of_the_whole(
    tmp_path: Path, settings: dict[str, Any], kills: int
) -> None:
    found = kill(tmp_path, settings, kills=kills)
    assert max(found.lengths) <= found.whole
    # Without tensor files the whole run may be over before half a second's records are first written.
    if "statistics" not in settings:
        assert any(0 < length < found.whole for length in found.lengths), found.lengths
