"""Strict mode for every test: no implicit rank or dtype promotion; pyproject makes warnings errors."""

from functools import wraps

import dm_pix
import jax
import numpy as np
import optax.tree
import pytest

from jaxvae.data import Dataset, Split

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def let_off(function):
    """`function` with JAX's usual promotion: the strictness is for our code."""

    @wraps(function)
    def relaxed(*args, **kwargs):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return relaxed


optax.tree.bias_correction = let_off(optax.tree.bias_correction)  # decay ** count
dm_pix.ssim = let_off(dm_pix.ssim)


@pytest.fixture
def float64():
    """64-bit arithmetic for the length of one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """100 training and 40 test images that can be learned: one bright square whose place is the label."""
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        label = rng.integers(0, 4, count).astype(np.int32)
        image = rng.integers(0, 40, (count, 28, 28, 1), dtype=np.uint8)
        for i, k in enumerate(label):
            image[i, 4 + 12 * (k // 2) : 12 + 12 * (k // 2), 4 + 12 * (k % 2) : 12 + 12 * (k % 2)] = 230
        return Split(image, label)

    return Dataset("tiny", split(100), split(40), "made for tests", num_classes=4)
