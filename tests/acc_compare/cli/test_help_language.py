"""Help in Chinese: when it is, and that nothing of a command is left out of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from acc_compare.cli import main, make_app
from acc_compare.cli.chinese import OPTIONS, PROSE
from acc_compare.cli.help_language import asked_language, in_chinese
from acc_compare.report.wrapping import columns

CHINESE = re.compile("[\u4e00-\u9fff]")


def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}".strip())


def test_every_command_and_every_option_is_told() -> None:
    known = dict(commands(typer.main.get_command(make_app())))
    assert set(PROSE) == set(known)
    told = {
        parameter.help for command in known.values() for parameter in command.params if getattr(parameter, "help", 0)
    }
    assert told - set(OPTIONS) == set()


def test_commands_and_options_of_a_table_are_chinese() -> None:
    assert all(CHINESE.search(said) for said in (*PROSE.values(), *OPTIONS.values()))


def test_examples_stay_as_they_are() -> None:
    ours, theirs = (dict(commands(typer.main.get_command(make_app()))) for _ in range(2))
    in_chinese(theirs[""])
    for path, command in ours.items():
        lines = [line for line in command.help.splitlines() if re.match(r" +(acc|python|torchrun|tensorboard) ", line)]
        assert lines
        assert all(line in theirs[path].help for line in lines)


@pytest.mark.parametrize(
    ("arguments", "environment", "lang", "left"),
    [
        (["compare", "--help"], {}, "en", ["compare", "--help"]),
        (["compare", "--help", "--lang", "zh"], {}, "zh", ["compare", "--help"]),
        (["compare", "--lang=zh", "-h"], {}, "zh", ["compare", "-h"]),
        (["--lang", "zh", "--help"], {}, "zh", ["--help"]),
        (["--lang", "zh", "dump", "train.py"], {}, "zh", ["dump", "train.py"]),
        (["compare", "a", "b", "--lang", "zh"], {}, "en", ["compare", "a", "b", "--lang", "zh"]),
        (["dump", "train.py", "--help", "--lang", "zh"], {}, "en", ["dump", "train.py", "--help", "--lang", "zh"]),
        (["monitor", "show", "--help", "--lang", "zh"], {}, "zh", ["monitor", "show", "--help"]),
        (["compare", "--help"], {"LANG": "zh_CN.UTF-8"}, "zh", ["compare", "--help"]),
        (["compare", "--help"], {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en", ["compare", "--help"]),
        (["compare", "--help", "--lang", "en"], {"LANG": "zh_CN.UTF-8"}, "en", ["compare", "--help"]),
    ],
)
def test_who_asks_for_it(arguments: list[str], environment: dict[str, str], lang: str, left: list[str]) -> None:
    assert asked_language(arguments, environment) == (lang, left)


@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize("command", sorted(PROSE))
def test_it_is_printed_and_fits(capsys: Any, monkeypatch: pytest.MonkeyPatch, command: str, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main([*command.split(), "--help", "--lang", "zh"]) == 0
    printed = capsys.readouterr().out
    assert "用法：" in printed
    assert "Usage" not in printed
    prose = printed.partition("示例：")[0].partition("选项：")[0].splitlines()[1:]
    assert max(columns(line) for line in prose if CHINESE.search(line)) <= width


def test_english_stays_english(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    assert main(["compare", "--help"]) == 0
    assert not CHINESE.search(capsys.readouterr().out)
