"""The figures of a sweep: what a fitted `Progress` shows, one figure per question, members named by what differs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae import latent, plots
from jaxvae.batches import to_float
from jaxvae.fit import Progress, Row, Sweep
from jaxvae.labels import member_label, varying
from jaxvae.metrics import ACTIVE_VARIANCE, Evaluation, active_units
from jaxvae.models import encode
from jaxvae.parallel import to_host
from jaxvae.sweep import HPARAMS

SHOWN_IMAGES = 12
SHOWN_SAMPLES = 36
SHOWN_LATENTS = 8
SHOWN_DIMENSIONS = 10
SHOWN_LINES, SHOWN_CLASSES, LINE_STEPS = 6, 10, 9
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
    mean: np.ndarray  # [N, Z] posterior means of the test split
    kl: np.ndarray  # [Z] mean KL of each latent dimension, nats

    @property
    def active(self) -> np.ndarray:
        """[Z] bool."""
        return active_units(self.mean)


def last_rows(history: Sequence[Row], split: str) -> list[Row]:
    """The rows of the last epoch, one per member."""
    return [row for row in history if row["split"] == split and row["epoch"] == history[-1]["epoch"]]


def labelled(history: Sequence[Row]) -> list[Row]:
    """The rows with a column `label`: the member's values of the scalars that differ between members."""
    names = varying(history, HPARAMS)
    return [{**row, "label": member_label(row, names)} for row in history]


def shown_members(progress: Progress, evaluation: Evaluation) -> list[Shown]:
    """One living member for each label."""
    shown: dict[str, Shown] = {}
    for k, row in enumerate(last_rows(labelled(progress.history), "test")):
        name = str(row["label"])
        if row["alive"] and name not in shown:
            params = jax.tree.map(lambda x, k=k: x[k], progress.state.params)
            kl = np.asarray(evaluation.kl_per_dimension[k], np.float64).mean(axis=0)
            shown[name] = Shown(name, params, np.asarray(evaluation.mean[k]), kl)
    return list(shown.values())


def sweep_figures(
    sweep: Sweep,
    progress: Progress,
    evaluation: Evaluation,
    printed: Mapping[str, Sequence[Mapping]] | None = None,
) -> Iterator[NamedFigure]:
    """Yield every figure of a sweep; `evaluation` is that of `progress` on the test split.

    `printed` gives label -> rows of a document's loss curve, shown beside ours.
    """
    model, shown, history = sweep.model, shown_members(progress, evaluation), labelled(progress.history)
    colors = plots.palette(str(row["label"]) for row in last_rows(history, "test"))
    images, labels = first_images(sweep, SHOWN_IMAGES)
    scalars = varying(progress.history, HPARAMS)

    yield NamedFigure(
        "curves",
        "Loss, reconstruction and KL",
        "Nats per image against the epoch. Train values are means over the epoch, while the model changes; test values "
        "are taken after it. Lines are means over the seeds, bands their range.",
        plots.loss_curves(history, "label", colors, printed),
    )
    yield NamedFigure(
        "reconstructions",
        "Reconstructions",
        "Test images, and what the decoder makes of their posterior means.",
        plots.reconstructions(
            images, {s.label: latent.reconstruct(model, s.params, images, labels) for s in shown}, colors
        ),
    )
    if model.num_classes:
        yield class_figure(sweep, shown, colors)
    else:
        z = jax.random.normal(jax.random.key(0), (SHOWN_SAMPLES, model.latent_dim))
        yield NamedFigure(
            "samples",
            "Samples from the prior",
            "The same latent vectors, drawn from N(0, I), decoded by every member.",
            plots.samples({s.label: latent.generate(model, s.params, z) for s in shown}, colors),
        )
    yield interpolation_figure(sweep, shown, colors)
    yield traversal_figure(sweep, shown, colors)
    yield NamedFigure(
        "rate_distortion",
        "Rate and distortion",
        "Test KL (the rate, what the latents carry) against test reconstruction (the distortion). Hollow: collapsed.",
        plots.rate_distortion(last_rows(history, "test"), scalars[0] if len(scalars) == 1 else "label", colors),
    )
    yield NamedFigure(
        "kl_per_dimension",
        "KL of each latent dimension",
        "Mean over the test images. Active: the posterior mean varies over the images with a variance above "
        f"{ACTIVE_VARIANCE} (Burda et al. 2016).",
        plots.kl_per_dimension({s.label: s.kl for s in shown}, {s.label: s.active for s in shown}, colors),
    )
    if model.latent_dim == 2:
        yield scatter_figure(sweep, shown)
        if not model.num_classes:
            yield manifold_figure(sweep, shown, colors)


