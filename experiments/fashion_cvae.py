"""Document 002's conditional VAEs on Fashion-MNIST, fully connected against convolutional."""

from experiments.study import Study
from jaxvae.config import Config
from jaxvae.flags import DataFlags, SweepFlags

SWEEP = SweepFlags(betas=(1.0,), seeds=(0, 1, 2), epochs=50, batch_size=128)
DATA = DataFlags(dataset="fashion_mnist")

STUDIES = (
    Study("fashion_cvae_mlp", "MLP", SWEEP, Config("mlp_512", conditional=True, latent_dim=64, reconstruction="bernoulli"), DATA),
    Study("fashion_cvae_conv", "conv", SWEEP, Config("conv_32_64", conditional=True, latent_dim=64, reconstruction="bernoulli"), DATA),
)
