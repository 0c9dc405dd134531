from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.replay.speed import steps_under


def test_the_steps_of_a_script_are_read_from_what_it_prints(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import sys\nfor at in range(int(sys.argv[1])): print('step', at / 2)\nprint('loss 1')")
    assert steps_under([str(script)]) == [0.0, 0.5, 1.0, 1.5]


def test_a_script_that_ends_early_is_no_measure(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("print('step 1')\nraise SystemExit('no room')")
    with pytest.raises(SystemExit, match="no room"):
        steps_under([str(script)])
