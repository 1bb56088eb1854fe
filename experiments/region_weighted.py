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


def setting(
    name: str, title: str, loss: Number, *, epochs: int, latent_dim: int = 32, batch_size: int = 64, **scalars: float
) -> Study:
    """One of the document's code cells."""
    sweep = SweepFlags(
        seeds=(0, 1, 2), epochs=epochs, batch_size=batch_size, **{f"{key}s": (value,) for key, value in scalars.items()}
    )
    model = Config(architecture="conv_64_64", latent_dim=latent_dim, reconstruction="region_weighted", conditional=True)
    return Study(name, title, sweep, model, DATA, numbers=(loss,))


EXPERIMENT = Experiment(
    name="region_weighted",
    title="Region-weighted conditional VAE",
    source="document 000, six settings",
    question="What weighing strokes against background does. The document is six cells of settings and the loss of a "
    "last batch; it leaves open the images, the layers, the loss's formula and what its means run over. "
    "Chosen here: the first 15,000 MNIST images in three equal channels (235 steps of 64); convolutions "
    "3-64-64, 3x3, stride 2, and back; squared error times the region's weight, summed, plus beta times "
    "KL. A mean loss is this sum over the 2,352 values of an image. Where z is not printed it is 32.",
    studies=(
        setting(
            "region_1",
            "1",
            Number(130.1),
            epochs=200,
            beta=1,
            learning_rate=3e-4,
            white_threshold=0.7,
            white_weight=1,
            black_weight=0.3,
        ),
        setting(
            "region_2",
            "2",
            Number(71.3),
            epochs=500,
            beta=1,
            learning_rate=3e-4,
            white_threshold=0.5,
            white_weight=1,
            black_weight=0.3,
        ),
        setting(
            "region_3",
            "3",
            Number(0.01371, "mean_loss"),
            epochs=300,
            latent_dim=16,
            beta=1,
            learning_rate=5e-5,
            white_threshold=0.5,
            white_weight=1,
            black_weight=0.1,
        ),
        setting(
            "region_4",
            "4",
            Number(0.01789, "mean_loss"),
            epochs=150,
            beta=1,
            learning_rate=1e-4,
            white_threshold=0.5,
            white_weight=1.5,
            black_weight=0.1,
        ),
        setting(
            "region_5",
            "5",
            Number(0.02734, "mean_loss"),
            epochs=300,
            batch_size=128,
            beta=1,
            learning_rate=3e-4,
            white_threshold=0.5,
            white_weight=1,
            black_weight=0.3,
        ),
        setting(
            "region_6",
            "6",
            Number(0.02915, "mean_loss"),
            epochs=300,
            batch_size=128,
            beta=2,
            learning_rate=1e-4,
            white_threshold=0.5,
            white_weight=1,
            black_weight=0.3,
        ),
    ),
    pictures=(
        Picture("region_1", "class_samples", "Setting 1: every label with the same eight latents."),
        Picture("region_4", "reconstructions", "Setting 4, the heaviest strokes: test images and reconstructions."),
    ),
)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT, __doc__))
