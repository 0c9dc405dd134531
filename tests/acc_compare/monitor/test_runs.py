from __future__ import annotations

from pathlib import Path

import pytest

from acc_compare.monitor.runs import open_run

ROW = "vpp_stage,name,step,norm\n0,weight,0,1.0\n"


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        ('{"device_name": "SimulatedNPU"}', True),
        ('{"device_name": "Ascend910B2"}', False),
        ('{"device_name": 5}', False),
        ("[1]", False),
        ("{", False),
        (None, False),
    ],
)
def test_a_simulated_npu_is_told(tmp_path: Path, meta: str | None, told: bool) -> None:
    folder = tmp_path / "Nov22_13-26-22-rank0"
    folder.mkdir()
    (folder / "grad_reduced_0-0.csv").write_text(ROW)
    if meta is not None:
        (folder / "monitor.json").write_text(meta)
    for path in (tmp_path, folder):
        note = f"{path} is of a simulated NPU: CPU kernels, no hardware."
        assert open_run(path).notes == ((note,) if told else ())
