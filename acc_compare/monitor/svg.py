"""Curves and heat maps as inline SVG: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from acc_compare.monitor.model import Curve, HeatMap
from acc_compare.monitor.rows import Numbers
from acc_compare.monitor.scales import COLOURS, NAN_COLOUR, NOTHING_COLOUR, decades, logs_of, shade, thin_ticks
from acc_compare.report.i18n import quantity
from acc_compare.report.safe_text import one_line

_WIDTH, _LEFT, _RIGHT = 920, 70, 12
_PLOT = _WIDTH - _LEFT - _RIGHT
_LONGEST_NAME = 44


def text_of(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name fit for markup: printable, escaped, its middle cut where it is long."""
    shown = one_line(name)
    if len(shown) > longest:
        shown = f"{shown[: longest // 2 - 1]}…{shown[-(longest // 2) :]}"
    return escape(shown, quote=True)


def curve_svg(curve: Curve, origin_step: int | None) -> str:
    """Two panels over the same steps: what both runs measured, and how far apart they are beside what is expected."""
    top, middle, height = 20, 26, 120
    bottom = top + 2 * height + middle
    first, last = float(curve.steps[0]), float(curve.steps[-1])
    parts = [f'<svg viewBox="0 0 {_WIDTH} {bottom + 30}" role="img" aria-label="{text_of(curve.name)}">']
    sizes = [(curve.bench, "bench"), (curve.npu, "npu")]
    parts += _panel(curve.steps, sizes, top, height, (first, last), curve.statistic)
    gaps = [(curve.limit, "limit"), (curve.apart, "apart")]
    parts += _panel(curve.steps, gaps, top + height + middle, height, (first, last), "distance")
    for tick in thin_ticks(first, last):
        x = _x(tick, first, last)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text class="tick" x="{_LEFT}" y="{bottom + 27}">step</text>')
    if origin_step is not None and first <= origin_step <= last:
        x = _x(origin_step, first, last)
        parts.append(f'<line class="origin" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
    parts.append("</svg>")
    return "\n".join(parts)


def _panel(
    steps: Numbers,
    lines: list[tuple[Numbers, str]],
    top: int,
    height: int,
    ends: tuple[float, float],
    title: str,
) -> list[str]:
    low, high = decades([numbers for numbers, _ in lines])
    parts = [
        f'<rect class="frame" x="{_LEFT}" y="{top}" width="{_PLOT}" height="{height}"/>',
        f'<text class="tick" x="{_LEFT}" y="{top - 5}">{escape(title)}</text>',
    ]
    stride = max(1, (high - low + 3) // 4)
    for power in range(low, high + 1, stride):
        y = top + height - (power - low) / (high - low) * height
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + _PLOT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">1e{power}</text>')
    for numbers, name in lines:
        across: Numbers = _LEFT + (steps - ends[0]) / max(ends[1] - ends[0], 1.0) * _PLOT
        down: Numbers = top + height - (logs_of(numbers, low, high) - low) / (high - low) * height
        parts.append(f'<path class="{name}" d="{_path(across, down)}"/>')
    return parts


def _path(x: Numbers, y: Numbers) -> str:
    """Lines between neighbours that are there; a gap where one is not."""
    words, pen_down = [], False
    for px, py in zip(x.tolist(), y.tolist(), strict=True):
        if math.isfinite(py):
            words.append(f"{'L' if pen_down else 'M'}{px:.1f} {py:.1f}")
            if not pen_down:
                words.append("h0.1")  # a lone point shows as a dot
        pen_down = math.isfinite(py)
    return "".join(words)


def _x(step: float, first: float, last: float) -> float:
    return _LEFT + (step - first) / max(last - first, 1.0) * _PLOT


def heat_svg(heat: HeatMap) -> str:
    """A row for each series, a column for each bin of steps, darker where the runs are further apart."""
    left, cell_height, top = 330, 15, 8
    rows, bins = heat.apart.shape
    width = (_WIDTH - left - _RIGHT) / bins
    bottom = top + rows * cell_height
    parts = [f'<svg viewBox="0 0 {_WIDTH} {bottom + 64}" role="img" aria-label="heat map">']
    for row, name in enumerate(heat.names):
        y = top + row * cell_height
        parts.append(f'<text class="tick" x="{left - 6}" y="{y + 11}" text-anchor="end">{text_of(name)}</text>')
        start = 0
        colours = [shade(value) for value in heat.apart[row].tolist()]
        for column in range(1, bins + 1):  # neighbours of one colour are one rectangle
            if column == bins or colours[column] != colours[start]:
                x, span = left + start * width, (column - start) * width
                parts.append(
                    f'<rect x="{x:.1f}" y="{y}" width="{span + 0.2:.1f}" height="{cell_height - 1}" '
                    f'fill="{colours[start]}"/>'
                )
                start = column
    for tick in thin_ticks(float(heat.edges[0]), float(heat.edges[-1] - 1)):
        place = float(np.searchsorted(heat.edges, tick, side="right") - 1)
        x = left + min(place + 0.5, bins) * width
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text class="tick" x="{left - 6}" y="{bottom + 14}" text-anchor="end">step</text>')
    return "\n".join([*parts, *_legend(left, bottom + 26), "</svg>"])


def _legend(left: float, y: float) -> list[str]:
    parts = []
    entries = [
        (f"≤{quantity(limit)}" if number == 0 else quantity(limit), colour)
        for number, (limit, colour) in enumerate(COLOURS)
    ]
    entries += [("NaN on one side", NAN_COLOUR), ("no number", NOTHING_COLOUR)]
    x = min(left, _WIDTH - _RIGHT - sum(_entry_width(name) for name, _ in entries))
    for name, colour in entries:
        parts.append(f'<rect x="{x:.0f}" y="{y}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text class="tick" x="{x + 15:.0f}" y="{y + 10}">{escape(name)}</text>')
        x += _entry_width(name)
    return parts


def _entry_width(name: str) -> int:
    return 24 + 7 * len(name)
