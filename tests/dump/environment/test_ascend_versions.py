from __future__ import annotations

from pathlib import Path

import pytest

from dump.environment import versions


@pytest.fixture(autouse=True)
def _no_ascend_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"):
        monkeypatch.delenv(variable, raising=False)


def _file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_nothing_installed_is_not_known(tmp_path: Path) -> None:
    assert (versions.cann_version(tmp_path), versions.driver_version(tmp_path)) == (None, None)


def test_what_the_installers_leave_behind(tmp_path: Path) -> None:
    _file(tmp_path / "driver" / "version.info", "package=driver\nVersion=24.1.rc3\n")
    _file(
        tmp_path / "ascend-toolkit" / "latest" / "aarch64-linux" / "ascend_toolkit_install.info",
        "package_name=Ascend-cann-toolkit\nversion=8.0.RC3\ninnerversion=V100\n",
    )
    assert versions.driver_version(tmp_path) == "24.1.rc3"
    assert versions.cann_version(tmp_path) == "8.0.RC3"


def test_the_toolkit_of_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _file(tmp_path / "latest" / "version.info", "version=7.0\n")
    chosen = _file(tmp_path / "chosen" / "compiler" / "version.info", "Version = 8.2.RC1\n").parents[1]
    monkeypatch.setenv("ASCEND_HOME_PATH", str(chosen))
    assert versions.cann_version(tmp_path) == "8.2.RC1"
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path / "gone"))
    assert versions.cann_version(tmp_path) == "7.0"


def test_a_file_without_a_version_says_nothing(tmp_path: Path) -> None:
    _file(tmp_path / "driver" / "version.info", "innerversion=1\n\xff")
    assert versions.driver_version(tmp_path) is None
