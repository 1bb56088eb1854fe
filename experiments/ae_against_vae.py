"""Document 000's comparison of an autoencoder's latent space with a VAE's: the pictures, and numbers for the words.

source      document 000, t-SNE of both latent spaces, and what it says of clusters, holes and smoothness
expected    no figures; in words: the autoencoder's classes form tight clusters with holes between them, the VAE's a
            continuous cloud without; samples of the prior decode well in the VAE only; lines decode more smoothly there
run time    about 14 min for both studies with 3 seeds each on 2 idle CPU cores, 3.9 s a member and epoch, and 2 min
            of analysis
command     python -m experiments.ae_against_vae
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.command import main
from experiments.study import Experiment, Picture, Study
from jaxvae.config import Config
from jaxvae.flags import SweepFlags

SHOWN = 2000  # encodings in the t-SNE and the silhouette
FITTED = 10_000  # train images that neighbours are sought among
FEWEST = 10  # encodings that a t-SNE needs
DECODED = 500  # prior samples and reconstructions whose distance to the data is measured
LINES, STEPS = 200, 11  # interpolations; an odd number of steps has a middle
COLUMNS = (
    *("model", "seed", "kNN accuracy", "silhouette", "hole ratio", "samples to data", "reconstructions to data"),
    *("images to data", "midpoints to data", "largest step"),
)
CAPTION = (
    "kNN accuracy: class of a test code, the posterior mean, by its 10 nearest train codes. Silhouette of the "
    "classes. Hole ratio: how much farther prior samples lie from the nearest posterior sample of 10,000 train "
    "images (the autoencoder: its code) than these from each other, by medians; scale counts. To data: mean squared "
    "pixel difference to the nearest of these images, of decoded prior samples, of reconstructions, of test images "
    "themselves, and of the middle between two test codes. Largest step: of a decoded line between them, 1 where "
    "all steps are equal."
)
SETTINGS = {"seeds": (0, 1, 2), "epochs": 30, "batch_size": 128}


def latent_geometry(folders: Mapping[str, Sequence[Path]], out: Path) -> tuple[list[Any], dict[str, Any]]:
    """t-SNE of both latent spaces, and a table: classes, holes, samples, smoothness."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxvae import geometry, plots
    from jaxvae.batches import to_float
    from jaxvae.experiment import reopen
    from jaxvae.models import encode
    from jaxvae.report import Image, Section, Table

    titles = {study.name: study.title for study in EXPERIMENT.studies}
    rows, points, label, class_names = [], {}, np.array([]), ()
    for name, folder in ((name, folder) for name, runs in folders.items() for folder in runs):
        sweep, progress = reopen(folder)
        label, class_names = np.asarray(sweep.test.label[:SHOWN]), sweep.class_names
        for member, seed in enumerate(sweep.members.seeds):
            if not bool(progress.state.alive[member]):
                continue
            params = jax.tree.map(lambda x, k=member: x[k], progress.state.params)
            rows.append([titles[name], seed, *measure(sweep, params, seed)])
            if titles[name] not in points and len(label) >= FEWEST:
                codes = encode(sweep.model, params, to_float(jnp.asarray(sweep.test.image[:SHOWN]))).mean
                points[titles[name]] = geometry.tsne(np.asarray(codes))
    note = f"t-SNE of the codes of {len(label)} test images. Distances between clusters mean little."
    sections = [Section("Classes, holes, smoothness", [Table(COLUMNS, rows, CAPTION)])]
    if points:
        plots.save(plots.scatter(points, label, class_names, "Latent codes by class", note), out / "tsne.png")
        sections.insert(0, Section("Latent spaces", [Image(out / "tsne.png", note, "t-SNE of both latent spaces")]))
    return sections, {"Classes, holes, smoothness": {"header": COLUMNS, "rows": rows, "caption": CAPTION}}


def measure(sweep: Any, params: dict, seed: int) -> list[float]:
    """One member's row of the table, after model and seed."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxvae import geometry, latent
    from jaxvae.batches import to_float
    from jaxvae.models import encode, sample

    test, train = to_float(jnp.asarray(sweep.test.image[:SHOWN])), to_float(jnp.asarray(sweep.train.image[:FITTED]))
    label, train_label = np.asarray(sweep.test.label[:SHOWN]), np.asarray(sweep.train.label[:FITTED])
    codes, train_codes = (np.asarray(encode(sweep.model, params, images).mean) for images in (test, train))
    prior_key, code_key = jax.random.split(jax.random.key(seed))
    prior = jax.random.normal(prior_key, (SHOWN, sweep.model.latent_dim))
    aggregate = np.asarray(sample(sweep.model, code_key, encode(sweep.model, params, train)))
    samples = latent.generate(sweep.model, params, prior[:DECODED])
    decoded = latent.reconstruct(sweep.model, params, test[:DECODED])
    start, end = jnp.asarray(codes[: len(codes) // 2 * 2]).reshape(2, -1, codes.shape[1])[:, :LINES]
    lines = latent.interpolate(sweep.model, params, start, end, STEPS)
    to_data = [
        float(geometry.distance_to_data(np.asarray(images), np.asarray(train)).mean())
        for images in (samples, decoded, test[:DECODED], lines[:, STEPS // 2])
    ]
    return [
        round(geometry.knn_accuracy(train_codes, train_label, codes, label), 4),
        round(geometry.silhouette(codes, label), 3),
        round(geometry.hole_ratio(aggregate, np.asarray(prior)), 2),
        *(round(distance, 4) for distance in to_data),
        round(geometry.largest_step(np.asarray(lines)), 3),
    ]


EXPERIMENT = Experiment(
    name="ae_against_vae",
    title="Autoencoder against VAE",
    source="document 000",
    question="One network as autoencoder (the mean is decoded, no KL) and as VAE. The document shows two t-SNE "
    "pictures and says in words what they mean; class separation, holes, samples and smoothness have a number "
    "here. Of the t-SNE's shapes (rings, fragments, uneven density) there is only the picture, as t-SNE does not keep "
    "them. Network, loss and length are not printed: document 001's conv VAE with squared error and 20 latents for 30 "
    "epochs.",
    studies=(
        Study(
            "autoencoder",
            "autoencoder",
            SweepFlags(betas=(0.0,), **SETTINGS),
            Config(architecture="conv", noise="none"),
        ),
        Study(
            "variational_autoencoder",
            "VAE",
            SweepFlags(betas=(1.0,), **SETTINGS),
            Config(architecture="conv"),
            note="The document's words beside the numbers. Tight clusters in the autoencoder: no, the silhouettes are "
            "alike, though its codes tell classes apart slightly better. Holes: samples of the prior lie 1.7 to 2.1 "
            "times as far from its codes as these from each other, in holes or beyond the edge, which the ratio does "
            "not tell apart, and no farther in the VAE. Samples and middles of lines: the autoencoder's are farther "
            "from the data than real test images are, the VAE's nearer; but pixel distance favours what is dim or "
            "blurred, as the VAE's images are, so the difference is to be seen in the pictures rather. Smooth lines: "
            "the VAE's steps are the less even ones.",
        ),
    ),
    pictures=(
        Picture("autoencoder", "samples", "Autoencoder: what the prior's samples decode to."),
        Picture("variational_autoencoder", "samples", "VAE: the same."),
    ),
    analysis=latent_geometry,
    analysis_picture="tsne.png",
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT, __doc__))
