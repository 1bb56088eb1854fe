"""Strict mode for every test: no implicit rank or dtype promotion; pyproject makes warnings errors."""

import atexit
import gzip
import os
import shutil
import struct
import tempfile
from functools import wraps

import dm_pix
import jax
import numpy as np
import optax.tree
import pytest

from jaxvae.data import Dataset, Split

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before the first array; set it to run the tests elsewhere
if os.environ["JAX_PLATFORMS"] == "cpu":
    jax.config.update("jax_num_cpu_devices", 8)  # so that every test runs on several devices
if "PYTEST_XDIST_WORKER" not in os.environ:  # for workers, and the commands that tests start; gone afterwards
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxvae-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
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


PARTS = {
    "train-images-idx3-ubyte": ("train", 0),
    "train-labels-idx1-ubyte": ("train", 1),
    "t10k-images-idx3-ubyte": ("test", 0),
    "t10k-labels-idx1-ubyte": ("test", 1),
}


def encode_idx(array):
    """The IDX bytes of a uint8 array: an independent writer for the parser under test."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def make_arrays(size=28, train=20, test=10, seed=0):
    """{"train": (images, labels), "test": ...} of random uint8, labels 0 to 9."""
    rng = np.random.default_rng(seed)
    return {
        split: (rng.integers(0, 256, (n, size, size), np.uint8), np.arange(n, dtype=np.uint8) % 10)
        for split, n in (("train", train), ("test", test))
    }


def write_files(folder, arrays, compress=True):
    """Write the four files of a data set under their official names."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, (split, index) in PARTS.items():
        data = encode_idx(arrays[split][index])
        (folder / (f"{stem}.gz" if compress else stem)).write_bytes(gzip.compress(data) if compress else data)


@pytest.fixture(scope="session")
def idx_bytes():
    return encode_idx


@pytest.fixture(scope="session")
def random_arrays():
    return make_arrays


@pytest.fixture(scope="session")
def write_idx_files():
    return write_files
