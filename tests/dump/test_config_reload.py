from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dump.config_reload import ReloadableConfig
from dump.format.errors import ConfigError


def _write(path: Path, content: dict[str, Any] | str) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_file_that_was_written_since_is_taken_over(tmp_path: Path) -> None:
    path = _write(tmp_path / "config.json", {"dump_enable": False})
    reloadable = ReloadableConfig(path, {})
    assert reloadable.config.dump_enable is False
    assert not reloadable.read_again()
    _write(path, {"dump_enable": True, "task": "tensor", "tensor": {"list": ["relu"]}})
    assert reloadable.read_again()
    assert (reloadable.config.dump_enable, reloadable.config.task, reloadable.config.api_list) == (
        True,
        "tensor",
        ("relu",),
    )
    assert not reloadable.read_again()


def test_a_relative_path_is_that_of_where_the_run_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = _write(Path("config.json"), {"dump_enable": False})
    reloadable = ReloadableConfig(path, {})
    monkeypatch.chdir("/")
    _write(tmp_path / path, {"dump_enable": True})
    assert reloadable.read_again()


def test_without_the_key_the_file_is_read_once(tmp_path: Path) -> None:
    path = _write(tmp_path / "config.json", {"level": "L1"})
    reloadable = ReloadableConfig(path, {})
    _write(path, {"dump_enable": False, "level": "mix"})
    assert not reloadable.read_again()
    assert reloadable.config.level == "L1"


@pytest.mark.parametrize("before", [True, False])
def test_a_key_that_is_taken_out_leaves_recording_as_it_is(tmp_path: Path, before: bool) -> None:
    path = _write(tmp_path / "config.json", {"dump_enable": before})
    reloadable = ReloadableConfig(path, {})
    _write(path, {"level": "mix"})
    assert reloadable.read_again()
    assert (reloadable.config.dump_enable, reloadable.config.level) == (before, "mix")


def test_flags_win_whenever_it_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path / "config.json", {"dump_enable": True, "level": "L0"})
    reloadable = ReloadableConfig(path, {"level": "L1", "rank": None})
    _write(path, {"dump_enable": True, "level": "mix", "rank": [3]})
    assert reloadable.read_again()
    assert (reloadable.config.level, reloadable.config.rank) == ("L1", frozenset({3}))


@pytest.mark.parametrize("wrong", ["{", {"dump_enabel": True}, {"dump_enable": "yes"}, {"dump_enable": 1}], ids=str)
def test_a_wrong_file_is_told_once_and_switches_off_until_it_is_right(tmp_path: Path, wrong: Any) -> None:
    path = _write(tmp_path / "config.json", {"dump_enable": True})
    reloadable = ReloadableConfig(path, {})
    _write(path, wrong)
    with pytest.raises(ConfigError, match=r"config\.json: "):
        reloadable.read_again()
    assert reloadable.config.dump_enable is False
    assert not reloadable.read_again()
    _write(path, {"dump_enable": True, "level": "L1"})
    assert reloadable.read_again()
    assert reloadable.config.dump_enable is True


def test_a_file_that_is_gone_for_a_moment_changes_nothing(tmp_path: Path) -> None:
    path = _write(tmp_path / "config.json", {"dump_enable": True})
    reloadable = ReloadableConfig(path, {})
    path.unlink()
    assert not reloadable.read_again()
    assert reloadable.config.dump_enable is True
