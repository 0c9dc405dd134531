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
from acc_compare.report import i18n
from acc_compare.report.advisor import advisor_text
from acc_compare.report.messages import CATALOGUE, LANGUAGES, en

ROOT = Path(__file__).resolve().parents[3]
ENGLISH = CATALOGUE["en"]
SOURCES = sorted((ROOT / "acc_compare").rglob("*.py"))
_PLACEHOLDER = re.compile(r"\{(\w+(?::[^}]*)?)\}")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_ENGLISH = re.compile(r"[A-Za-z]{2,}(?:,? (?:a |of )?[a-z']{2,}){2,}")
"""Three words in a row, the later ones not capitalised: no name, no command."""

_SAME_IN_BOTH = {"NPU", "NPU ", "rank {number}", "rank {rank}", "rank {ranks}", "{verdict}："}


def test_every_language_has_the_same_keys() -> None:
    assert {lang: set(table) for lang, table in CATALOGUE.items()} == {lang: set(ENGLISH) for lang in LANGUAGES}


@pytest.mark.parametrize("key", sorted(ENGLISH))
def test_a_message_says_the_same_in_both_languages(key: str) -> None:
    english, chinese = ENGLISH[key], CATALOGUE["zh"][key]
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
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in ENGLISH:
                yield node.value


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
    assert literal <= set(ENGLISH)
    # `count` builds one.NOUN and many.NOUN.
    left = {key for key in set(ENGLISH) - literal if not key.startswith(("one.", "many."))}
    assert {key for key in left if not any(pattern.fullmatch(key) for pattern in patterns)} == set()


STAGES = ("align", "error_patterns", "judge", "measured", "metrics")
_WORDS = re.compile(r"[a-z]{2,} [a-z]{2,} [a-z]{2,}")


def _phrases(path: Path) -> Iterator[str]:
    """Texts of three words or more in a source; no docstrings, no errors."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_error = isinstance(node, ast.Raise) or (
            isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Error", "Corrupt", "_wrong"))
        )
        is_table = isinstance(node, ast.Attribute) and node.attr == "split"
        if is_docstring or is_error or is_table:
            skipped |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            is_data = "\n" in node.value
            if _WORDS.search(node.value) and not is_data:
                yield node.value


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_before_the_report_knows_words(stage: str) -> None:
    sources = [
        path
        for path in (ROOT / "acc_compare" / stage).rglob("*.py")
        if path.name not in ("__main__.py", "mapping_file.py")  # a command, and what is wrong with a user's file
    ]
    found = {str(path.relative_to(ROOT)): list(_phrases(path)) for path in sources}
    assert {path: phrases for path, phrases in found.items() if phrases} == {}


def test_words_would_be_seen() -> None:
    """The reading above finds what it looks for."""
    assert len(list(_phrases(ROOT / "acc_compare" / "report" / "messages" / "en.py"))) > 50


def test_verdicts_do_not_hang_on_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every sentence replaced by its key, kinds, names and numbers are what they were."""

    def judged() -> list[object]:
        found = []
        for sample, bench in SAMPLES:
            folder = ROOT / "sample_dumps"
            comparison = compare(folder / sample, folder / f"bench_{bench}")
            found += [comparison.verdict, *((s.name, s.kind, s.tensor, s.pattern) for s in comparison.suspects)]
        return found

    before = judged()
    monkeypatch.setattr(en, "MESSAGES", {key: key for key in ENGLISH})
    monkeypatch.setitem(i18n.CATALOGUE, "en", {key: key for key in ENGLISH})
    assert judged() == before


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
    assert len(page.splitlines()) <= 26


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
