"""In which language help is shown, and how a command's help becomes Chinese."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from acc_compare.cli.chinese import FRAME, OPTIONS, PROSE

_HELP = {"-h", "--help"}
_WIDEST = 96


def asked_language(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """`zh` or `en` for help, and the arguments without the `--lang` that asked for it.

    `--lang` counts where help is asked for, or before the command; else it is an option of the command.  Without it the
    locale says it.
    """
    left = list(arguments)
    place = next((at for at, word in enumerate(left) if word == "--lang" or word.startswith("--lang=")), -1)
    first_word = next((at for at, word in enumerate(left) if not word.startswith("-")), len(left))
    if place >= 0 and (place < first_word or shows_help(left)):
        value = left[place].partition("=")[2] if "=" in left[place] else "".join(left[place + 1 : place + 2])
        del left[place : place + (1 if "=" in left[place] else 2)]
        return ("zh" if value == "zh" else "en"), left
    known = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return ("zh" if known.lower().startswith("zh") else "en"), left


def shows_help(arguments: Sequence[str]) -> bool:
    """Is `--help` asked of a command of ours, and not of a script that it runs?"""
    words = 0
    for at, word in enumerate(arguments):
        if word in _HELP:
            return True
        is_value = at > 0 and arguments[at - 1] == "--lang"
        words += not word.startswith("-") and not is_value
        if words > (2 if arguments[0] == "monitor" else 1):
            return False
    return False


def in_chinese(command: Any, path: str = "") -> None:
    """Make the help of a command and of all below it Chinese; what has no translation stays."""
    if path in PROSE:
        _, mark, examples = (command.help or "").partition("\b\n")
        command.help = _wrapped(PROSE[path]) + (f"\n\n\b\n{examples}" if mark else "")
        command.short_help = PROSE[path].partition("\n")[0]
    for parameter in command.params:
        told = getattr(parameter, "help", None)
        if isinstance(told, str) and told in OPTIONS:
            parameter.help = OPTIONS[told]
    for name, inner in getattr(command, "commands", {}).items():
        in_chinese(inner, f"{path} {name}".strip())


def _wrapped(prose: str) -> str:
    """Paragraphs as wide as the terminal: click would count a Chinese character as one column."""
    from acc_compare.report.wrapping import wrap

    width = max(30, min(_WIDEST, shutil.get_terminal_size().columns) - 4)
    return "\n\n".join("\b\n" + "\n".join(wrap(part, width=width)) for part in prose.split("\n\n"))


@contextmanager
def chinese_frame() -> Iterator[None]:
    """What is printed meanwhile, with its headings in Chinese."""
    kept, sys.stdout = sys.stdout, io.StringIO()
    try:
        yield
    finally:
        printed, sys.stdout = sys.stdout.getvalue(), kept
        print("".join(map(_framed, printed.splitlines(keepends=True))), end="")


def _framed(line: str) -> str:
    text = line.lstrip(" ")
    for english, chinese in FRAME.items():
        if text.startswith(english):
            return line[: len(line) - len(text)] + chinese + text[len(english) :]
    shown = OPTIONS["Show this message and exit."]
    return (
        line.replace("Show this message and exit.", shown)
        .replace("[default: ", "[默认：")
        .replace("[required]", "[必需]")
    )
