"""Curves and heat map as PNG, drawn by matplotlib where it is installed (the extra `plots`)."""

from __future__ import annotations

import importlib.util
import io
from typing import Any

import numpy as np

from acc_compare.monitor.model import Curve, MonitorFinding
from acc_compare.monitor.scales import COLOURS, NAN_COLOUR, NOTHING_COLOUR, thin_ticks
from acc_compare.report.i18n import quantity
from acc_compare.report.safe_text import one_line

_DPI = 110
_LONGEST_NAME = 60


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def curves_png(finding: MonitorFinding) -> bytes:
    """The first table's worst series, two panels each; empty where nothing is to be drawn."""
    curves = [curve for curve in finding.curves if curve.table == finding.curves[0].table][:4]
    if not curves:
        return b""
    step = finding.origins[0].step if finding.origins else None
    height = 3.1 * len(curves) + 0.4
    figure = _figure(11, height)
    # Fixed margins: a layout that is computed draws everything twice more.
    figure.subplots_adjust(left=0.1, right=0.985, top=1 - 0.35 / height, bottom=0.5 / height, hspace=0.32)
    panels = figure.subplots(2 * len(curves), 1, squeeze=False, height_ratios=[3, 2] * len(curves))
    for number, curve in enumerate(curves):
        _draw_curve(panels[2 * number][0], panels[2 * number + 1][0], curve, step)
    panels[-1][0].tick_params(labelbottom=True)
    panels[-1][0].set_xlabel("step")
    return _png(figure)


def _draw_curve(sizes: Any, gaps: Any, curve: Curve, step: int | None) -> None:
    sizes.plot(curve.steps, _drawn(curve.bench), color="#1b9e77", linewidth=3, label="bench")
    sizes.plot(curve.steps, _drawn(curve.npu), color="#d95f02", linewidth=1.2, label="NPU")
    gaps.plot(curve.steps, _drawn(curve.limit), color="#999999", linestyle="--", linewidth=1, label="noise explains")
    gaps.plot(curve.steps, _drawn(curve.apart), color="#7570b3", linewidth=1.2, label="apart")
    sizes.set_title(f"{_plain(curve.name)}  ({_plain(curve.table)}, rank {curve.rank})", fontsize=10, loc="left")
    sizes.set_ylabel(curve.statistic)
    gaps.set_ylabel("distance")
    sizes.tick_params(labelbottom=False)
    gaps.tick_params(labelbottom=False)
    for panel in (sizes, gaps):
        panel.set_yscale("log")
        panel.set_xlim(curve.steps[0], max(curve.steps[-1], curve.steps[0] + 1))
        panel.grid(alpha=0.25)
        if step is not None:
            panel.axvline(step, color="#c62828", linestyle=":", linewidth=1.2)
        panel.legend(loc="best", fontsize=7, framealpha=0.7)


def _drawn(numbers: Any) -> Any:
    """What a logarithmic axis can show; the rest is a gap."""
    return np.where(np.isfinite(numbers) & (numbers > 0), numbers, np.nan)


def heat_map_png(finding: MonitorFinding) -> bytes:
    """The first heat map; empty where there is none."""
    if not finding.heat_maps:
        return b""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    heat = finding.heat_maps[0]
    rows, bins = heat.apart.shape
    height = 0.2 * rows + 1.6
    figure = _figure(11, height)
    longest = max(len(_plain(name)) for name in heat.names)
    left = 0.02 + 0.0055 * longest
    figure.subplots_adjust(left=left, right=1.05, top=1 - 0.4 / height, bottom=0.6 / height)
    panel = figure.subplots()
    bounds = [0.0, *(limit for limit, _ in COLOURS)]
    colours = ListedColormap([colour for _, colour in COLOURS])
    panel.set_facecolor(NOTHING_COLOUR)
    shown = np.ma.masked_invalid(heat.apart)
    image = panel.pcolormesh(
        np.arange(bins + 1), np.arange(rows + 1), shown, cmap=colours, norm=BoundaryNorm(bounds, len(COLOURS))
    )
    lone = np.ma.masked_where(~np.isinf(heat.apart), np.ones(heat.apart.shape))
    panel.pcolormesh(np.arange(bins + 1), np.arange(rows + 1), lone, cmap=ListedColormap([NAN_COLOUR]))
    panel.set_yticks(np.arange(rows) + 0.5, [_plain(name) for name in heat.names], fontsize=7)
    ticks = thin_ticks(float(heat.edges[0]), float(heat.edges[-1] - 1))
    places = [float(np.searchsorted(heat.edges, tick, side="right") - 0.5) for tick in ticks]
    panel.set_xticks(places, [f"{tick:g}" for tick in ticks])
    panel.invert_yaxis()
    panel.set_xlabel("step")
    panel.set_title(f"{_plain(heat.table)}, rank {heat.rank}: distance (red: NaN or Inf on one side)", fontsize=10)
    bar = figure.colorbar(image, ax=panel, ticks=bounds[1:], pad=0.01)
    bar.ax.set_yticklabels([quantity(bound) for bound in bounds[1:]])
    return _png(figure)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def _plain(text: str) -> str:
    """A name with nothing in it that matplotlib would take for mathematics, or cannot show."""
    shown = one_line(text).encode("latin-1", "replace").decode("latin-1")
    if len(shown) > _LONGEST_NAME:
        shown = f"{shown[: _LONGEST_NAME // 2]}...{shown[-(_LONGEST_NAME // 2) :]}"
    return shown.replace("$", r"\$")


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()
