"""The catalogue is whole: every message in both languages, every sentence of a finding in the catalogue."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare import compare
from acc_compare.report.advisor import advisor_text
from acc_compare.report.i18n import in_language
from acc_compare.report.messages import CATALOGUE, _merged

ROOT = Path(__file__).resolve().parents[3]
SOURCES = sorted((ROOT / "acc_compare").rglob("*.py"))
PLAIN = [
    "acc_compare/align/calls.py",
    "acc_compare/comparison.py",
    "acc_compare/judge/optimizer.py",
    "acc_compare/judge/verdict.py",
    "acc_compare/judge/accumulation.py",
    "acc_compare/align/recomputed.py",
    "acc_compare/load.py",
    "dump/format/reader.py",
]
"""Stages that write sentences of a finding as plain text."""

ELSEWHERE = {"_disagreement"}
"""Functions in them whose words go to the workbook alone."""

_ERRORS = ("Error", "Corrupt", "NotFound", "wrong_value")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_ENGLISH = re.compile(r"[A-Za-z]{2,}(?:,? (?:a |of )?[a-z']{2,}){2,}")
"""Three words in a row, the later ones not capitalised: no name, no command."""

_SAME_IN_BOTH = {"NPU", "NPU ", "rank {number}", "rank {rank} ", "{verdict}："}


@pytest.mark.parametrize("key", sorted(CATALOGUE))
def test_a_message_says_the_same_in_both_languages(key: str) -> None:
    english, chinese = CATALOGUE[key]
    assert sorted(set(_PLACEHOLDER.findall(english))) == sorted(set(_PLACEHOLDER.findall(chinese)))
    assert _CHINESE.search(chinese) or _is_frame(chinese) or chinese in _SAME_IN_BOTH
    assert not _CHINESE.search(english)
    assert not _ENGLISH.search(_PLACEHOLDER.sub("", chinese))


def _is_frame(template: str) -> bool:
    """Punctuation between values, no words."""
    return not re.search(r"\w", _PLACEHOLDER.sub("", template))


def _said() -> Iterator[str | re.Pattern[str]]:
    """The keys that the sources ask for; where a key is made from parts, a pattern."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say" and node.args:
                yield from _keys(node.args[0])
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "key":
                yield from _keys(node.value)


def _keys(node: ast.expr) -> Iterator[str | re.Pattern[str]]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _keys(node.body)
        yield from _keys(node.orelse)
    elif isinstance(node, ast.JoinedStr):
        parts = (re.escape(part.value) if isinstance(part, ast.Constant) else r"[\w ]+" for part in node.values)
        yield re.compile("".join(str(part) for part in parts))


def test_every_key_that_is_asked_for_is_there_and_every_message_is_asked_for() -> None:
    asked = list(_said())
    literal = {key for key in asked if isinstance(key, str)}
    patterns = [key for key in asked if isinstance(key, re.Pattern) and key.pattern != r"[\w ]+\.[\w ]+"]
    assert literal <= set(CATALOGUE)
    # `count` builds one.NOUN and many.NOUN; earlier stages' words are recognised, not asked for.
    left = {key for key in set(CATALOGUE) - literal if not key.startswith(("one.", "many.", "elsewhere."))}
    assert {key for key in left if not any(pattern.fullmatch(key) for pattern in patterns)} == set()


def _sentences(path: Path) -> Iterator[str]:
    """Texts of four words or more in a source, placeholders filled in; no docstrings, errors or types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        is_error = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(_ERRORS)
        is_elsewhere = isinstance(node, ast.FunctionDef) and node.name in ELSEWHERE
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_error or is_elsewhere or is_docstring or isinstance(node, (ast.Raise, ast.AnnAssign)):
            skipped |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if len(re.findall(r"[A-Za-z]{2,}", text)) >= 4:
            yield text


@pytest.mark.parametrize("name", PLAIN)
def test_sentences_of_earlier_stages_are_known_in_chinese(name: str) -> None:
    unknown = [text for text in _sentences(ROOT / name) if in_language(text, "zh") == text]
    assert unknown == [], (
        "give them a Chinese text in acc_compare/report/messages/elsewhere.py, or make them with say()"
    )


def test_sentences_are_seen() -> None:
    """The reading above finds what it looks for."""
    assert len(list(_sentences(ROOT / "acc_compare" / "judge" / "verdict.py"))) > 8


def left_in_english(page: str) -> list[str]:
    """English sentences on a Chinese page; commands and the user's own lines of code are none."""
    found = []
    for line in page.splitlines():
        is_command = re.match(r" +(?:- )?(?:acc|python|grep|torchrun) ", line)
        if not is_command and not line.startswith("  代码位置"):
            found += _ENGLISH.findall(line)
    return found


