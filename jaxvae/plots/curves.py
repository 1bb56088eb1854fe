"""Training curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from jaxvae.labels import in_order, label
from jaxvae.plots.style import (
    GREY,
    LONG,
    NATS,
    TEXT,
    WIDTH,
    Figure,
    lower_legend,
    new_figure,
    padded_limits,
    resolve,
    style_panel,
)

LINESTYLES = {"train": "solid", "test": "dashed"}
FEW = 10  # epochs; up to so many are marked one by one
DOTS = 25  # printed values that are shown of a long curve, evenly, so that ours remains to be seen


@dataclass(frozen=True)
class Curve:
    """One metric of the members that share a label, on one split; NaN from where a member diverged."""

    label: str
    split: str
    epochs: NDArray  # [E]
    values: NDArray  # [M, E]

    @property
    def survived(self) -> NDArray:
        """[M] bool: members whose every value is finite."""
        return np.all(np.isfinite(self.values), axis=1)


def group_curves(history: Sequence[Mapping], by: str, metric: str) -> list[Curve]:
    """The rows of one metric as a curve per value of `by` (numbers ascending) and split (train first)."""
    groups: dict[tuple, dict] = {}
    for row in history:
        member = groups.setdefault((row[by], row["split"]), {}).setdefault(row["member"], {})
        member[row["epoch"]] = row[metric] if row.get("alive", True) else np.nan
    curves = []
    values, splits = in_order(value for value, _ in groups), list(LINESTYLES)
    for value, split in sorted(groups, key=lambda key: (values.index(key[0]), splits.index(key[1]))):
        members = groups[value, split].values()
        epochs = sorted(set().union(*members))
        lines = [[member.get(epoch, np.nan) for epoch in epochs] for member in members]
        curves.append(Curve(label(by, value), split, np.array(epochs), np.array(lines, float)))
    return curves


def value_limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """Axis limits that show every member that survived, or all members if none did.

    The first twentieth of the epochs does not count, which on long curves would be all that one sees.
    """
    settled = [curve.values[:, len(curve.epochs) // 20 :] for curve in curves]
    survivors = [values[curve.survived].ravel() for values, curve in zip(settled, curves, strict=True)]
    found = survivors if any(values.size for values in survivors) else [values.ravel() for values in settled]
    return padded_limits(np.concatenate(found))


def line_style(split: str, epochs: int, color: str) -> dict:
    """Line2D properties: train solid with filled markers, test dashed with hollow ones, no markers on a long curve."""
    marker = {"marker": "o", "markersize": 5, "markerfacecolor": color if split == "train" else "white"}
    return {"color": color, "linestyle": LINESTYLES[split]} | (marker if epochs <= FEW else {})


def draw_curve(axes: Axes, curve: Curve, color: str) -> None:
    """Mean and range of the members that survived; each one that diverged on its own, up to a cross."""
    style = line_style(curve.split, len(curve.epochs), color)
    values = curve.values[curve.survived]
    if len(values):
        axes.plot(curve.epochs, values.mean(axis=0), **style, linewidth=1.8)
    if len(values) > 1:
        width = 4 if len(curve.epochs) == 1 else 0  # the band of a single epoch is only its outline
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(curve.epochs, low, high, color=color, alpha=0.15, linewidth=width)
    top = axes.get_ylim()[1]
    for member in curve.values[~curve.survived]:
        finite = np.flatnonzero(np.isfinite(member))
        last = finite[-1] if finite.size else 0
        height = np.fmin(member[last], top)  # a member that exploded, or never had a value, ends at the upper edge
        axes.plot(curve.epochs, member, **style, linewidth=1)
        axes.plot(curve.epochs[last], height, "x", color=color, markersize=8, markeredgewidth=2, clip_on=False)


def loss_curves(
    history: Sequence[Mapping],
    by: str = "beta",
    colors: Mapping[str, str] | None = None,
    printed: Mapping[str, Sequence[Mapping]] | None = None,
) -> Figure:
    """Loss, reconstruction and KL in nats per image against the epoch; loss = reconstruction + β KL.

    Members with the same value of `by` share a colour: their mean, and a band from the lowest to the highest. A member
    with a value that is not finite, or that is not alive, has diverged: it is drawn on its own, up to a cross at its
    last good value.

    Args:
        history: one row per member, epoch and split ("train" or "test") with the keys member, epoch, split, `by`,
            loss, reconstruction and kl; alive (bool) if a member can diverge and yet keep finite values; steps (int),
            after how many that was.
        by: the column that groups the members: a hyper-parameter, or texts that name the groups.
        colors: label -> colour; the palette of the labels by default.
        printed: label -> rows with the keys epoch, loss, reconstruction and kl (those that are known) to show as dots,
            such as a document's trace.
    """
    panels = [("loss", "Loss"), ("reconstruction", "Reconstruction"), ("kl", "KL")]
    curves = {metric: group_curves(history, by, metric) for metric, _ in panels}
    drawn = curves["loss"]
    colors = resolve(colors, [curve.label for curve in drawn])
    seeds = sorted({int(curve.survived.sum()) for curve in drawn} - {0})
    counts = " or ".join(map(str, seeds))
    note = f"Mean over {counts} seeds; bands reach from the lowest seed to the highest." if seeds[-1:] > [1] else ""
    figure = new_figure(WIDTH, 4.2, "Training curves: loss = reconstruction + β · KL", note)
    for axes, (metric, title) in zip(figure.subplots(1, 3, sharex=True), panels, strict=True):
        style_panel(axes, title, "epoch", NATS)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.set_ylim(value_limits(curves[metric]))
        for curve in curves[metric]:
            draw_curve(axes, curve, colors[curve.label])
        for name, rows in (printed or {}).items():
            points = [(row["epoch"], row[metric]) for row in rows if metric in row]
            every = 1 + len(points) // (DOTS + 1)
            shown = points[(len(points) - 1) % every :: every]  # the last one always
            axes.plot(*np.reshape(shown, (-1, 2)).T, linestyle="none", **dot(colors[name]))
    handles = legend_handles(drawn, colors) + divergence(history, by)
    if printed:
        handles.append(Line2D([], [], linestyle="none", label="document", **dot(GREY)))
    if any(len(curve.label) > LONG for curve in drawn):
        lower_legend(figure, handles)
    else:
        columns = 1 if len(handles) <= 12 else 2
        figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=TEXT, ncols=columns)
    return figure


def dot(color: str) -> dict:
    """Line2D properties of a printed value."""
    return {"marker": "D", "markersize": 4, "markerfacecolor": "none", "markeredgecolor": color, "zorder": 1}


def legend_handles(curves: Sequence[Curve], colors: Mapping[str, str]) -> list[Line2D]:
    """One legend for all panels: a colour per label, a line style per split."""
    labels = dict.fromkeys(curve.label for curve in curves)
    handles = [Line2D([], [], color=colors[name], linewidth=3, label=name) for name in labels]
    splits = {curve.split: len(curve.epochs) for curve in curves}
    handles += [Line2D([], [], label=split, **line_style(split, splits[split], GREY)) for split in splits]
    return handles


def divergence(history: Sequence[Mapping], by: str) -> list[Line2D]:
    """The cross, and how many members it stands for, after how many steps; nothing where none diverged."""
    newest = {(row[by], row["member"]): row for row in history if row["split"] == "train"}
    lost = [row for row in newest.values() if not (row.get("alive", True) and np.isfinite(row["loss"]))]
    if not lost:
        return []
    text = f"{len(lost)} of {len(newest)} diverged"
    steps = sorted({row["steps"] for row in lost if "steps" in row})
    if steps:
        last = f"{steps[0]} to {steps[-1]}" if len(steps) > 1 else f"{steps[0]}"
        text += f"\nafter {last} step{'s' * (last != '1')}"
    return [Line2D([], [], color=GREY, marker="x", linestyle="none", markeredgewidth=2, label=text)]
