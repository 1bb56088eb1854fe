"""Document 000's comparison of an autoencoder's latent space with a VAE's: the pictures, and numbers for the words.

source      document 000, t-SNE of both latent spaces, and what it says of clusters, holes and smoothness
expected    no figures; in words: the autoencoder's classes form tight clusters with holes between them, the VAE's a
            continuous cloud without; samples of the prior decode well in the VAE only; lines decode more smoothly there
run time    7 min for both studies with 3 seeds each on 2 CPU cores, 2 min of it for the analysis
command     python -m experiments.ae_against_vae
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.command import main
from experiments.study import Experiment, Picture, Study
from jaxvae.config import Config
from jaxvae.flags import SweepFlags

SHOWN = 2000  # encodings in the t-SNE and the silhouette
FITTED = 10_000  # train images that neighbours are sought among
LINES, STEPS = 200, 11
SETTINGS = {"seeds": (0, 1, 2), "epochs": 30, "batch_size": 128}


def latent_geometry(folders: Mapping[str, Path], out: Path) -> tuple[list[Any], dict[str, Any]]:
    """t-SNE of both latent spaces, and a table: classes, holes, samples, smoothness."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxvae import geometry, latent, plots
    from jaxvae.experiment import reopen
    from jaxvae.models import encode
    from jaxvae.report import Image, Section, Table

    header = (
        *("model", "seed", "kNN accuracy", "silhouette", "hole ratio", "samples to data", "reconstructions to data"),
        *("images to data", "largest step"),
    )
    rows: list[list[Any]] = []
    points, label = {}, np.array([])
    titles = {study.name: study.title for study in EXPERIMENT.studies}
    for name, folder in folders.items():
        sweep, progress = reopen(folder)
        test, label = np.asarray(sweep.test.image[:SHOWN], np.float32) / 255, np.asarray(sweep.test.label[:SHOWN])
        train = jnp.asarray(sweep.train.image[:FITTED], jnp.float32) / 255
        train_label = np.asarray(sweep.train.label[:FITTED])
        for member, seed in enumerate(sweep.members.seeds):
            params = jax.tree.map(lambda x, k=member: x[k], progress.state.params)
            z = np.asarray(encode(sweep.model, params, jnp.asarray(test)).mean)
            train_z = np.asarray(encode(sweep.model, params, train).mean)
            prior = jax.random.normal(jax.random.key(seed), (SHOWN, sweep.model.latent_dim))
            samples = np.asarray(latent.generate(sweep.model, params, prior[:500]))
            decoded = np.asarray(latent.reconstruct(sweep.model, params, jnp.asarray(test[:500])))
            half = len(z) // 2
            ends = jnp.asarray(z[:half][:LINES]), jnp.asarray(z[half:][:LINES])
            lines = np.asarray(latent.interpolate(sweep.model, params, *ends, STEPS))
            data = np.asarray(train)
            rows.append(
                [
                    titles[name],
                    seed,
                    round(geometry.knn_accuracy(train_z, train_label, z, label), 4),
                    round(geometry.silhouette(z, label), 3),
                    round(geometry.hole_ratio(train_z, np.asarray(prior)), 2),
                    *(
                        round(float(geometry.distance_to_data(x, data).mean()), 4)
                        for x in (samples, decoded, test[:500])
                    ),
                    round(geometry.largest_step(lines), 3),
                ]
            )
            if member == 0:
                points[titles[name]] = geometry.tsne(z)
    note = f"t-SNE of the codes of {len(label)} test images. Distances between clusters mean little."
    figure = plots.scatter(points, label, sweep.class_names, "Latent codes by class", note)
    path = out / "tsne.png"
    plots.save(figure, path)
    caption = (
        "kNN accuracy: class of a test code by its 10 nearest train codes. Silhouette of the classes. Hole ratio: "
        "how much farther prior samples lie from the nearest train code than train codes from each other (medians). "
        "To data: mean squared pixel difference to the nearest of 10,000 train images, of decoded prior samples, of "
        "reconstructions, and of test images themselves. Largest step: of a decoded line between two test codes, 1 "
        "where all steps are equal."
    )
    sections = [
        Section("Latent spaces", [Image(path, note, "t-SNE of both latent spaces")]),
        Section("Classes, holes, smoothness", [Table(header, rows, caption)]),
    ]
    return sections, {"Classes, holes, smoothness": {"header": header, "rows": rows, "caption": caption}}


EXPERIMENT = Experiment(
    name="ae_against_vae",
    title="Autoencoder against VAE",
    source="document 000",
    question="One network as autoencoder (the mean is decoded, no KL) and as VAE. The document shows two t-SNE "
    "pictures and says in words what they mean; here each claim has a number. Network, loss and length are "
    "not printed: document 001's conv VAE with squared error and 20 latents for 30 epochs.",
    studies=(
        Study(
            "autoencoder",
            "autoencoder",
            SweepFlags(betas=(0.0,), **SETTINGS),
            Config(architecture="conv", noise="none"),
        ),
        Study("variational_autoencoder", "VAE", SweepFlags(betas=(1.0,), **SETTINGS), Config(architecture="conv")),
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
