"""Pictures of images: reconstructions, samples, latent traversals, the manifold of a two-dimensional latent.

Images are floats in [0, 1] of shape [H, W, C] with C = 1 (grey, 1 is white) or 3 (RGB). Each block of images is tiled
into one array first, so a figure has one Axes per block, however many images it shows.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from jaxvae.plots.style import (
    GREY,
    TEXT,
    WIDTH,
    Figure,
    grid_shape,
    new_figure,
    resolve,
    set_title,
    title_height,
    title_lines,
)

TILE = 0.8  # inches, the largest side of one image


def tile(images: ArrayLike, gap: int = 1) -> NDArray:
    """[R, K, H, W, C] -> [R H + (R - 1) gap, K W + (K - 1) gap, C]: R rows of K images with white gaps.

    Values are clipped to [0, 1]; NaN, which a diverged member decodes to, becomes mid-grey.
    """
    images = np.nan_to_num(np.clip(np.asarray(images, np.float32), 0, 1), nan=0.5)
    padded = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=1.0)
    rows, columns, height, width, channels = padded.shape
    picture = padded.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
    return picture[: rows * height - gap, : columns * width - gap]


def fold(images: ArrayLike, columns: int) -> NDArray:
    """[N, H, W, C] -> [R, columns, H, W, C], row by row, the last row filled up with white images."""
    images = np.asarray(images, np.float32)
    blank = np.ones((-len(images) % columns, *images.shape[1:]), np.float32)
    return np.concatenate([images, blank]).reshape(-1, columns, *images.shape[1:])


def show(axes: Axes, images: NDArray) -> tuple[NDArray, NDArray]:
    """Draw [R, K, H, W, C] without frame or ticks; return the y of the row centres [R] and the x of the columns [K]."""
    rows, columns, height, width, channels = images.shape
    gap = max(1, round(width / 16))
    picture = tile(images, gap)
    axes.imshow(picture[..., 0] if channels == 1 else picture, cmap="gray", vmin=0, vmax=1)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=TEXT)
    axes.set_xticks([])
    axes.set_yticks([])
    centres = np.arange(rows) * (height + gap) + (height - 1) / 2, np.arange(columns) * (width + gap) + (width - 1) / 2
    return centres


def block_figure(
    shape: Sequence[int],
    names: Collection[str],
    colors: Mapping[str, str],
    title: str,
    note: str,
    margin: tuple[float, float],
    widest: int = 4,
    least: float = 0.0,
) -> tuple[Figure, Sequence[Axes]]:
    """A figure for blocks of [R, K, H, W, C] images, sized to them.

    Args:
        shape: of one block.
        names: of the blocks, their titles; at most `widest` stand side by side.
        colors: name -> colour.
        title: above the figure.
        note: below the figure.
        margin: (width, height) in inches around a block for its own labels, with one line for its name.
        widest: see `names`.
        least: inches that an image is high at least.
    """
    rows, columns = grid_shape(len(names), widest)
    tall, wide = shape[0], shape[1]
    aspect = shape[2] / shape[3]
    side = min(TILE, (WIDTH / columns - margin[0]) / wide, max(7.0 / tall, least) / aspect)
    width = columns * (wide * side + margin[0])
    height = rows * (tall * side * aspect + margin[1] + title_height(names))
    figure = new_figure(max(width, 4.5), height + (0.68 if note else 0.45), title, note)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[len(names) :]:
        axes.remove()
    for axes, name in zip(panels, names, strict=False):
        set_title(axes, name, colors[name])
    return figure, panels[: len(names)]


def reconstructions(
    original: ArrayLike, reconstructed: Mapping[str, ArrayLike], colors: Mapping[str, str] | None = None
) -> Figure:
    """The originals [N, H, W, C] in the top row, below them one row per label of their reconstructions [N, H, W, C]."""
    colors = resolve(colors, reconstructed)
    images = np.stack([np.asarray(row, np.float32) for row in (original, *reconstructed.values())])
    title = "Images (top row) and their reconstructions"
    names, size = [title_lines(name) for name in ("original", *reconstructed)], TEXT
    if max(name.count("\n") for name in names) > 1:
        names, size = [title_lines(name, 36) for name in ("original", *reconstructed)], 0.75 * TEXT
    longest = max(len(line) for name in names for line in name.splitlines())
    margin = max(1.0, 0.45 + 0.009 * size * longest)
    least = size / 72 * 1.35 * max(name.count("\n") + 1 for name in names)
    figure, (axes,) = block_figure(images.shape, [""], {"": "black"}, title, "", margin=(margin, 0.0), least=least)
    rows, _ = show(axes, images)
    axes.set_yticks(rows, names, fontweight="bold", fontsize=size)
    for text, name in zip(axes.get_yticklabels()[1:], reconstructed, strict=True):
        text.set_color(colors[name])
    return figure


def samples(images: Mapping[str, ArrayLike], colors: Mapping[str, str] | None = None) -> Figure:
    """A nearly square block per label of images [N, H, W, C] decoded from the prior, the same latents in each block."""
    colors = resolve(colors, images)
    columns = int(np.ceil(np.sqrt(np.shape(next(iter(images.values())))[0])))
    blocks = {name: fold(values, columns) for name, values in images.items()}
    shape = next(iter(blocks.values())).shape
    note = "The same place in every block decodes the same latent." if len(blocks) > 1 else ""
    figure, panels = block_figure(
        shape, blocks, colors, "Samples: images decoded from the prior", note, margin=(0.1, 0.3)
    )
    for axes, block in zip(panels, blocks.values(), strict=True):
        show(axes, block)
    return figure


def class_samples(
    images: Mapping[str, ArrayLike], classes: Sequence[str], colors: Mapping[str, str] | None = None
) -> Figure:
    """What a conditional model makes of each class: a row per class, a column per latent; label -> [K, S, H, W, C]."""
    colors = resolve(colors, images)
    shape = np.shape(next(iter(images.values())))
    note = "A column decodes one latent, drawn from the prior, with every label."
    widest = 2 if len(images) <= 4 else 4
    figure, panels = block_figure(shape, images, colors, "Samples by class", note, margin=(0.9, 0.35), widest=widest)
    for axes, block in zip(panels, images.values(), strict=True):
        rows, _ = show(axes, np.asarray(block, np.float32))
        axes.set_yticks(rows, classes)
    return figure


def interpolations(images: Mapping[str, ArrayLike], note: str, colors: Mapping[str, str] | None = None) -> Figure:
    """Straight lines through the latent space, decoded: a row per line; label -> [N, S, H, W, C]."""
    colors = resolve(colors, images)
    shape = np.shape(next(iter(images.values())))
    title = "Interpolations between the latents of two images"
    widest = 2 if len(images) <= 4 else 4
    figure, panels = block_figure(shape, images, colors, title, note, margin=(0.1, 0.35), widest=widest)
    for axes, block in zip(panels, images.values(), strict=True):
        show(axes, np.asarray(block, np.float32))
    return figure


def traversals(
    images: Mapping[str, ArrayLike],
    values: ArrayLike,
    kl: Mapping[str, ArrayLike],
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """What one latent dimension changes: each row moves one dimension through `values` and holds the others.

    Args:
        images: label -> [D, S, H, W, C], dimensions by descending KL.
        values: [S], the positions of the latent in units of the prior's standard deviation.
        kl: label -> [D] in nats per image, printed beside each row.
        colors: label -> colour; the palette of the labels by default.
    """
    colors = resolve(colors, images)
    values = np.asarray(values, float)
    note = "Each row moves one latent dimension, the most informative first. Beside it: its KL in nats per image."
    shape = np.shape(next(iter(images.values())))
    title = "Latent traversals: what each dimension encodes"
    figure, panels = block_figure(shape, images, colors, title, note, margin=(0.5, 0.6))
    ticks = [0, len(values) // 2, len(values) - 1]
    for axes, (name, block) in zip(panels, images.items(), strict=True):
        rows, columns = show(axes, np.asarray(block, np.float32))
        axes.set_yticks(rows, [f"{value:.2f}" for value in np.asarray(kl[name], float)], color=GREY)
        axes.set_xticks(columns[ticks], [f"{value:g}".replace("-", "−") for value in values[ticks]])
        axes.set_xlabel("latent value", fontsize=TEXT)
    return figure


def manifold(images: Mapping[str, ArrayLike], quantiles: ArrayLike, colors: Mapping[str, str] | None = None) -> Figure:
    """The decoded plane of a two-dimensional latent, a picture per label; z₁ grows to the right and z₂ upwards.

    Args:
        images: label -> [Q, Q, H, W, C]; images[name][i, j] is decoded at z₂ = quantile i and z₁ = quantile j.
        quantiles: [Q] ascending probabilities in (0, 1): the grid is even in the prior's probability.
        colors: label -> colour; the palette of the labels by default.
    """
    colors = resolve(colors, images)
    quantiles = np.asarray(quantiles, float)
    ticks = np.unique(np.linspace(0, len(quantiles) - 1, 3).round().astype(int))
    names = [f"{quantile:.0%}" for quantile in quantiles[ticks]]
    shape = np.shape(next(iter(images.values())))
    widest = 2 if len(images) <= 4 else 4
    note = "Axes: percentiles of the standard normal prior."
    figure, panels = block_figure(
        shape, images, colors, "The latent plane, decoded", note, margin=(0.65, 0.65), widest=widest
    )
    for axes, block in zip(panels, images.values(), strict=True):
        rows, columns = show(axes, np.asarray(block, np.float32)[::-1])
        axes.set_xticks(columns[ticks], names)
        axes.set_yticks(rows[::-1][ticks], names)
        axes.set_xlabel("z₁", fontsize=TEXT)
        axes.set_ylabel("z₂", fontsize=TEXT, rotation=0, labelpad=8)
    return figure
