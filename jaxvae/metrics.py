"""What a trained model is worth: per-example values from one compiled pass over a split, reduced once in float64."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxvae.batches import DeviceSplit, EpochOrder, epoch_order, gather
from jaxvae.losses import Reconstruction, gaussian_kl_per_dimension
from jaxvae.models import VAE, decode, encode, multiplies_patches, sample
from jaxvae.objective import example_keys, negative_elbo
from jaxvae.parallel import all_columns, my_columns
from jaxvae.types import Batch, Hparams

Results = TypeVar("Results")
ACTIVE_VARIANCE = 0.01
"""A latent dimension is active if its posterior mean varies more than this over the data (Burda et al. 2016)."""
DEAD_VARIANCE = 1e-6
"""A decoder is dead if the pixels that it makes of latents from the prior vary less: by a quarter of a grey level."""
PRIOR_SAMPLES = 16
PRIOR_NUMBER = np.uint32(2**32 - 1)
"""Their key's number, which no example has."""
WORSE = 1.001
"""A member is worse than the mean image where its squared error is larger by more than this factor."""
DEGENERATE = {
    "collapsed": "collapsed",
    "dead_decoder": "with a dead decoder",
    "worse_than_mean_image": "worse than the mean image",
}
"""Flags of a member that has learned nothing, in words."""


def default_batch_size(model: VAE) -> int:
    """How many examples to evaluate at a time: 64 where their patches should stay in a CPU's caches, else 500."""
    return 64 if multiplies_patches(model) and jax.default_backend() == "cpu" else 500


class Evaluation(NamedTuple):
    """Per-example results over a split [N]; a sweep adds a leading axis [K]."""

    loss: Array  # [N] -ELBO with one posterior sample, nats
    reconstruction: Array  # [N] nats
    kl: Array  # [N] nats
    kl_per_dimension: Array  # [N, Z] nats
    mean: Array  # [N, Z] posterior mean
    mse: Array  # [N] mean over pixels of (x - decoded posterior mean)^2
    ssim: Array  # [N] of the same pair
    clamped: Array  # [N] share of the latents whose log-variance the model's `logvar_bound` holds
    decoder_spread: Array  # [N] variance over latents from the prior of what is decoded, mean over pixels; all the same


def evaluate(
    model: VAE,
    reconstruction: Reconstruction,
    params: dict,
    hparams: Hparams,
    split: DeviceSplit,
    key: Array,
    *,
    batch_size: int | None = None,
    first: Array | int = 0,
    axis_name: str | None = None,
) -> Evaluation:
    """Every example of `split`, in order: its loss terms, and MSE and SSIM of its decoded posterior mean.

    An example's noise is drawn from `key` and its number, counted from `first`, whatever the batch size. With
    `axis_name`, an axis of devices, each takes its part of every batch, and all get the results of all.
    """

    spread = decoder_spread(model, params, jax.random.fold_in(key, PRIOR_NUMBER))

    def values(batch: Batch, number: Array) -> Evaluation:
        image, label, _ = batch
        keys = example_keys(key, number)
        terms = negative_elbo(model, reconstruction, params, image, label, keys, hparams)
        posterior = encode(model, params, image, label)
        decoded = jax.nn.sigmoid(decode(model, params, posterior.mean, label))
        likeness = mse(decoded, image), ssim(decoded, image)
        clamped = jnp.mean(jnp.abs(posterior.logvar) >= model.logvar_bound, -1, dtype=jnp.float32)
        same = jnp.full(len(image), spread)
        return Evaluation(*terms, gaussian_kl_per_dimension(posterior), posterior.mean, *likeness, clamped, same)

    return over_examples(values, split, batch_size or default_batch_size(model), first, axis_name)


def over_examples(
    values: Callable[[Batch, Array], Results],
    split: DeviceSplit,
    batch_size: int,
    first: Array | int,
    axis_name: str | None,
) -> Results:
    """`values` of batches and their examples' numbers, for every example of `split` in order; leaves [N, ...]."""
    count = len(split.image)
    size = min(batch_size, count)
    order = EpochOrder(*(my_columns(x, axis_name) for x in epoch_order(count, size)))

    def step(_, batch: EpochOrder) -> tuple[None, Results]:
        return None, values(gather(split, batch.index, batch.weight), first + batch.index)

    _, results = lax.scan(step, None, order)

    def in_order(x: Array) -> Array:
        return all_columns(x, size, axis_name).reshape(-1, *x.shape[2:])[:count]

    return jax.tree.map(in_order, results)


