"""docs/compatibility.md is what the kept results say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import file_modules
import pytest

from dump.environment.versions import TESTED

HERE = Path(__file__).resolve().parent
REPORT = """<testsuites><testsuite>
<testcase classname="tests.a" name="one"/>
<testcase classname="tests.a" name="two"><skipped message="no such name"/></testcase>
<testcase classname="tests.a" name="three"><failure message="no"/></testcase>
<testcase classname="tests.b" name="four"><error message="no"/></testcase>
</testsuite></testsuites>"""
PROBE = {
    "torch": "2.1.2+cu121", "python": "3.11.7", "numpy": "1.26.4", "calls": 9, "simulated": "cpu",
    "left_out": {"module calls": "gone"}, "without": ["--audit of views"],
}  # fmt: skip


@pytest.fixture(scope="module")
def page() -> ModuleType:

    return file_modules.load(HERE / "page.py", "torches_page")


def test_the_page_is_what_the_results_say(page: ModuleType) -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page_of(page.read())


def test_a_run_is_counted_kept_and_shown(page: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    seen = page.outcome_of([report], PROBE, paths=["tests/dump"], quick=True)
    assert (seen.passed, seen.failed) == (1, ("tests.a::three", "tests.b::four"))
    assert seen.skipped == {"no such name": 1}
    assert "slow tests" not in page.page_of([seen])
    seen = replace(seen, slow_too=("tests/dump/test_bits.py",))
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    seen.save()
    assert page.read(tmp_path) == [seen]
    text = page.page_of([seen])
    for words in (
        "2.1.2+cu121",
        "module calls",
        "`tests.b::four`",
        "1 x no such name",
        "--audit of views",
        "slow tests of `tests/dump/test_b",
    ):
        assert words in text


def test_what_failed_is_counted_anew_when_it_is_run_again(page: ModuleType, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    before = replace(page.outcome_of([report], PROBE, paths=["tests"], quick=True), explained={"tests.b::four": "why"})
    report.write_text("""<testsuite><testcase classname="tests.a" name="three"/>
<testcase classname="tests.b" name="four">
<skipped message="collection skipped">('a.py', 3, 'Skipped: too old')</skipped>
</testcase></testsuite>""")
    now = page.outcome_of([report], {**PROBE, "python": "3.10.1"}, paths=["tests"], quick=False)
    seen = page.repeated(before, now)
    assert (seen.passed, seen.failed, seen.explained) == (2, (), {})
    assert seen.skipped == {"no such name": 1, "too old": 1}
    assert (seen.python, seen.repeated, seen.paths) == ("3.11.7; 3.10.1", now.date, ("tests",))
    assert page.node_of("tests.a::one[x.y]") == "tests/a.py::one[x.y]"


def test_the_torches_that_were_run_are_those_that_acc_env_knows(page: ModuleType) -> None:
    runs = page.read()
    assert (runs[-1].release[:2], runs[0].release[:2]) == TESTED
