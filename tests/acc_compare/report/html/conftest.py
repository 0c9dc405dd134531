"""Pages taken apart as a browser takes them apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, FLAGS

from acc_compare.report.html.packing import unpack
from acc_compare.report.html.page import write_page


@dataclass
class Page(HTMLParser):
    """The elements of a page in order, with their attributes, and the text in each."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._inside = False

    __hash__ = object.__hash__

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = True
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.texts and self._inside:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def all(self, tag: str, **wanted: str) -> list[tuple[dict[str, str | None], str]]:
        """Attributes and text of the elements of that name."""
        return [
            (attributes, text)
            for (name, attributes), text in zip(self.elements, self.texts, strict=True)
            if name == tag and all(attributes.get(key.rstrip("_")) == value for key, value in wanted.items())
        ]

    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.elements if "id" in attributes]

    def data(self) -> Any:
        ((_, text),) = self.all("script", id="data")
        return json.loads(text)

    def cells(self, name: str, part: int = 0) -> list[object]:
        """A column of the table, unpacked."""
        column = next(column for column in self.data()["columns"] if column["name"] == name)
        ((_, block),) = self.all("script", id=f"b{column['blocks'][part]}")
        return unpack(block)


@pytest.fixture
def taken_apart() -> Callable[[Path], Page]:
    """A page on disk, taken apart."""

    def take(path: Path) -> Page:
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        page.close()
        return page

    return take


@pytest.fixture
def opened(tmp_path: Path, taken_apart: Callable[[Path], Page]) -> Callable[..., Page]:
    """Write a finding as a page and take it apart."""

    def open_page(finding: Any, **options: Any) -> Page:
        path = tmp_path / "page.html"
        path.unlink(missing_ok=True)
        write_page(finding, path, **options)
        return taken_apart(path)

    return open_page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page and wait until its script is done; whatever it complains of or asks for fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: Path, fragment: str = "", *, width: int = 1400, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: None if request.url.startswith("file:") else complaints.append(request.url))
        tab.goto(f"{path.as_uri()}{fragment}")
        tab.wait_for_selector("html[data-ready]", timeout=60_000)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
