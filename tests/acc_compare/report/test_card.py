"""The card that a notebook shows."""

from __future__ import annotations

from html.parser import HTMLParser

from acc_compare.messages import say
from acc_compare.model import ComparedShare, Finding, Suspect
from acc_compare.report.card import card


class _Read(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _finding(*names: str) -> Finding:
    suspects = tuple(
        Suspect(
            kind="operator",
            name=name,
            step=1,
            rank=None,
            module="head",
            tensor="output.0",
            rel_l2=0.5,
            expected=0.1,
            excess=5.0,
            calls=1,
            message=say("kind.operator"),
        )
        for name in names
    )
    return Finding(
        verdict="different" if names else "same",
        summary=say("summary.suspect", name=names[0]) if names else say("summary.no_calls"),
        suspects=suspects,
        coverage=ComparedShare(calls=1, tensors=1, unmatched_npu=0, unmatched_bench=0),
        npu_path="<npu>",
    )


def test_the_verdict_and_the_first_suspects() -> None:
    read = _Read(card(_finding(*(f"Torch.op.{number}.forward" for number in range(8)))))
    assert read.open == []
    assert read.tags.count("tr") == 5
    assert {"DIFFERENT", "Torch.op.0.forward", "<npu>", "+ 3"} <= set(read.texts)
    same = _Read(card(_finding()))
    assert "SAME" in same.texts
    assert "table" not in same.tags


def test_names_are_text_and_never_markup() -> None:
    read = _Read(card(_finding("<script>alert(1)</script>")))
    assert "script" not in read.tags
    assert "<script>alert(1)</script>" in read.texts
