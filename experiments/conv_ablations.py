"""Document 003's conv VAE and its seven ablation tables.

source      document 003: LeakyReLU conv VAE 32-64-128, 20 latents, squared error / (2 var) + KL, Adam 5e-3, batch 1024,
            50 epochs; tables: fully connected, layers, latents, attention, var, batch size, learning rate
expected    var 0.25: train loss 38.6, validation loss 39.4, SSIM 0.8504, MSE 0.01335; the tables below
command     python -m experiments.conv_ablations
"""

from experiments.study import Number, Study
from jaxvae.config import Config
from jaxvae.flags import SweepFlags

MODEL = Config(architecture="leaky_conv", latent_dim=20)
SWEEP = SweepFlags(betas=(1.0,), learning_rates=(5e-3,), variances=(0.5,), seeds=(0, 1, 2), epochs=50, batch_size=1024)


def quality(ssim: float, mse: float, **at: float) -> tuple[Number, Number]:
    """A row of a table: SSIM and MSE of test images decoded after the last epoch."""
    return (
        Number(ssim, "sampled_ssim", split="test", at=at, tolerance=0.03),
        Number(mse, "sampled_mse", split="test", at=at, tolerance=0.05),
    )
