from __future__ import annotations

import inspect
import runpy
from pathlib import Path

import pytest

from dump.record import stack


def _outer() -> stack.RawStack:
    return _inner()


def _inner() -> stack.RawStack:
    return stack.take()  # innermost


def test_the_innermost_frame_comes_first() -> None:
    lines = stack.render(_outer())
    assert f"File {__file__}, line" in lines[0]
    assert lines[0].endswith(", in _inner, \n return stack.take()  # innermost")
    assert lines[1].endswith(", in _outer, \n return _inner()")
    assert ", in test_the_innermost_frame_comes_first, \n lines = stack.render(_outer())" in lines[2]


def test_the_native_core_takes_what_python_takes() -> None:
    frame = inspect.currentframe()
    assert frame is not None
    assert stack._read_along(frame.f_back, stack._CALLER, stack._PLACE) == stack._in_python(frame.f_back)


def test_lines_are_those_that_python_names() -> None:
    here = inspect.currentframe()
    assert here is not None
    taken = (
        stack.take(),
        here.f_lineno,
    )
    line = stack.render(taken[0])[0]
    # A call that spans lines counts where it stands, which is a line above or that of the frame.
    assert int(line.split(", line ")[1].split(",")[0]) == taken[1] - 1


def test_frames_of_this_package_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "_OURS", str(Path(__file__).parent))
    assert not any(__file__ in line for line in stack.render(_outer()))
    assert stack.render(_outer())


def test_a_launched_script_ends_at_the_launcher(tmp_path: Path) -> None:
    script = tmp_path / "myrunpy.py"
    script.write_text("from dump.record import stack\ndef f():\n    return stack.take()\nfound = f()\n")
    lines = stack.render(runpy.run_path(str(script))["found"])
    assert lines == [
        f"File {script}, line 3, in f, \n return stack.take()",
        f"File {script}, line 4, in <module>, \n found = f()",
    ]


def test_source_that_is_gone_leaves_the_line_empty(tmp_path: Path) -> None:
    space = {"take": stack.take}
    exec(compile("\n\nfound = take()", str(tmp_path / "gone.py"), "exec"), space)
    assert stack.render(space["found"])[0] == f"File {tmp_path / 'gone.py'}, line 3, in <module>, \n "  # type: ignore[arg-type]
