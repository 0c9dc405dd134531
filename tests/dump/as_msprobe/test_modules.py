"""The import names of msprobe, and what answers to them."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dump import as_msprobe
from dump.as_msprobe.names import MODULES

CALLERS = [
    ("msprobe.pytorch", "PrecisionDebugger seed_all TrainerMon random_save AclGraphDumper acl_save"),
    ("msprobe.pytorch", "module_dump module_dump_end set_fx_dump_config set_ge_dump_config"),
    ("msprobe.pytorch.debugger.precision_debugger", "PrecisionDebugger module_dump"),
    ("msprobe.pytorch.dump.debugger.precision_debugger", "PrecisionDebugger"),
    ("msprobe.pytorch.common.utils", "seed_all"),
    ("msprobe.pytorch.monitor.module_hook", "TrainerMon"),
    ("msprobe.pytorch.monitor.csv2tb", "csv2tensorboard_by_step"),
    ("msprobe.core", "SingleSave SingleComparator"),
    ("msprobe.core.config_check", "ConfigChecker"),
    ("msprobe.core.monitor_v2.trainer", "TrainerMonitorV2"),
    ("msprobe.core.monitor.csv2db", "CSV2DBConfig csv2db"),
    ("msprobe.pytorch", "compare compare_distributed"),
    ("msprobe.pytorch.compile_accuracy_checker.precision_checker", "PrecisionChecker"),
    ("msprobe.core.common.exceptions", "MsprobeException"),
    ("torch_npu.contrib.monitor", "TrainerMon"),
]


@pytest.fixture
def answered() -> None:
    as_msprobe.answer()


@pytest.mark.usefixtures("answered")
@pytest.mark.parametrize(("module", "names"), CALLERS, ids=range(len(CALLERS)))
def test_what_frameworks_import_is_there(module: str, names: str) -> None:
    namespace: dict[str, object] = {}
    exec(f"from {module} import {', '.join(names.split())}", namespace)
    assert all(callable(namespace[name]) for name in names.split())


@pytest.mark.usefixtures("answered")
def test_every_name_of_the_table_is_found() -> None:
    for name in MODULES:
        module = importlib.import_module(name)
        assert [each for each in module.__all__ if not hasattr(module, each)] == []


@pytest.mark.usefixtures("answered")
def test_one_thing_has_one_identity_wherever_it_is_imported_from() -> None:
    import msprobe
    from msprobe.pytorch import PrecisionDebugger
    from msprobe.pytorch.debugger import precision_debugger

    import dump

    assert precision_debugger.PrecisionDebugger is PrecisionDebugger is dump.PrecisionDebugger
    assert msprobe.__version__ == as_msprobe.VERSION
    with pytest.raises(ImportError):
        exec("from msprobe.pytorch import nothing_like_it")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("msprobe.mindspore")


def _python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ACC_")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**env, **variables}
    )


@pytest.mark.slow
def test_a_process_that_is_started_answers_too(tmp_path: Path) -> None:
    variables = as_msprobe.answer_in_children({"dump_path": str(tmp_path / "from_parent"), "level": None})
    code = (
        "import importlib.util, sys\n"
        "assert importlib.util.find_spec('msprobe') is not None\n"
        "import msprobe\n"
        "assert 'torch' not in sys.modules\n"
        "from msprobe.pytorch import PrecisionDebugger\n"
        "print(PrecisionDebugger(dump_path='elsewhere', level='L0').config.dump_path)\n"
    )
    done = _python(code, **variables)
    assert (done.stdout.strip(), done.returncode) == (str(tmp_path / "from_parent"), 0)
    assert json.loads(variables["ACC_AS_MSPROBE_FLAGS"]) == {"dump_path": str(tmp_path / "from_parent")}


def test_torch_npu_does_not_seem_to_be_installed(tmp_path: Path) -> None:
    code = (
        "import importlib.util, sys\n"
        "from dump.as_msprobe import answer_torch_npu\n"
        "answer_torch_npu()\n"
        "print('torch_npu' in sys.modules, importlib.util.find_spec('torch_npu') is None)\n"
        "from torch_npu.contrib.monitor import TrainerMon\n"
        "print(TrainerMon.__name__)\n"
    )
    assert _python(code).stdout.split() == ["False", "True", "TrainerMon"]


def test_a_torch_npu_that_has_the_place_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "torch_npu" / "contrib").mkdir(parents=True)
    for name in ("__init__.py", "contrib/__init__.py"):
        (tmp_path / "torch_npu" / name).write_text("")
    (tmp_path / "torch_npu" / "contrib" / "monitor.py").write_text("TrainerMon = 'its own'\n")
    code = (
        "from dump.as_msprobe import answer_torch_npu\n"
        "answer_torch_npu()\n"
        "from torch_npu.contrib.monitor import TrainerMon\n"
        "print(TrainerMon)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    assert _python(code, PYTHONPATH=path).stdout.strip() == "its own"
