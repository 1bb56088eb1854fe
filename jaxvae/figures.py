"""The figures of a sweep: what a fitted `Progress` shows, one figure per question, grouped by one hyper-parameter."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae import latent, plots
from jaxvae.fit import Progress, Row, Sweep
from jaxvae.metrics import ACTIVE_VARIANCE, Evaluation, active_units
from jaxvae.models import encode

SHOWN_IMAGES = 12
SHOWN_SAMPLES = 36
SHOWN_DIMENSIONS = 10
WALK = np.linspace(-3.0, 3.0, 9, dtype=np.float32)


class NamedFigure(NamedTuple):
    """A figure, the name of its file without suffix, and what the reader sees."""

    name: str
    title: str
    caption: str
    figure: plots.Figure


@dataclass(frozen=True)
class Shown:
    """The member that stands for a label in the pictures: the first seed that is alive."""

    label: str
    params: dict
    kl: np.ndarray  # [Z] mean KL of each latent dimension, nats
    active: np.ndarray  # [Z] bool


def last_rows(history: list[Row], split: str) -> list[Row]:
    """The rows of the last epoch, one per member."""
    return [row for row in history if row["split"] == split and row["epoch"] == history[-1]["epoch"]]


def shown_members(sweep: Sweep, progress: Progress, evaluation: Evaluation, by: str) -> list[Shown]:
    """One living member for each value of `by`."""
    shown: dict[str, Shown] = {}
    for k, alive in enumerate(np.asarray(progress.state.alive)):
        name = plots.label(by, sweep.members.describe(k)[by])
        if alive and name not in shown:
            params = jax.tree.map(lambda x, k=k: x[k], progress.state.params)
            kl = np.asarray(evaluation.kl_per_dimension[k], np.float64).mean(axis=0)
            shown[name] = Shown(name, params, kl, active_units(np.asarray(evaluation.mean[k])))
    return list(shown.values())


def sweep_figures(sweep: Sweep, progress: Progress, evaluation: Evaluation, by: str = "beta") -> Iterator[NamedFigure]:
    """Yield every figure of a sweep over `by`; `evaluation` is that of `progress` on the test split."""
    model, shown = sweep.model, shown_members(sweep, progress, evaluation, by)
    colors = plots.palette(plots.label(by, float(row[by])) for row in last_rows(progress.history, "test"))
    images = sweep.test.image[:SHOWN_IMAGES].astype(jnp.float32) / 255.0

    yield NamedFigure(
        "curves",
        "Loss, reconstruction and KL",
        "Nats per image against the epoch. Train values are means over the epoch, while the model changes; test values "
        "are taken after it. Lines are means over the seeds, bands their range.",
        plots.loss_curves(progress.history, by, colors),
    )
    yield NamedFigure(
        "reconstructions",
        "Reconstructions",
        "Test images, and what the decoder makes of their posterior means.",
        plots.reconstructions(images, {s.label: latent.reconstruct(model, s.params, images) for s in shown}, colors),
    )
    z = jax.random.normal(jax.random.key(0), (SHOWN_SAMPLES, model.latent_dim))
    yield NamedFigure(
        "samples",
        "Samples from the prior",
        "The same latent vectors, drawn from N(0, I), decoded by every member.",
        plots.samples({s.label: latent.generate(model, s.params, z) for s in shown}, colors),
    )
    yield traversal_figure(sweep, shown, colors)
    yield NamedFigure(
        "rate_distortion",
        "Rate and distortion",
        "Test KL (the rate, what the latents carry) against test reconstruction (the distortion). Hollow: collapsed.",
        plots.rate_distortion(last_rows(progress.history, "test"), by, colors),
    )
    yield NamedFigure(
        "kl_per_dimension",
        "KL of each latent dimension",
        "Mean over the test images. Active: the posterior mean varies over the images with a variance above "
        f"{ACTIVE_VARIANCE} (Burda et al. 2016).",
        plots.kl_per_dimension({s.label: s.kl for s in shown}, {s.label: s.active for s in shown}, colors),
    )
    if model.latent_dim == 2:
        yield NamedFigure(
            "manifold",
            "The latent plane",
            "z decoded on the normal quantiles 0.05 to 0.95: first latent to the right, second upwards.",
            plots.manifold({s.label: latent.latent_plane(model, s.params) for s in shown}, latent.QUANTILES, colors),
        )


def traversal_figure(sweep: Sweep, shown: list[Shown], colors: dict[str, str]) -> NamedFigure:
    """Walk along the most informative dimensions from the posterior mean of the first test image."""
    image = sweep.test.image[:1].astype(jnp.float32) / 255.0
    walks, kl = {}, {}
    for s in shown:
        dimensions = jnp.argsort(-jnp.asarray(s.kl))[:SHOWN_DIMENSIONS]
        mean = encode(sweep.model, s.params, image).mean[0]
        walks[s.label] = latent.traverse(sweep.model, s.params, mean, dimensions, jnp.asarray(WALK))
        kl[s.label] = s.kl[dimensions]
    return NamedFigure(
        "traversals",
        "Latent traversals",
        "The first test image's posterior mean, one latent dimension at a time set to -3 ... 3; the most informative "
        "dimensions first, their KL beside them.",
        plots.traversals(walks, WALK, kl, colors),
    )
