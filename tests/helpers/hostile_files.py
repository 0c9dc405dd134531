"""Tensor files that must not be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dump.format.errors import TensorFileError
from dump.format.tensors import read_tensor


def refused(folder: Path, name: str, content: bytes) -> str:
    """What is said of a file `name` that holds `content`: one line, with what was expected and what was found."""
    (folder / name).write_bytes(content)
    with pytest.raises(TensorFileError) as caught:
        read_tensor(folder, name)
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    assert "found" in message
    return message
