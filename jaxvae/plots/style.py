"""What all figures share: labels, colours, text sizes, panels, and writing a PNG."""

import io
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.figure
import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import ArrayLike
from PIL import Image

from jaxvae.files import write_whole

DPI = 150
WIDTH = 10.0  # inches, so 1500 pixels; at 1000 pixels the smallest text is still 12 pixels high
TITLE, PANEL, TEXT = 14, 12, 10  # text sizes in points
NATS = "nats per image"
LONG = 24  # characters of a name; a longer one is broken into lines, or stands in a legend below
GREY, LIGHT = "#666666", "#cccccc"


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure outside pyplot's global state that shows itself at the end of a notebook cell."""

    def _repr_png_(self) -> bytes:
        return png(self)


def palette(labels: Iterable[str]) -> dict[str, str]:
    """One colour per label, repeated labels count once.

    Dark to bright in the order given: the perceptually ordered, colour-blind safe `plasma`, without its yellow end,
    which does not show on white. Up to ten labels of several scalars each, "lr = 0.005, β = 1", have no such order and
    get the well distinguishable colours of `tab10`.
    """
    names = list(dict.fromkeys(labels))
    if any(", " in name for name in names) and len(names) <= 10:
        return {name: to_hex(colormaps["tab10"](k)) for k, name in enumerate(names)}
    return {
        name: to_hex(colormaps["plasma"](x)) for name, x in zip(names, np.linspace(0.02, 0.7, len(names)), strict=True)
    }


def resolve(colors: Mapping[str, str] | None, labels: Iterable[str]) -> Mapping[str, str]:
    """The caller's colours, or the palette of these labels."""
    return palette(labels) if colors is None else colors


def new_figure(width: float, height: float, title: str, note: str = "") -> Figure:
    """A white figure of width x height inches with a bold title above and a grey reading aid below, wrapped to fit."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(textwrap.fill(title, int(9 * width)), fontsize=TITLE, fontweight="bold")
    if note:
        lines = [textwrap.fill(line, int(14 * width)) for line in note.splitlines()]
        figure.supxlabel("\n".join(lines), fontsize=TEXT, color=GREY)
    return figure


def title_lines(name: str, width: int = LONG) -> str:
    """A name in lines of about `width` characters, never broken within "lr = 0.005" or a word."""
    if len(name) <= width:
        return name
    parts = [part.replace(" ", "\N{NO-BREAK SPACE}") if " = " in part else part for part in name.split(", ")]
    return "\n".join(
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in ", ".join(parts).splitlines()
    )


def set_title(axes: Axes, name: str, color: str) -> None:
    """A panel's name above it, in smaller letters where it takes several lines."""
    lines = title_lines(name)
    size = TEXT if "\n" in lines else PANEL
    axes.set_title(lines, fontsize=size, color=color, fontweight="bold", pad=8)


def title_height(names: Iterable[str]) -> float:
    """Inches that the highest of these names takes as a panel's title, beyond one line."""
    lines = max((title_lines(name).count("\n") for name in names), default=0)
    return 0.1 + 0.3 * lines if lines else 0.0


def lower_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """A legend below the panels, headed by the figure's note, for names too long to stand beside them."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, int(figure.get_figwidth() / (0.08 * longest + 0.6)))
    figure.set_figheight(figure.get_figheight() + 0.25 * -(-len(handles) // columns))
    place = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    legend = figure.legend(handles=handles, fontsize=TEXT, title=figure.get_supxlabel(), title_fontsize=TEXT, **place)
    legend.get_title().set_color(GREY)
    figure.supxlabel("")


def style_panel(axes: Axes, title: str, xlabel: str, ylabel: str, color: str = "black") -> None:
    """Title, axis labels and a light frame, the same in every chart."""
    set_title(axes, title, color)
    axes.set_xlabel(xlabel, fontsize=TEXT)
    axes.set_ylabel(ylabel, fontsize=TEXT)
    axes.tick_params(labelsize=TEXT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)


def padded_limits(values: ArrayLike, fraction: float = 0.05) -> tuple[float, float]:
    """Axis limits around the finite values with a margin, which is never zero; (0, 1) if there are none."""
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return 0.0, 1.0
    low, high = finite.min(), finite.max()
    margin = fraction * (high - low) or 0.05 * abs(high) or 1.0
    return float(low - margin), float(high + margin)


def grid_shape(count: int, widest: int = 4) -> tuple[int, int]:
    """Rows and columns for `count` panels: side by side up to `widest`, then even rows."""
    rows = -(-count // widest)
    return rows, -(-count // rows)


def png(figure: matplotlib.figure.Figure) -> bytes:
    """The figure as a PNG file at its own dpi, cropped to its contents."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi="figure", bbox_inches="tight", pad_inches=0.12)
    return buffer.getvalue()


def shrink(data: bytes, width: int) -> bytes:
    """A PNG as a smaller one for a page: at most `width` pixels wide, 128 colours that cover those there are."""
    with Image.open(io.BytesIO(data)) as image:
        image = image.convert("RGB")
        if image.width > width:
            image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image = image.quantize(128, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
        image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def save(figure: matplotlib.figure.Figure, path: str | os.PathLike) -> None:
    """Write the figure as PNG. Atomic: a reader sees the old file or the whole new one."""
    write_whole(path, png(figure))