def first_images(sweep: Sweep, count: int) -> tuple[Array, Array]:
    """The first test images as floats in [0, 1], and their labels."""
    test = to_host(sweep.test)  # of arrays on several devices the first lines would be a program of all of them
    return to_float(jnp.asarray(test.image[:count])), jnp.asarray(test.label[:count])


def class_figure(sweep: Sweep, shown: list[Shown], colors: Mapping[str, str]) -> NamedFigure:
    """The same latents decoded with every label."""
    model = sweep.model
    z = jax.random.normal(jax.random.key(0), (SHOWN_LATENTS, model.latent_dim))
    images = {s.label: latent.generate_classes(model, s.params, z, model.num_classes) for s in shown}
    return NamedFigure(
        "class_samples",
        "Samples by class",
        "Each column is one latent vector, drawn from N(0, I), decoded with every label: style along a column stays, "
        "content changes.",
        plots.class_samples(images, sweep.class_names, colors),
    )


def interpolation_figure(sweep: Sweep, shown: list[Shown], colors: Mapping[str, str]) -> NamedFigure:
    """Lines between the posterior means of pairs of test images; of one class each for a conditional model."""
    labels = np.asarray(sweep.test.label)
    if sweep.model.num_classes:  # the first and the last of each class
        index = np.array([np.flatnonzero(labels == k)[[0, -1]] for k in np.unique(labels)[:SHOWN_CLASSES]]).T
        note = "The ends are decoded test images of one class."
    else:
        index = np.arange(2 * SHOWN_LINES).reshape(2, -1) % len(labels)
        note = "The ends are decoded test images."
    test = to_host(sweep.test)
    images = to_float(jnp.asarray(test.image[index.ravel()]))
    label = jnp.asarray(test.label[index.ravel()])
    lines = {}
    for s in shown:
        start, end = encode(sweep.model, s.params, images, label).mean.reshape(2, -1, sweep.model.latent_dim)
        lines[s.label] = latent.interpolate(
            sweep.model, s.params, start, end, LINE_STEPS, label[: len(start)] if sweep.model.num_classes else None
        )
    return NamedFigure(
        "interpolations",
        "Interpolations",
        "Equal steps on the straight line between the posterior means of two test images, decoded.",
        plots.interpolations(lines, note, colors),
    )


def traversal_figure(sweep: Sweep, shown: list[Shown], colors: Mapping[str, str]) -> NamedFigure:
    """Walk along the most informative dimensions from the posterior mean of the first test image."""
    label = jnp.asarray(to_host(sweep.test).label[0])
    walks, kl = {}, {}
    for s in shown:
        dimensions = jnp.argsort(-jnp.asarray(s.kl))[:SHOWN_DIMENSIONS]
        walks[s.label] = latent.traverse(
            sweep.model, s.params, jnp.asarray(s.mean[0]), dimensions, jnp.asarray(WALK), label
        )
        kl[s.label] = s.kl[dimensions]
    return NamedFigure(
        "traversals",
        "Latent traversals",
        "The first test image's posterior mean, one latent dimension at a time set to -3 ... 3; the most informative "
        "dimensions first, their KL beside them.",
        plots.traversals(walks, WALK, kl, colors),
    )


def scatter_figure(sweep: Sweep, shown: list[Shown]) -> NamedFigure:
    """Where the test images lie in a latent plane."""
    return NamedFigure(
        "latent_scatter",
        "The latent plane by class",
        "Where the encoder puts each class.",
        plots.scatter(
            {s.label: s.mean for s in shown},
            sweep.test.label,
            sweep.class_names,
            "Posterior means of the test images",
            axis_names=("z₁", "z₂"),
            prior=True,
        ),
    )


def manifold_figure(sweep: Sweep, shown: list[Shown], colors: Mapping[str, str]) -> NamedFigure:
    """The latent plane, decoded."""
    return NamedFigure(
        "manifold",
        "The latent plane, decoded",
        "z decoded on the normal quantiles 0.05 to 0.95: first latent to the right, second upwards.",
        plots.manifold({s.label: latent.latent_plane(sweep.model, s.params) for s in shown}, latent.QUANTILES, colors),
    )
