"""Pages made when they are asked for, and kept until their dumps have grown."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from acc_compare.comparison import compare
from acc_compare.messages import count, say
from acc_compare.report.formatting import stem_of
from acc_compare.report.html.dump_page import write_dump_pages
from acc_compare.report.html.frame import document
from acc_compare.report.html.markup import Markup, element, joined
from acc_compare.report.html.page import write_page
from acc_compare.report.i18n import text
from acc_compare.report.messages import Lang
from acc_compare.serving.library import Run, runs, state_of
from dump.format.errors import AccError

KEPT = 16
"""Sets of pages that are kept on disk."""

_INDEX = "index.html"


class NoSuchPage(Exception):
    """An address that leads to nothing."""


@dataclass(frozen=True, slots=True)
class Made:
    """Pages in a folder of their own: `first` is the one to begin with."""

    state: str
    folder: tempfile.TemporaryDirectory[str]
    first: str

    def read(self, name: str) -> bytes:
        wanted = name or self.first
        known = {entry.name for entry in os.scandir(self.folder.name)}
        if wanted not in known:
            raise NoSuchPage(name)
        return (Path(self.folder.name) / wanted).read_bytes()


class Pages:
    """What is served of the folder `root`.

    An address is `""` for the list of runs, `graph/KEY/FILE` for one run, `compare/KEY/KEY/FILE` for two; without FILE
    it is the first page.
    """

    def __init__(self, root: Path, *, lang: Lang = "en") -> None:
        self._root = root
        self._lang = lang
        self._made: OrderedDict[str, Made] = OrderedDict()
        self._lock = threading.Lock()
        runs(root)

    def state(self, address: str) -> str:
        """What the page at `address` would show the state of, were it made now.  Raises NoSuchPage, DumpError."""
        kind, chosen, _ = self._parse(address)
        return self._state(chosen) if kind else state_of(at for run in runs(self._root) for at in run.locations)

    def page(self, address: str) -> bytes:
        """The page at `address`, made anew where its dumps have grown.  Raises NoSuchPage; what else goes wrong is what
        the page says."""
        kind, chosen, name = self._parse(address)
        if not kind:
            return self._list()
        key = "/".join([kind, *(run.key for run in chosen)])
        with self._lock:  # one at a time: a comparison takes all cores as it is
            state = self._state(chosen)
            made = self._made.get(key)
            if made is None or made.state != state:
                try:
                    made = self._make(kind, chosen, state)
                except AccError as error:
                    return self._document([_card(str(error))], state)
                self._keep(key, made)
            return made.read(name)

    def close(self) -> None:
        """Remove what was made."""
        with self._lock:
            for made in self._made.values():
                made.folder.cleanup()
            self._made.clear()

    def _parse(self, address: str) -> tuple[str, list[Run], str]:
        if not address:
            return "", [], ""
        kind, *rest = address.split("/")
        wanted = {"graph": 1, "compare": 2}.get(kind, 0)
        if not wanted or len(rest) != wanted + 1:
            raise NoSuchPage(address)
        known = {run.key: run for run in runs(self._root)}
        if not set(rest[:-1]) <= known.keys():
            raise NoSuchPage(address)
        return kind, [known[key] for key in rest[:-1]], rest[-1]

    def _state(self, chosen: Sequence[Run]) -> str:
        return "-".join(run.state for run in chosen)

    def _keep(self, key: str, made: Made) -> None:
        before = self._made.pop(key, None)
        if before is not None:
            before.folder.cleanup()
        self._made[key] = made
        while len(self._made) > KEPT:
            self._made.popitem(last=False)[1].folder.cleanup()

    def _make(self, kind: str, chosen: Sequence[Run], state: str) -> Made:
        folder = tempfile.TemporaryDirectory(prefix="acc_serve_")
        write: Callable[[Sequence[Run], Path, str], str] = self._graph if kind == "graph" else self._compare
        try:
            return Made(state, folder, write(chosen, Path(folder.name), state))
        except BaseException:
            folder.cleanup()
            raise

    def _graph(self, chosen: Sequence[Run], folder: Path, state: str) -> str:
        return write_dump_pages(chosen[0].path, folder, stamp="", lang=self._lang, live=state)[0].name

    def _compare(self, chosen: Sequence[Run], folder: Path, state: str) -> str:
        found = compare(chosen[0].path, chosen[1].path, jobs=os.cpu_count() or 1)
        if len(found.findings) == 1:
            write_page(found.overall, folder / _INDEX, lang=self._lang, live=state)
            return _INDEX
        names = {stem_of(part): f"{stem_of(part)}.html" for part in found.findings}
        write_page(found.overall, folder / _INDEX, lang=self._lang, parts=found.findings, pages=names, live=state)
        for part in found.findings:
            write_page(part, folder / names[stem_of(part)], lang=self._lang, live=state)
        return _INDEX

    def _list(self) -> bytes:
        found = runs(self._root)
        state = state_of(at for run in found for at in run.locations)
        heads = [element("th", {"scope": "col"}, self._say(f"page.serve.{key}")) for key in ("run", "holds", "written")]
        lines = [element("tr", {}, heads, element("th", {"scope": "col"}, self._say("page.serve.against")))]
        lines += [self._line(run, found) for run in found]
        title = element("h1", {"id": "verdict-title"}, self._say("page.serve.title", folder=str(self._root)))
        hint = element("p", {"class": "hint"}, self._say("page.serve.hint" if found else "page.serve.none"))
        table = element("table", {"class": "runs"}, lines) if found else Markup("")
        section = element("section", {"class": "card", "aria-labelledby": "verdict-title"}, title, hint, table)
        return self._document([section], state)

    def _line(self, run: Run, found: Sequence[Run]) -> Markup:
        name = element("th", {"scope": "row"}, element("a", {"href": f"graph/{run.key}/"}, run.name))
        steps = len({at.step for at in run.locations})
        ranks = len({(at.rank, at.pid) for at in run.locations})
        holds = element(
            "td", {}, self._say("page.serve.places", steps=count(steps, "step"), ranks=count(ranks, "rank"))
        )
        written = element("td", {}, _last_written(run))
        others = [
            element("li", {}, element("a", {"href": f"compare/{run.key}/{other.key}/"}, other.name))
            for other in found
            if other.key != run.key
        ]
        summary = element("summary", {}, self._say("page.serve.choose"))
        against = element("details", {}, summary, element("ul", {}, others)) if others else Markup("")
        return element("tr", {}, name, holds, written, element("td", {}, against))

    def _document(self, body: Sequence[Markup], state: str) -> bytes:
        title = self._say("page.serve.title", folder=str(self._root))
        pieces = document(body, title=title, sections=[], lang=self._lang, kind="dump", live=state)
        return "".join(pieces).encode("utf-8", "replace")

    def _say(self, key: str, **values: object) -> str:
        return text(say(key, **values), self._lang)  # type: ignore[arg-type]


def _card(message: str) -> Markup:
    return element("section", {"class": "card incomplete", "id": "verdict"}, element("p", {}, joined(message)))


def _last_written(run: Run) -> str:
    times = []
    for at in run.locations:
        files = at.path.glob("*.json") if at.path.is_dir() else [at.path]
        times += [file.stat().st_mtime for file in files if file.is_file()]
    return datetime.fromtimestamp(max(times)).strftime("%Y-%m-%d %H:%M:%S") if times else "–"
