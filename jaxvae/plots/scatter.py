"""Points of the plane by class: a latent space of two dimensions, or an embedding of a larger one."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from numpy.typing import ArrayLike

from jaxvae.plots.style import TEXT, WIDTH, Figure, grid_shape, new_figure, style_panel, title_height


def scatter(
    points: Mapping[str, ArrayLike],
    labels: ArrayLike,
    classes: Sequence[str],
    title: str,
    note: str = "",
    *,
    axis_names: tuple[str, str] = ("", ""),
    prior: bool = False,
) -> Figure:
    """A panel per label of points [N, 2], coloured by class.

    Args:
        points: label -> [N, 2].
        labels: [N] int, the same for every panel.
        classes: the name of each class.
        title: above the figure.
        note: below the figure.
        axis_names: of x and y; without them the axes have no ticks, as the numbers of an embedding mean nothing.
        prior: draw the circles that hold half and 95 % of a standard normal.
    """
    labels = np.asarray(labels)
    colors = [colormaps["tab10"](k % 10) for k in range(len(classes))]
    rows, columns = grid_shape(len(points), 2 if len(points) <= 4 else 4)
    side = min(5.0, (WIDTH - 1.2) / columns)
    if prior:
        note = f"{note} Dashed: the circles that hold half and 95 % of the prior.".lstrip()
    figure = new_figure(side * columns + 1.2, (side * 0.95 + title_height(points)) * rows + 0.8, title, note)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[len(points) :]:
        axes.remove()
    for (name, xy), axes in zip(points.items(), panels.flat, strict=False):
        x, y = np.asarray(xy, float).T
        style_panel(axes, name, *axis_names)
        axes.grid(visible=False)
        axes.scatter(x, y, s=5, c=[colors[k] for k in labels], linewidths=0, alpha=0.6)
        if prior:
            axes.set_aspect("equal", adjustable="datalim")
            for share in (0.5, 0.95):
                radius = float(np.sqrt(-2 * np.log(1 - share)))
                axes.add_patch(Circle((0, 0), radius, fill=False, color="black", linewidth=1, linestyle="dashed"))
        if not any(axis_names):
            axes.set_xticks([])
            axes.set_yticks([])
    handles = [
        Line2D([], [], marker="o", linestyle="none", color=color, label=name)
        for color, name in zip(colors, classes, strict=True)
    ]
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=TEXT)
    return figure
