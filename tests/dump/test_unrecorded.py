"""What stands for a recorder that cannot be imported takes everything and does nothing."""

from __future__ import annotations

import pytest

from dump import unrecorded


def test_what_stands_for_a_class_and_for_a_function(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unrecorded, "_told", set())
    error = ImportError("no Node\nin two lines")
    recorder, function = (unrecorded.stand_in(name, error) for name in ("PrecisionDebugger", "module_dump"))
    made = recorder("config.json", model=1)
    assert isinstance(made, recorder)
    assert [made.start(1), recorder.stop(), made.step(), function(1, x=2)] == [None] * 4
    assert not hasattr(made, "__len__")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("(ImportError: no Node)")
