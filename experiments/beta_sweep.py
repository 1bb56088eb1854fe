"""What beta does to a VAE: document 001's sweep, every beta and seed trained in one compiled program.

source      document 001, section on the beta-VAE: conv VAE, squared error, z = 20, Adam 1e-3, batch 128, 10 epochs
expected    train loss at epoch 10 on MNIST: beta 1: 29.92, beta 3: 43.38, beta 8: 52.42, beta 16: 52.78
command     python -m experiments.beta_sweep
"""

import sys
from dataclasses import dataclass

from jaxvae import cli
from jaxvae.flags import Flags


@dataclass(frozen=True)
class BetaSweep(Flags):
    """Train a beta-VAE for several betas at once and compare them.

    Makes a run folder with metrics.csv, summary.json, config.json, checkpoints, figures and report.html, which shows it
    all on one page. On MNIST the defaults are document 001's sweep.
    """


def run(flags: BetaSweep) -> None:
    """Run the sweep; jax is imported here, so that `--help` does not wait for it."""
    from jaxvae import experiment

    experiment.run("beta_sweep", flags)


if __name__ == "__main__":
    sys.exit(cli.main("beta_sweep", BetaSweep, run))
