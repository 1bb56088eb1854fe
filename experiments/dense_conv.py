"""Document 001's two networks with its two losses.

source      document 001: dense 784-256-128-20 (476,216 parameters) and conv 1-6-16-4 (826,424), each with cross-entropy
            and squared error, Adam 1e-3, batch 128, 20 epochs
expected    conv, squared error: train loss 28.28 on MNIST at epoch 20; the document prints no other loss
run time    about 10 min for the four studies with 3 seeds each on 2 idle CPU cores, 3.9 s (conv) and 0.9 s an epoch
command     python -m experiments.dense_conv
"""

import sys

from experiments.command import main
from experiments.study import FIRST_EPOCH, Experiment, Number, Picture, Study
from jaxvae.config import Config
from jaxvae.flags import SweepFlags

SWEEP = SweepFlags(betas=(1.0,), seeds=(0, 1, 2), epochs=20, batch_size=128)
DENSE, CONV = (Number(count, "parameters", tolerance=0.0) for count in (476_216, 826_424))
DENSE_LAYERS = (200_960, 32_896, 2_580, 2_580, 2_688, 33_024, 201_488)
CONV_LAYERS = (60, 880, 580, 100_480, 2_580, 2_580, 2_688, 101_136, 615_440)

EXPERIMENT = Experiment(
    name="dense_conv",
    title="Dense against conv",
    source="document 001, 20 epochs",
    question="What the convolutions buy, and what the loss changes. Losses of different kinds cannot be compared with "
    "each other; MSE and SSIM can. The document's 0.02 and 0.16 MB of activations are twice the outputs of "
    "every layer and activation for one image (3,144 and 20,936 numbers: 0.024 and 0.160 here), its totals 1.84 and "
    "3.32 the sums; a compiled program holds others.",
    studies=(
        Study(
            "conv_squared_error",
            "conv, squared error",
            SWEEP,
            Config(architecture="conv"),
            numbers=(
                Number(52.38, epoch=1, tolerance=FIRST_EPOCH),
                Number(28.28, epoch=20),
                CONV,
                Number(3.15, "mebibytes"),
            ),
            trace="conv_squared_error",
            layers=CONV_LAYERS,
        ),
        Study("conv_bernoulli", "conv, cross-entropy", SWEEP, Config(architecture="conv", reconstruction="bernoulli")),
        Study(
            "dense_squared_error",
            "dense, squared error",
            SWEEP,
            Config(architecture="dense"),
            numbers=(DENSE, Number(1.82, "mebibytes")),
            layers=DENSE_LAYERS,
        ),
        Study(
            "dense_bernoulli", "dense, cross-entropy", SWEEP, Config(architecture="dense", reconstruction="bernoulli")
        ),
    ),
    pictures=(
        Picture("conv_squared_error", "reconstructions", "Conv, squared error: test images and reconstructions."),
        Picture("conv_squared_error", "samples", "Conv, squared error: digits decoded from the prior."),
        Picture("dense_squared_error", "reconstructions", "Dense, squared error: test images and reconstructions."),
        Picture("conv_bernoulli", "samples", "Conv, cross-entropy: digits decoded from the prior."),
        Picture("dense_bernoulli", "samples", "Dense, cross-entropy: digits decoded from the prior."),
    ),
)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT, __doc__))
