"""Document 003's conv VAE and its seven ablation tables.

source      document 003: LeakyReLU conv VAE 32-64-128, 20 latents, squared error / (2 var) + KL, Adam 5e-3, batch 1024,
            50 epochs; tables: fully connected, layers, latents, attention, var, batch size, learning rate
expected    var 0.25: train loss 38.6, validation loss 39.4, SSIM 0.8504, MSE 0.01335; the tables below
command     python -m experiments.conv_ablations
"""

from dataclasses import replace

from experiments.study import Number, Study
from jaxvae.config import Architecture, Config
from jaxvae.flags import SweepFlags

SWEEP = SweepFlags(betas=(1.0,), learning_rates=(5e-3,), variances=(0.5,), seeds=(0, 1, 2), epochs=50, batch_size=1024)


def quality(ssim: float, mse: float, **at: float) -> tuple[Number, ...]:
    """A row of a table: SSIM and MSE of test images, decoded from posterior samples after the last epoch."""
    return (
        Number(ssim, "sampled_ssim", split="test", at=at, tolerance=0.03),
        Number(mse, "sampled_mse", split="test", at=at, tolerance=0.05),
    )


def ablation(
    name: str,
    title: str,
    *numbers: Number,
    architecture: Architecture = "leaky_conv",
    latent_dim: int = 20,
    note: str = "",
    **sweep,
) -> Study:
    """A study that differs from the document's setting, at var 0.5, in what is named."""
    model = Config(architecture=architecture, latent_dim=latent_dim)
    return Study(name, title, replace(SWEEP, **sweep), model, numbers=numbers, note=note)


STUDIES = (
    ablation(
        "leaky_conv_variance",
        "the variance of the decoder",
        Number(38.6, at={"variance": 0.25}),
        Number(39.4, split="test", at={"variance": 0.25}),
        *quality(0.8504, 0.01335, variance=0.25),
        *quality(0.7854, 0.01890, variance=0.5),
        *quality(0.8551, 0.01275, variance=0.22),
        variances=(0.5, 0.25, 0.22, 0.2),
    ),
    ablation(
        "leaky_conv_learning_rate",
        "the learning rate",
        *quality(0.7824, 0.11205, learning_rate=1e-3),
        *quality(0.7810, 0.01927, learning_rate=6e-3),
        learning_rates=(1e-3, 6e-3),
    ),
    ablation("leaky_conv_batch_512", "batches of 512", *quality(0.2422, 0.01900), batch_size=512),
    ablation("leaky_conv_batch_2048", "batches of 2,048", *quality(0.7342, 0.02409), batch_size=2048),
    ablation(
        "leaky_conv_4_layers", "four layers", *quality(0.0345, 0.16805), architecture="leaky_conv_4"
    ),
    ablation("leaky_conv_2_layers", "two layers", *quality(0.7774, 0.01980), architecture="leaky_conv_2"),
    ablation("leaky_dense", "fully connected", *quality(0.7391, 0.02247), architecture="leaky_dense"),
    ablation("leaky_conv_10_latents", "10 latents", *quality(0.7823, 0.01922), latent_dim=10),
    ablation("leaky_conv_30_latents", "30 latents", *quality(0.7792, 0.01928), latent_dim=30),
    ablation(
        "leaky_conv_attention", "self-attention", *quality(0.7713, 0.02010), architecture="leaky_conv_attention"
    ),
)
