"""From a device-resident uint8 split to batches: the order of an epoch, and the gather inside the compiled step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.data.dataset import Split
from jaxvae.types import Batch


class DeviceSplit(NamedTuple):
    """A split on the device: images stay uint8 [N, H, W, C] there, labels are int32 [N]."""

    image: Array
    label: Array


class EpochOrder(NamedTuple):
    """Which examples each step of an epoch takes; the last batch is padded with weight 0."""

    index: Array  # [S, B] int32
    weight: Array  # [S, B] float32, 1 or 0


def to_device(split: Split) -> DeviceSplit:
    """Copy a split to the default device."""
    return DeviceSplit(jnp.asarray(split.image), jnp.asarray(split.label))


def num_steps(num_examples: int, batch_size: int) -> int:
    """Steps of an epoch that visits every example once: 60,000 images at batch 128 make 469."""
    return -(-num_examples // batch_size)


def epoch_order(num_examples: int, batch_size: int, key: Array | None = None) -> EpochOrder:
    """Every example exactly once, shuffled by `key` or in order without one."""
    index = jnp.arange(num_examples, dtype=jnp.int32)
    if key is not None:
        index = jax.random.permutation(key, index)
    steps = num_steps(num_examples, batch_size)
    padding = (0, steps * batch_size - num_examples)
    weight = jnp.pad(jnp.ones(num_examples, jnp.float32), padding)
    return EpochOrder(jnp.pad(index, padding).reshape(steps, -1), weight.reshape(steps, -1))


def to_float(image: Array) -> Array:
    """uint8 pixels as float32 in [0, 1]."""
    return image.astype(jnp.float32) / 255.0


def gather(split: DeviceSplit, index: Array, weight: Array) -> Batch:
    """Take the examples at `index` [B] and scale their pixels to [0, 1]."""
    pixels = split.image.reshape(len(split.image), -1)[index]  # whole rows, which XLA's CPU backend copies at once
    return Batch(to_float(pixels).reshape(-1, *split.image.shape[1:]), split.label[index], weight)
