"""What beta does to a VAE: document 001's sweep, every beta and seed trained in one compiled program.

source      document 001, section on the beta-VAE: conv VAE, squared error, z = 20, Adam 1e-3, batch 128, 10 epochs
expected    train loss at epoch 10 on MNIST: beta 1: 29.92, beta 3: 43.38, beta 8: 52.42, beta 16: 52.78
run time    3 min for the four betas of one seed on 2 idle cores of an AMD EPYC
command     python -m experiments.beta_sweep
"""

import sys
from dataclasses import dataclass
from functools import partial

from experiments.study import FIRST_EPOCH, Experiment, Number, Picture, Study, printed_curves
from jaxvae import cli
from jaxvae.config import Config
from jaxvae.flags import Flags, SweepFlags

EXPERIMENT = Experiment(
    name="beta_sweep",
    title="Beta sweep",
    source="document 001, conv VAE, squared error, z = 20, 10 epochs",
    question="What beta does: the larger, the less the latents say about the image, until they say nothing. That "
    "beta 3 generates better and that larger ones make digits more alike is the document's judgement by eye; see the "
    "samples.",
    flags="--seeds 0 1 2 3 4",
    studies=(
        Study(
            "beta_sweep",
            "conv",
            SweepFlags(betas=(1.0, 3.0, 8.0, 16.0), seeds=(0, 1, 2, 3, 4), epochs=10, batch_size=128),
            Config(),
            numbers=[
                Number(value, epoch=epoch, at={"beta": beta}, tolerance=tolerance)
                for beta, first, last in (
                    (1.0, 49.91, 29.92),
                    (3.0, 53.80, 43.38),
                    (8.0, 54.85, 52.42),
                    (16.0, 54.87, 52.78),
                )
                for epoch, value, tolerance in ((1, first, FIRST_EPOCH), (10, last, 0.03 if beta < 8 else 0.01))
            ],
            trace="beta_sweep",
        ),
    ),
    pictures=(
        Picture("beta_sweep", "reconstructions", "Test images and their reconstructions for beta 1, 3, 8, 16."),
        Picture("beta_sweep", "samples", "Samples from the same latent vectors for beta 1, 3, 8, 16."),
    ),
)


@dataclass(frozen=True)
class BetaSweep(Flags):
    """Train a beta-VAE for several betas at once and compare them.

    Makes a run folder with metrics.csv, summary.json, config.json, checkpoints, figures and report.html, which shows it
    all on one page. On MNIST the defaults are document 001's sweep.
    """


def run(flags: BetaSweep) -> None:
    """Run the sweep; jax is imported here, so that `--help` does not wait for it."""
    from jaxvae import experiment

    experiment.run("beta_sweep", flags, printed=partial(printed_curves, EXPERIMENT.studies[0]))


def own_settings(flags: BetaSweep) -> BetaSweep | None:
    """What flags that are not given stand for: in a run that is resumed, its own."""
    if flags.run.resume is None:
        return None
    from jaxvae import resuming

    return resuming.own_settings(flags, "beta_sweep")


if __name__ == "__main__":
    sys.exit(cli.main("beta_sweep", BetaSweep, run, resumed=own_settings))
