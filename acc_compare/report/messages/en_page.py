"""What the page says beside the advisor's sentences, in English; its script is given the keys of `page.`"""

from __future__ import annotations

from collections.abc import Mapping

MESSAGES: Mapping[str, str] = {
    "page.title": "acc compare",
    "page.contents": "Contents of this page",
    "page.theme": "Light or dark",
    "page.no_script": "The plot, the module tree and the table need JavaScript; what stands above needs none.",
    "page.section.verdict": "Verdict",
    "page.section.suspects": "Suspects",
    "page.section.map": "Ranks and steps",
    "page.section.run": "Error through the run",
    "page.section.modules": "Modules",
    "page.section.rows": "All rows",
    "page.seen": "Could have seen",
    "page.sensitivity": (
        "in nine of ten calls an error of {mostly} of the result would have been accused, in every second call one of "
        "{median}, in all {calls} one of {all} (the weakest is {weakest})"
    ),
    "page.classic": "Classic rules",
    "page.measured": "measured",
    "page.expected": "expected",
    "page.excess": "of what is expected",
    "page.stack": "Stack",
    "page.to_row": "To its row in the table",
    "page.copy": "Copy",
    "page.map": (
        "The worst excess of each rank and step: how many times what is expected was measured. Underlined red: the "
        "two differ. A number that is a link leads to the page of that pair."
    ),
    "page.map_rest": "{number} pairs more, in the workbook",
    "page.plot.label": "Error of each call in the order of the run. Arrow keys move from call to call, S to a suspect.",
    "page.plot.hint": (
        "Click a call to see it. Drag to zoom, double-click to see all again. With the keyboard: arrows, S for the "
        "next suspect, Enter."
    ),
    "page.plot.call": "call, in the order of the run",
    "page.plot.forward": "forward",
    "page.plot.backward": "backward",
    "page.plot.optimizer": "optimizer",
    "page.plot.band": "expected of rounding and inputs",
    "page.plot.suspect": "suspect",
    "page.plot.equal": "equal",
    "page.plot.tip.error": "error {error}",
    "page.plot.tip.expected": "expected {expected}",
    "page.plot.tip.excess": "{excess} as much",
    "page.tree.open": "Unfold all",
    "page.tree.close": "Fold all",
    "page.tree.calm": "as expected",
    "page.tree.hot": "1,000 times",
    "page.tree.none": "outside of modules",
    "page.tree.calls": "calls: {number}",
    "page.tree.suspects": "suspects: {number}",
    "page.tree.only_npu": "on the NPU side only: {number}",
    "page.tree.only_bench": "on the bench side only: {number}",
    "page.filter.text": "Find a name, a module, a message ( / )",
    "page.filter.operator": "operator",
    "page.filter.result": "result",
    "page.filter.origin": "origin",
    "page.filter.direction": "direction",
    "page.filter.suspects": "suspects only",
    "page.filter.module": "module {module}",
    "page.filter.remove": "show other modules than {module} again",
    "page.filter.reset": "Show all",
    "page.table.columns": "Columns",
    "page.table.count": "{shown} of {all} rows",
    "page.table.none": "No row fits.",
    "page.table.link": "A link to this row",
    "page.detail.close": "Close",
    "page.detail.module": "module {module}",
    "page.detail.against": "compared with {call}",
    "page.detail.arguments": "Arguments of the call",
    "page.detail.argument": "argument",
    "page.detail.type": "type and shape",
    "page.detail.error": "error",
    "page.detail.expected": "expected",
    "page.detail.excess": "excess",
    "page.detail.origin": "origin",
    "page.flow.title": "Dataflow around this call",
    "page.flow.depth": "{number} calls deep",
    "page.flow.less": "Fewer calls",
    "page.flow.more": "More calls",
    "page.flow.hint": "Above: who made what it reads. Below: who reads what it makes. Click a call to go there.",
    "page.flow.left": "Not drawn, for want of room: {number}",
    "page.flow.alone": "No recorded call made what it reads, and none reads what it makes.",
}
