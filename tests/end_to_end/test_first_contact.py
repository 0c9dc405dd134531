"""What a new user tries first: the version, completion, and modules of the user's own that bear our name."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import acc_compare

ROOT = Path(__file__).parents[2]
ACC = "import sys; sys.argv[0] = 'acc'; from acc_compare.cli import main; sys.exit(main())"


def _run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_version_is_told_and_costs_no_torch(tmp_path: Path) -> None:
    ran = _run("-m", "acc_compare", "--version", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (0, f"acc {acc_compare.__version__}\n")
    with contextlib.suppress(PackageNotFoundError):  # run from the tree
        assert version("acc-compare") == acc_compare.__version__
    asked = "import sys, dump, acc_compare; print(dump.__version__ == acc_compare.__version__, 'torch' in sys.modules)"
    assert _run("-c", asked, cwd=tmp_path).stdout.split() == ["True", "False"]


def test_a_shell_can_complete_commands(tmp_path: Path) -> None:
    ran = _run("-c", ACC, cwd=tmp_path, _ACC_COMPLETE="complete_bash", COMP_WORDS="acc co", COMP_CWORD="1")
    assert ran.stdout.split() == ["compare"]
    assert "--install-completion" in _run("-c", ACC, "--help", cwd=tmp_path).stdout


def test_completion_is_installed_for_the_command_however_it_was_called(tmp_path: Path) -> None:
    shell = tmp_path / "shell.sh"
    shell.write_text(f"{sys.executable} -m acc_compare --install-completion; . ~/.bashrc; complete -p acc")
    ran = subprocess.run(
        ["bash", shell],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "SHELL": "/bin/bash"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1].endswith(" acc")


def test_the_recorder_tells_its_version_too(tmp_path: Path) -> None:
    ran = _run("-m", "dump", "--version", cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"acc {acc_compare.__version__}\n", "")


@pytest.mark.slow
def test_beside_a_dump_py_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "dump.py").write_text("def answer(): return 42")
    (tmp_path / "train.py").write_text("import torch, dump; print(torch.ones(1).item(), dump.answer())")
    recorded = _run("-m", "acc_compare", "dump", "-o", "out", "train.py", cwd=tmp_path)
    assert (recorded.returncode, recorded.stdout) == (0, "1.0 42\n")
    compared = _run("-m", "acc_compare", "compare", "out", "out", cwd=tmp_path)
    assert compared.returncode == 0
    assert "with itself" in compared.stdout


@pytest.mark.parametrize(
    ("words", "own", "says"),
    [
        (["-m", "dump", "-s", "train.py"], "dump.py", True),
        (["-u", "-m", "dump", "--task", "tensor", "train.py"], "dump/__main__.py", True),
        (["-m", "dump", "-s", "train.py"], None, False),
        (["-m", "dump", "tables"], "dump.py", False),
        (["-m", "other", "dump", "-s"], "dump.py", False),
        (["run.py", "-m", "dump", "-s"], "dump.py", False),
        (["-m"], "dump.py", False),
    ],
)
def test_a_dump_py_that_runs_in_place_of_ours_is_told(
    tmp_path: Path, words: list[str], own: str | None, says: bool
) -> None:
    """What an installation lets Python read when it starts."""
    home = Path(acc_compare.__file__).parent
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "acc_compare.pth").write_bytes((home / "at_start.pth").read_bytes())
    (tmp_path / "same").symlink_to("site")
    if own is not None:
        (tmp_path / own).parent.mkdir(exist_ok=True)
        (tmp_path / own).write_text("print('mine')")
    start = (
        f"import site, sys; sys.orig_argv = ['python', *{words!r}]; site.addsitedir('site'); site.addsitedir('same')"
    )
    ran = _run("-c", start, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert ran.stderr.count("acc: note: ") == says
    if says:
        instead = " ".join(["python -m acc_compare dump", *words[words.index("dump") + 1 :]])
        assert ran.stderr.strip().endswith(instead)
    if words[0] == "-m" and (home.parent / "acc_compare.pth").exists():  # installed from a wheel
        real = _run(*words, cwd=tmp_path)
        assert real.stderr.count("acc: note: ") == says
