"""The same script under msprobe's TrainerMon and ours: same names, values equal to 1e-6.

A mean is compared to 1e-6 of the tensor's root mean square: where elements cancel, so do their digits.  Rows that
msprobe fills with nan, since the module's input has no gradient, are left out here.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from types import ModuleType

import file_modules
import pytest

from dump.monitor.output import find_runs
from dump.monitor.trainer import TrainerMon

DATA = Path(__file__).with_name("msprobe_26_2")
KINDS = sorted(path.name for path in DATA.glob("*.csv"))
Key = tuple[str, str, str, str]


def _train() -> ModuleType:
    return file_modules.load(DATA / "train.py", "monitored_train")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parity")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONITOR_OUTPUT_DIR", str(root))
        _train().train(TrainerMon, str(DATA / "monitor_config.json"))
    (run,) = find_runs(root)
    return run.path


def _rows(path: Path) -> dict[Key, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["vpp_stage"], row["name"], row["step"], row.get("micro_step", "")): row for row in rows}


def test_the_same_files(ours: Path) -> None:
    assert sorted(path.name for path in ours.glob("*.csv")) == KINDS
    for name in KINDS:
        theirs, own = ((folder / name).read_text(encoding="utf-8") for folder in (DATA, ours))
        assert own.splitlines()[0] == theirs.splitlines()[0]


@pytest.mark.parametrize("name", KINDS)
def test_the_same_names_and_values(name: str, ours: Path) -> None:
    theirs = {key: row for key, row in _rows(DATA / name).items() if row["shape"] != "nan"}
    found = _rows(ours / name)
    assert set(found) == set(theirs)
    for key, row in theirs.items():
        own = found[key]
        assert (own["shape"], own["dtype"]) == (row["shape"], row["dtype"])
        count = math.prod(int(size) for size in row["shape"].strip("[]").split(",") if size)
        for op in ("norm", "min", "max", "mean", "zeros", "nans"):
            allowed = 1e-5 * float(row["norm"]) / math.sqrt(count) if op == "mean" else 1e-15
            assert float(own[op]) == pytest.approx(float(row[op]), rel=1e-4, abs=allowed), (key, op)
