"""The comparison as one html file that needs nothing else: verdict, curves, heat maps."""

from __future__ import annotations

from html import escape

from acc_compare.monitor.advisor import advisor_text
from acc_compare.monitor.model import MonitorFinding
from acc_compare.monitor.svg import curve_svg, heat_svg, text_of
from acc_compare.report.safe_text import visible

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:980px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
h1{font-size:1.5em}h2{font-size:1.15em;margin:2em 0 .3em}h3{font-size:1em;margin:1.4em 0 .2em;font-weight:600}
.badge{color:#fff;padding:.1em .5em;border-radius:.2em;font-size:.8em;vertical-align:.1em}
.same{background:#2e7d32}.different{background:#c62828}.incomplete{background:#9a6700}
pre{background:#f6f6f6;padding:1em;overflow-x:auto;font-size:13px;line-height:1.4}
svg{width:100%;height:auto;display:block}.tick{font-size:11px;fill:#555}.frame{fill:none;stroke:#bbb}
.grid{stroke:#eee}path{fill:none;stroke-width:1.5;stroke-linejoin:round;stroke-linecap:round}
.npu{stroke:#d95f02}.bench{stroke:#1b9e77;stroke-width:3.5}.apart{stroke:#7570b3}
.limit{stroke:#999;stroke-dasharray:4 3}.origin{stroke:#c62828;stroke-dasharray:2 3}
.key{font-size:13px;color:#555}.key b{font-weight:600}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_KEY = (
    '<p class="key"><b style="color:#d95f02">NPU</b> over <b style="color:#1b9e77">bench</b>; below, '
    '<b style="color:#7570b3">how far apart</b> they are and <b style="color:#777">what noise explains</b> (dashed)'
    "{origin}.</p>"
)


def html_page(finding: MonitorFinding) -> str:
    """Self-contained: no script runs and nothing is fetched; every name is escaped."""
    verdict = escape(finding.verdict)
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY, quote=True)}">',
        f"<title>Monitored runs: {verdict}</title><style>{_STYLE}</style></head><body>",
        f'<h1>Monitored runs <span class="badge {verdict}">{verdict.upper()}</span></h1>',
        f"<pre>{escape(visible(advisor_text(finding)))}</pre>",
    ]
    if finding.curves:
        step = finding.origins[0].step if finding.origins else None
        origin = "" if step is None else f'; the <b style="color:#c62828">red line</b> is step {step}'
        parts += ["<h2>Curves of the worst series</h2>", _KEY.format(origin=origin)]
        for curve in finding.curves:
            parts.append(f"<h3>{text_of(curve.name, 100)} <small>{escape(curve.table)}, rank {curve.rank}</small></h3>")
            parts.append(curve_svg(curve, step))
    for heat in finding.heat_maps:
        hidden = f", {heat.hidden:,} calmer ones left out" if heat.hidden else ""
        parts.append(f"<h2>{escape(heat.table)}, rank {heat.rank}: distance by step</h2>")
        parts.append(f'<p class="key">{len(heat.names):,} series in the order of the model{hidden}.</p>')
        parts.append(heat_svg(heat))
    parts.append("</body></html>\n")
    return "\n".join(parts)
