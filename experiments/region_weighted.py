"""Document 000's conditional VAE with a reconstruction loss weighted by region, its six settings.

source      document 000: CVAE(3, 64, z, classes), a loss with coefficients for white and black regions of the image,
            learning rates 3e-4 to 5e-5, batch 64 (235 steps an epoch) or 128, 150 to 500 epochs
expected    sum losses 130.1 and 71.3; mean losses 0.0137, 0.0179, 0.0273, 0.0291, each of one late batch
run time    6 s a member and epoch on 2 CPU cores, 3 h for all six at full length and one seed
command     python -m experiments.region_weighted
"""

import sys
from typing import Any

from experiments.command import main
from experiments.study import Experiment, Number, Picture, Study
from jaxvae.config import Config
from jaxvae.flags import DataFlags, SweepFlags

DATA = DataFlags(dataset="mnist", limit=15_000, rgb=True)


SETTINGS: tuple[
    tuple[float, str, dict[str, Any]], ...
] = (  # in the document's order: the loss that it prints, and the settings above it
    (130.1, "loss", dict(epochs=200, batch=64, z=32, beta=1, rate=3e-4, threshold=0.7, white=1.0, black=0.3)),
    (71.3, "loss", dict(epochs=500, batch=64, z=32, beta=1, rate=3e-4, threshold=0.5, white=1.0, black=0.3)),
    (0.01371, "mean_loss", dict(epochs=300, batch=64, z=16, beta=1, rate=5e-5, threshold=0.5, white=1.0, black=0.1)),
    (0.01789, "mean_loss", dict(epochs=150, batch=64, z=32, beta=1, rate=1e-4, threshold=0.5, white=1.5, black=0.1)),
    (0.02734, "mean_loss", dict(epochs=300, batch=128, z=32, beta=1, rate=3e-4, threshold=0.5, white=1.0, black=0.3)),
    (0.02915, "mean_loss", dict(epochs=300, batch=128, z=32, beta=2, rate=1e-4, threshold=0.5, white=1.0, black=0.3)),
)


def setting(
    number: int,
    printed: float,
    metric: str,
    *,
    epochs: int,
    batch: int,
    z: int,
    beta: float,
    rate: float,
    threshold: float,
    white: float,
    black: float,
) -> Study:
    """One of the document's six cells; a single batch's loss is compared within a tenth."""
    sweep = SweepFlags(
        betas=(beta,),
        seeds=(0, 1, 2),
        learning_rates=(rate,),
        white_thresholds=(threshold,),
        white_weights=(white,),
        black_weights=(black,),
        epochs=epochs,
        batch_size=batch,
    )
    weights = f"white {white:g} above {threshold:g}, black {black:g}"
    title = f"{number}: z {z}, beta {beta:g}, rate {rate:g}, batch {batch}, {weights}"
    model = Config(architecture="conv_64_64", latent_dim=z, reconstruction="region_weighted", conditional=True)
    return Study(f"region_{number}", title, sweep, model, DATA, numbers=(Number(printed, metric, tolerance=0.1),))


EXPERIMENT = Experiment(
    name="region_weighted",
    title="Region-weighted conditional VAE",
    source="document 000, six settings",
    question="What weighing strokes against background does. The document is six cells of settings and one batch's "
    "loss each; it leaves open the images, the layers, the optimizer, the loss's formula and what its means "
    "run over. Chosen here: the first 15,000 MNIST images, which make its 235 steps of 64, in three equal "
    "channels; convolutions 3-64-64, 3x3, stride 2, and back; Adam; squared error times the region's "
    "weight, summed, plus beta times KL. A mean loss is this sum over the 2,352 values of an image. Where z "
    "is not printed it is 32.",
    studies=tuple(setting(number, loss, metric, **cell) for number, (loss, metric, cell) in enumerate(SETTINGS, 1)),
    pictures=(
        Picture("region_1", "class_samples", "Setting 1: every label with the same eight latents."),
        Picture("region_4", "reconstructions", "Setting 4, the heaviest strokes: test images and reconstructions."),
    ),
)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT, __doc__))
