"""What the latents carry: rate against distortion, and the KL of each latent dimension."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from jaxvae.labels import in_order, label
from jaxvae.plots.style import (
    GREY,
    LIGHT,
    LONG,
    NATS,
    TEXT,
    WIDTH,
    Figure,
    grid_shape,
    lower_legend,
    new_figure,
    padded_limits,
    resolve,
    style_panel,
    title_height,
)


def rate_distortion(points: Sequence[Mapping], by: str = "beta", colors: Mapping[str, str] | None = None) -> Figure:
    """Each member's rate (KL) against its distortion (reconstruction), both in nats per image.

    Along a grey diagonal reconstruction + KL, the negative ELBO, is constant. Where the groups have an order, a line
    joins their means. Collapsed members are hollow; those that are not alive or not finite are counted, not drawn. The
    plane is that of Alemi et al., "Fixing a Broken ELBO", 2018.

    Args:
        points: one row per member with the keys `by`, reconstruction, kl, collapsed (bool); alive as in `loss_curves`.
        by: the column that groups the members: a hyper-parameter, or texts that name the groups.
        colors: label -> colour; the palette of the labels by default.
    """
    values = in_order(point[by] for point in points)
    joined = not any(isinstance(value, str) for value in values)
    colors = resolve(colors, [label(by, value) for value in values])
    good = [p for p in points if p.get("alive", True) and np.isfinite([p["kl"], p["reconstruction"]]).all()]
    notes = ["Line: means. " if joined else "", "Grey diagonals: equal reconstruction + KL, its value at the right.\n"]
    if any(point["collapsed"] for point in good):
        notes.append("Hollow: posterior collapse. ")
    if len(good) < len(points):
        notes.append(f"Not shown: {len(points) - len(good)} diverged.")
    figure = new_figure(0.75 * WIDTH, 5.4, "Rate against distortion: what each nat of KL buys", "".join(notes))
    axes = figure.subplots()
    style_panel(axes, "", f"rate: KL ({NATS})", f"distortion: reconstruction ({NATS})")
    axes.grid(visible=False)
    axes.set_xlim(padded_limits([point["kl"] for point in good], 0.15))
    axes.set_ylim(padded_limits([point["reconstruction"] for point in good], 0.15))
    draw_diagonals(axes)
    groups = {label(by, value): [point for point in good if point[by] == value] for value in values}
    places = {name: draw_group(axes, group, colors[name]) for name, group in groups.items() if group}
    if places and joined:
        axes.plot(*np.transpose([place.mean(axis=0) for place in places.values()]), color=GREY, linewidth=1.2, zorder=2)
    if any(len(name) > LONG for name in places):
        style = {"linestyle": "none", "marker": "o", "markersize": 7}
        lower_legend(figure, [Line2D([], [], color=colors[name], label=name, **style) for name in places])
    else:
        name_places(axes, {name: place.max(axis=0) for name, place in places.items()}, colors)
    return figure


def draw_group(axes: Axes, group: Sequence[Mapping], color: str) -> NDArray:
    """A marker per member, hollow if it collapsed; returns their places [M, 2]."""
    places = np.array([(point["kl"], point["reconstruction"]) for point in group])
    for (x, y), point in zip(places, group, strict=True):
        face = "white" if point["collapsed"] else color
        axes.plot(x, y, "o", color=color, markerfacecolor=face, markersize=7, markeredgewidth=1.6, zorder=3)
    return places


def draw_diagonals(axes: Axes) -> None:
    """Grey lines of constant x + y across the axes, with their sums where they leave on the right."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for total in MaxNLocator(8).tick_values(left + bottom, right + top):
        axes.axline((right, total - right), slope=-1, color=LIGHT, linewidth=0.8, zorder=0)
        if bottom <= total - right <= top:
            style = {"textcoords": "offset points", "va": "center", "color": GREY, "fontsize": TEXT}
            axes.annotate(f"{total:g}", (right, total - right), (3, 0), **style)


def name_places(axes: Axes, places: Mapping[str, NDArray], colors: Mapping[str, str]) -> None:
    """Write each name to the upper right of its place (x, y); one too close to the name before joins its text."""
    spans = np.array([np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())])
    style = {"textcoords": "offset points", "fontsize": TEXT, "fontweight": "bold"}
    previous, text = np.array([np.inf, np.inf]), None
    for name, place in places.items():
        if text is not None and np.hypot(*((place - previous) / spans)) < 0.05:
            text.set_text(f"{text.get_text()}, {name}")
        else:
            previous, text = place, axes.annotate(name, tuple(place), (7, 4), color=colors[name], **style)


def kl_per_dimension(
    kl: Mapping[str, ArrayLike], active: Mapping[str, ArrayLike], colors: Mapping[str, str] | None = None
) -> Figure:
    """The KL of each latent dimension in nats per image, largest first; active dimensions filled, the others grey.

    Args:
        kl: label -> [Z], any order.
        active: label -> [Z] bool in the order of `kl`.
        colors: label -> colour; the palette of the labels by default.
    """
    colors = resolve(colors, kl)
    rows, columns = grid_shape(len(kl))
    title = "KL of each latent dimension, largest first"
    note = "Filled: active dimensions. Grey: dimensions that ignore the image."
    counts = {name: f"{np.sum(active[name])} of {np.size(active[name])} active" for name in kl}
    after = "\n" if any(len(f"{name}: {counts[name]}") > LONG for name in kl) else " "
    names = {name: f"{name}:{after}{counts[name]}" for name in kl}
    height = 1.1 + (2.4 + title_height(names.values())) * rows
    figure = new_figure(max(WIDTH * columns / 4, 6.0), height, title, note)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in panels.flat[len(kl) :]:
        axes.remove()
    for index, (name, axes) in enumerate(zip(kl, panels.flat, strict=False)):
        values, alive = np.asarray(kl[name], float), np.asarray(active[name], bool)
        order = np.argsort(-values)
        xlabel = "rank of latent dimension" if index + columns >= len(kl) else ""
        style_panel(axes, names[name], xlabel, "", colors[name])
        if index % columns == 0:
            axes.set_ylabel(f"KL ({NATS})", fontsize=TEXT)
        faces = np.where(alive[order], colors[name], LIGHT)
        axes.bar(np.arange(1, values.size + 1), values[order], color=faces, edgecolor=faces, width=0.7)
        axes.set_xlim(0.2, values.size + 0.8)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return figure
