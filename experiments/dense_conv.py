"""Document 001's two networks with its two losses.

source      document 001: dense 784-256-128-20 (476,216 parameters) and conv 1-6-16-4 (826,424), each with cross-entropy
            and squared error, Adam 1e-3, batch 128, 20 epochs
expected    conv, squared error: train loss 28.28 on MNIST at epoch 20; the document prints no other loss
run time    19 min for the four studies with 3 seeds each on 2 CPU cores, 7.8 s (conv) and 1.5 s a member and epoch
command     python -m experiments.dense_conv
"""

import sys

from experiments.command import main
from experiments.study import Experiment, Number, Picture, Study
from jaxvae.config import Config
from jaxvae.flags import SweepFlags

SWEEP = SweepFlags(betas=(1.0,), seeds=(0, 1, 2), epochs=20, batch_size=128)
DENSE = Number(476_216, "parameters", tolerance=0.0)
CONV = Number(826_424, "parameters", tolerance=0.0)

EXPERIMENT = Experiment(
    name="dense_conv",
    title="Dense against conv",
    source="document 001, 20 epochs",
    question="What the convolutions buy, and what the loss changes. Losses of different kinds cannot be compared with "
    "each other; MSE and SSIM can.",
    studies=(
        Study(
            "conv_squared_error",
            "conv, squared error",
            SWEEP,
            Config(architecture="conv"),
            numbers=(Number(52.38, epoch=1, tolerance=None), Number(28.28, epoch=20), CONV, Number(3.15, "mebibytes")),
            trace="conv_squared_error",
        ),
        Study("conv_bernoulli", "conv, cross-entropy", SWEEP, Config(architecture="conv", reconstruction="bernoulli")),
        Study(
            "dense_squared_error",
            "dense, squared error",
            SWEEP,
            Config(architecture="dense"),
            numbers=(DENSE, Number(1.82, "mebibytes")),
        ),
        Study(
            "dense_bernoulli", "dense, cross-entropy", SWEEP, Config(architecture="dense", reconstruction="bernoulli")
        ),
    ),
    pictures=(
        Picture("conv_bernoulli", "samples", "Conv, cross-entropy: digits decoded from the prior."),
        Picture("dense_squared_error", "reconstructions", "Dense, squared error: test images and reconstructions."),
    ),
)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT, __doc__))