SAMPLES = [
    ("gelu_in_bfloat16", "statistics"),
    ("softmax_backward_scaled", "statistics"),
    ("nan_in_layer_norm", "statistics"),
    ("other_seed", "statistics"),
    ("other_learning_rate", "statistics"),
    ("real_data", "tensor"),
    ("md5", "md5"),
    ("healthy", "statistics"),
]


@pytest.mark.parametrize(("sample", "bench"), SAMPLES)
def test_no_english_is_left_on_the_page_of_a_sample(sample: str, bench: str) -> None:
    folder = ROOT / "sample_dumps"
    page = advisor_text(compare(folder / sample, folder / f"bench_{bench}").overall, lang="zh")
    assert left_in_english(page) == []
    assert len(page.splitlines()) <= 24


def _runs(make: Any) -> dict[str, Any]:
    """Findings of every kind that a few calls can show."""

    def one(name: str, wrote: float, *, read: float = 0.0, more: Any = None, shape: tuple[int, ...] = (16, 16)) -> Any:
        def run(*, is_npu: bool) -> Any:
            made = make.Run(device_name="SimulatedNPU", torch_version="2.13.0" if is_npu else "2.12.0")
            x = make.off(make.normal(16, 16), read if is_npu else 0.0)
            out = make.off(make.normal(*shape), wrote if is_npu else 0.0, seed=4)
            made.call(name, [x, 0.5 if is_npu else 0.25], [out])
            if more is not None:
                more(made, out, is_npu)
            return made

        return make.judged(run(is_npu=True), run(is_npu=False))

    def lone(made: Any, out: Any, is_npu: bool) -> None:
        given = out
        if is_npu:
            given = make.off(out, 0.1)
            made.call("Torch.erf.0.forward", [out], [given])
        made.call("Torch.tanh.0.forward", [given], [np.tanh(given)])

    def unseen(made: Any, out: Any, is_npu: bool) -> None:
        given = made.mark(make.off(out, 0.1 if is_npu else 0.0), grad_fn="ErfBackward0")
        made.call("Torch.tanh.0.forward", [given], [np.tanh(given)])

    def overwritten(made: Any, out: Any, is_npu: bool) -> None:
        given = made.same_memory(make.off(out, 0.1 if is_npu else 0.0), out)
        made.call("Torch.tanh.0.forward", [given], [np.tanh(given)])

    def reshaped(made: Any, out: Any, is_npu: bool) -> None:
        made.call("Torch.cat.0.forward", [out], [out[:8] if is_npu else out])

    return {
        "operator": one("Functional.gelu.0.forward", 1e-2),
        "random": one("Functional.dropout.0.forward", 1.0),
        "input": one("Functional.relu.0.forward", 0.1, read=0.1),
        "structure": one("Functional.relu.0.forward", 0.0, more=lone),
        "unseen": one("Functional.relu.0.forward", 0.0, more=unseen),
        "overwritten": one("Functional.relu.0.forward", 0.0, more=overwritten),
        "reshaped": one("Functional.relu.0.forward", 0.0, more=reshaped),
    }


def test_no_english_is_left_on_the_page_of_any_kind(make: Any) -> None:
    for name, finding in _runs(make).items():
        assert finding.suspects[0].kind in (name, "operator")
        page = advisor_text(finding, lang="zh")
        assert left_in_english(page) == [], page
        english = advisor_text(finding)
        assert not _CHINESE.search(english)


def test_english_left_behind_would_be_seen() -> None:
    assert left_in_english("  现象      everything it read is equal bit by bit") != []
    assert left_in_english("  传播      其后的 3 个调用，Functional.gelu.1.forward") == []


def test_a_key_stands_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        _merged({"a": ("x", "甲")}, {"a": ("y", "乙")})
