"""Document 000's conditional VAE with a reconstruction loss weighted by region, its six settings.

source      document 000: CVAE(3, 64, z, classes) on 15,000 RGB images, squared error weighted by region: white where a
            pixel exceeds a threshold; Adam 3e-4 to 5e-5, batch 64 or 128, 150 to 500 epochs
expected    sum losses 130.1 and 71.3; mean losses 0.0137, 0.0179, 0.0273, 0.0291, each of the last batch
run time    9 s a member and epoch on 2 CPU cores
command     python -m experiments.region_weighted
"""

import sys

from experiments.command import main
from experiments.study import Experiment, Number, Picture, Study
from jaxvae.config import Config
from jaxvae.flags import DataFlags, SweepFlags

DATA = DataFlags(dataset="mnist", limit=15_000, rgb=True)


SETTINGS = (  # in the document's order: its last batch's loss, and the settings above it
    ("130.1, a sum", dict(epochs=200, batch=64, z=32, beta=1, rate=3e-4, threshold=0.7, white=1.0, black=0.3)),
    ("71.3, a sum", dict(epochs=500, batch=64, z=32, beta=1, rate=3e-4, threshold=0.5, white=1.0, black=0.3)),
    ("0.01371, a mean", dict(epochs=300, batch=64, z=16, beta=1, rate=5e-5, threshold=0.5, white=1.0, black=0.1)),
    ("0.01789, a mean", dict(epochs=150, batch=64, z=32, beta=1, rate=1e-4, threshold=0.5, white=1.5, black=0.1)),
    ("0.02734, a mean", dict(epochs=300, batch=128, z=32, beta=1, rate=3e-4, threshold=0.5, white=1.0, black=0.3)),
    ("0.02915, a mean", dict(epochs=300, batch=128, z=32, beta=2, rate=1e-4, threshold=0.5, white=1.0, black=0.3)),
)


def study(number: int, printed: str, *, epochs: int, batch: int, z: int, **scalars: float) -> Study:
    """One of the document's six cells."""
    value, _, kind = printed.partition(", a ")
    beta, rate, threshold, white, black = (scalars[name] for name in ("beta", "rate", "threshold", "white", "black"))
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
    loss = Number(float(value), "loss" if kind == "sum" else "mean_loss")
    return Study(f"region_{number}", title, sweep, model, DATA, numbers=(loss,))


EXPERIMENT = Experiment(
    name="region_weighted",
    title="Region-weighted conditional VAE",
    source="document 000, six settings",
    question="What weighing strokes against background does. The document is six cells of settings and the loss of a "
    "last batch; it leaves open the images, the layers, the loss's formula and what its means run over. "
    "Chosen here: the first 15,000 MNIST images in three equal channels (235 steps of 64); convolutions "
    "3-64-64, 3x3, stride 2, and back; squared error times the region's weight, summed, plus beta times "
    "KL. A mean loss is this sum over the 2,352 values of an image. Where z is not printed it is 32.",
    studies=tuple(study(number, printed, **cell) for number, (printed, cell) in enumerate(SETTINGS, 1)),
    pictures=(
        Picture("region_1", "class_samples", "Setting 1: every label with the same eight latents."),
        Picture("region_4", "reconstructions", "Setting 4, the heaviest strokes: test images and reconstructions."),
    ),
)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT, __doc__))
