"""The roofline: what each kernel reaches of what memory and arithmetic allow (Williams et al. 2009)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxvae.plots.style import GREY, TEXT, Figure, new_figure, palette, style_panel

MARKERS = "osD^vP"


class Point(NamedTuple):
    """A measurement."""

    name: str  # gives the colour
    variant: str  # gives the marker
    intensity: float  # FLOPs a byte
    flops_per_second: float


def roofline(
    points: Sequence[Point], bytes_per_second: float, flops_per_second: Mapping[str, float], title: str
) -> Figure:
    """Points under the roof that a copy and matrix products have on this machine.

    Args:
        points: what was measured.
        bytes_per_second: of a copy, the sloping part.
        flops_per_second: of a matrix product, by the type of its operands: the flat parts.
        title: of the figure.
    """
    note = (
        "Both axes count the least that a call has to do. The roof was measured in the same run: a copy, and products."
    )
    figure = new_figure(10.0, 6.4, title, note)
    axes = figure.add_subplot()
    intensities = [point.intensity for point in points] + [f / bytes_per_second for f in flops_per_second.values()]
    x = np.geomspace(0.5 * min(intensities), 2.0 * max(intensities), 200)
    highest = max(flops_per_second.values())
    for name, peak in flops_per_second.items():
        axes.plot(x, np.minimum(bytes_per_second * x, peak), color=GREY, linewidth=1.2, zorder=1)
        axes.annotate(
            f"{name} product: {peak / 1e9:,.0f} GFLOP/s",
            (x[-1], peak),
            (0, 5 if peak == highest else -5),
            textcoords="offset points",
            ha="right",
            va="bottom" if peak == highest else "top",
            fontsize=TEXT,
            color=GREY,
        )
    middle = np.sqrt(x[0] * min(flops_per_second.values()) / bytes_per_second)
    axes.annotate(
        f"copy: {bytes_per_second / 1e9:,.1f} GB/s",
        (middle, bytes_per_second * middle),
        (-8, 6),
        textcoords="offset points",
        ha="right",
        fontsize=TEXT,
        color=GREY,
    )
    colors = palette(point.name for point in points)
    variants = list(dict.fromkeys(point.variant for point in points))
    for point in points:
        axes.scatter(
            point.intensity,
            point.flops_per_second,
            s=48,
            color=colors[point.name],
            marker=MARKERS[variants.index(point.variant) % len(MARKERS)],
            edgecolors="white",
            linewidths=0.8,
            zorder=3,
        )
    for name, color in colors.items():
        axes.scatter([], [], s=48, color=color, label=name)
    for number, variant in enumerate(variants):
        axes.scatter([], [], s=48, color=GREY, marker=MARKERS[number % len(MARKERS)], label=variant)
    axes.set_xscale("log")
    axes.set_yscale("log")
    style_panel(axes, "", "FLOPs a byte", "FLOP/s")
    axes.legend(fontsize=TEXT, frameon=False, loc="lower right")
    return figure
