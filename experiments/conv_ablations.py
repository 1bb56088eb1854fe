"""Document 003's conv VAE, its seven ablation tables, and why and where its training fails.

source      document 003: LeakyReLU conv VAE 32-64-128, 20 latents, squared error / (2 var) + KL, learning rate 5e-3,
            batch 1024, 50 epochs; tables: fully connected, layers, latents, attention, var, batch size, learning rate
expected    var 0.25: train loss 38.6, validation loss 39.4, SSIM 0.8504, MSE 0.01335
run time    7 min a member on 2 idle CPU cores, 8.1 s an epoch (two layers 4.9, four 11, attention 16, fully
            connected 1.2); about 6 h for all studies with 3 seeds each
command     python -m experiments.conv_ablations
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from experiments.command import main
from experiments.study import Experiment, Failure, Number, Picture, Study
from jaxvae.config import Architecture, Config
from jaxvae.flags import SweepFlags

SWEEP = SweepFlags(betas=(1.0,), learning_rates=(5e-3,), variances=(0.5,), seeds=(0, 1, 2), epochs=50, batch_size=1024)
COMMON = {"learning_rate": 5e-3, "variance": 0.5, "warmup_steps": 0.0}
STABLE = {"variance": 0.2, "warmup_steps": 200.0}
"""Where the document's training fails, ours: the smallest variance that it tried, and small first steps."""
POINTS = (
    *({"variance": variance} for variance in (0.5, 0.25, 0.22, 0.2)),
    *({"learning_rate": rate} for rate in (1e-3, 6e-3)),
    STABLE,
    {"learning_rate": 6e-3, **STABLE},
)


def quality(
    ssim: float, mse: float, *, why: str = "", impossible_ssim: str = "", impossible_mse: str = "", **at: float
) -> tuple[Number, ...]:
    """A row of a table: test images decoded from posterior samples after the last epoch, uniform window."""
    at = {**COMMON, **at}
    return (
        Number(ssim, "sampled_ssim_uniform", split="test", at=at, tolerance=0.03, impossible=impossible_ssim, why=why),
        Number(mse, "sampled_mse", split="test", at=at, tolerance=0.05, impossible=impossible_mse, why=why),
    )


def fails(says: str, **at: float) -> Failure:
    """A setting at which the document's training fails, and `STABLE` in its place."""
    here = {**COMMON, **at}
    return Failure(says, here, {**here, **STABLE}, best=(0.8551, 0.01275))


def ablation(
    name: str,
    title: str,
    *numbers: Number,
    architecture: Architecture = "leaky_conv",
    latent_dim: int = 20,
    note: str = "",
    failures: Sequence[Failure] = (),
    points: Sequence[Mapping[str, float]] = ({},),
    **sweep,
) -> Study:
    """A study that differs from the document's setting, at var 0.5, in what is named."""
    model = Config(architecture=architecture, latent_dim=latent_dim)
    return Study(
        name, title, replace(SWEEP, **sweep).at_points(points), model, numbers=numbers, failures=failures, note=note
    )


EXPERIMENT = Experiment(
    name="conv_ablations",
    title="Conv ablations",
    source="document 003, LeakyReLU conv VAE, batch 1024, 50 epochs",
    question="What architecture, variance and optimization do to the quality of reconstruction. Every table's common "
    "row is three layers, 20 latents, var 0.5, batch 1024, learning rate 5e-3. The document gives channels, activation "
    "and settings; Adam, 3x3 kernels, stride 2, the slope 0.01, no activation after the decoder's dense layer, 32-64 "
    "for two layers, a fourth layer of 256 channels, the fully connected widths 512-256, and one-head residual "
    "attention with learned positions on the smallest feature map of encoder and decoder are ours. Its `grade: 10` "
    "could be anything and is left out. It does not say what its SSIM and MSE are of. The MSE is that of decoded "
    "posterior samples: decoded means have one that is lower by a third, fully connected by a sixth. The SSIM of such "
    "samples is about 5 % below the document's with the Gaussian window, at var 0.5, with two layers and fully "
    "connected, and 1 % with scikit-image's default window, which is compared.",
    studies=(
        Study(
            "leaky_conv",
            "three layers",
            SWEEP.at_points(POINTS),
            Config(architecture="leaky_conv"),
            numbers=(
                Number(
                    38.6,
                    at={**COMMON, "variance": 0.25},
                    why="the document's is 2 % below its own validation loss, ours equals its test loss",
                ),
                Number(39.4, split="test", at={**COMMON, "variance": 0.25}),
                *quality(0.8504, 0.01335, variance=0.25),
                *quality(0.7854, 0.01890),
                *quality(0.8551, 0.01275, variance=0.22),
                *quality(
                    0.7824,
                    0.11205,
                    learning_rate=1e-3,
                    impossible_mse="an MSE worse than the mean image's 0.0675 does not go with an SSIM of 0.78",
                ),
                *quality(0.7810, 0.01927, learning_rate=6e-3),
            ),
            failures=(
                fails("the loss explodes", variance=0.2),
                fails("SSIM 0.7810, MSE 0.01927; perhaps oscillates", learning_rate=6e-3),
            ),
            note="The document's tables of var and of the learning rate. Its explosion at var 0.2 was not met: no seed "
            "of ours diverges at any setting of the document, and the warm-up makes no difference beyond that between "
            "seeds. For what it takes to make the training fail, see the next experiment.",
        ),
        ablation(
            "leaky_conv_batch_512",
            "batch 512",
            *quality(
                0.2422,
                0.01900,
                impossible_ssim="an SSIM of 0.24 does not go with an MSE of 0.019, which has 0.78 elsewhere",
            ),
            failures=(fails("SSIM 0.2422, MSE 0.01900; prone to explode"),),
            points=({}, STABLE),
            batch_size=512,
        ),
        ablation("leaky_conv_batch_2048", "batch 2048", *quality(0.7342, 0.02409), batch_size=2048),
        ablation(
            "leaky_conv_4_layers",
            "4 layers",
            *quality(0.0345, 0.16805, why="the document's net is worse than the mean image, MSE 0.0675"),
            failures=(fails("SSIM 0.0345, MSE 0.16805; a sharp drop"),),
            architecture="leaky_conv_4",
            points=({}, STABLE),
        ),
        ablation("leaky_conv_2_layers", "2 layers", *quality(0.7774, 0.01980), architecture="leaky_conv_2"),
        ablation("leaky_dense", "fully connected", *quality(0.7391, 0.02247), architecture="leaky_dense"),
        ablation(
            "leaky_conv_10_latents",
            "10 latents",
            *quality(0.7823, 0.01922),
            latent_dim=10,
        ),
        ablation("leaky_conv_30_latents", "30 latents", *quality(0.7792, 0.01928), latent_dim=30),
        ablation(
            "leaky_conv_attention", "self-attention", *quality(0.7713, 0.02010), architecture="leaky_conv_attention"
        ),
    ),
    pictures=(
        Picture("leaky_conv", "curves", "Loss by epoch: means over the seeds, bands their range."),
        Picture("leaky_conv", "reconstructions", "Test images and reconstructions of seed 1, at all settings but one."),
    ),
)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT, __doc__))