class Quality(NamedTuple):
    """How like its image a decoded sample of the posterior is, per example [N]; a sweep adds a leading axis [K]."""

    sampled_mse: Array
    sampled_ssim: Array
    sampled_ssim_uniform: Array  # with scikit-image's default window, see `uniform_ssim`


def sampled_quality(
    model: VAE,
    params: dict,
    split: DeviceSplit,
    key: Array,
    *,
    batch_size: int | None = None,
    first: Array | int = 0,
    axis_name: str | None = None,
) -> Quality:
    """MSE and SSIM of each example of `split` decoded from one posterior sample, as a reconstruction in training is.

    `Evaluation` has those of the decoded posterior mean, which are better: noise costs likeness.
    """

    def values(batch: Batch, number: Array) -> Quality:
        image, label, _ = batch
        z = sample(model, example_keys(key, number), encode(model, params, image, label))
        decoded = jax.nn.sigmoid(decode(model, params, z, label))
        return Quality(mse(decoded, image), ssim(decoded, image), uniform_ssim(decoded, image))

    return over_examples(values, split, batch_size or default_batch_size(model), first, axis_name)


def decoder_spread(model: VAE, params: dict, key: Array) -> Array:
    """Variance, over latents from the prior, of the pixels that are decoded from them; a scalar, mean over pixels.

    0 for a decoder that makes the same of everything. A conditional one gets the first label every time.
    """
    z = jax.random.normal(key, (PRIOR_SAMPLES, model.latent_dim))
    images = jax.nn.sigmoid(decode(model, params, z, jnp.zeros(PRIOR_SAMPLES, jnp.int32)))
    return jnp.mean(jnp.var(images, axis=0))


def mean_image_mse(train: np.ndarray, test: np.ndarray) -> float:
    """The squared error of always answering with the mean of `train` [N, H, W, C], on `test`; uint8, in [0, 1]²."""
    mean = train.mean(axis=0, dtype=np.float64)
    squares = sum(float(np.square(image - mean).sum()) for image in test)
    return squares / test.size / 255.0**2


def mse(decoded: Array, image: Array) -> Array:
    """Mean squared difference of the pixels of two images; [..., H, W, C] -> [...]."""
    return jnp.mean(jnp.square(decoded - image), (-3, -2, -1))


def ssim(decoded: Array, image: Array) -> Array:
    """Structural similarity of images in [0, 1], [H, W, C] or a batch of them.

    The window is the 11x11 Gaussian of sigma 1.5 of Wang et al. 2004.
    """
    return jnp.asarray(dm_pix.ssim(decoded, image, max_val=1.0))


def uniform_ssim(decoded: Array, image: Array) -> Array:
    """`ssim` with a uniform 7x7 window, the default of scikit-image; larger than `ssim` on digits.

    Document 003's figures at its variance 0.5 agree with it to 1 %, with the paper's Gaussian window to 5 %.
    """
    return jnp.asarray(dm_pix.ssim(decoded, image, max_val=1.0, filter_size=7, filter_sigma=1e3))


def active_units(mean: np.ndarray) -> np.ndarray:
    """Which latent dimensions are active; posterior means [N, Z] -> bool [Z]. Non-finite means count as inactive."""
    return np.var(np.asarray(mean, np.float64), axis=0) > ACTIVE_VARIANCE


def summarize(evaluation: Evaluation, mean_image_mse: float = float("inf")) -> dict[str, float | int | bool]:
    """Means over the examples of ONE member in float64, and what is degenerate about it, the keys of `DEGENERATE`.

    `collapsed` means that no latent dimension is active.
    """
    active = int(active_units(np.asarray(evaluation.mean)).sum())
    means = {
        name: float(np.mean(np.asarray(getattr(evaluation, name), np.float64)))
        for name in ("loss", "reconstruction", "kl", "mse", "ssim", "clamped", "decoder_spread")
    }
    return {
        **means,
        "active_units": active,
        "collapsed": active == 0,
        "dead_decoder": means["decoder_spread"] < DEAD_VARIANCE,
        "worse_than_mean_image": means["mse"] > WORSE * mean_image_mse,
    }


def findings(row: Mapping[str, Any]) -> list[str]:
    """What is wrong with one member, by its last test row, in words; a member that diverged has nothing else."""
    if not row["alive"]:
        return [f"diverged after {row['steps']} step{'s' * (row['steps'] != 1)}"]
    found = [text for flag, text in DEGENERATE.items() if row.get(flag)]
    return found + [f"log-variance at its bound for {row['clamped']:.2g} of the latents"] * bool(row.get("clamped"))
