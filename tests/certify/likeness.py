"""MSE and SSIM of pairs of images, against float64 and scikit-image."""

import jax
import numpy as np
from numpy.random import Generator
from skimage.metrics import structural_similarity
from sklearn.datasets import load_digits

from jaxvae import metrics
from tests.certify.lines import Line, largest, ulps

SIZE = 28
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def certify(n: int, rng: Generator) -> list[Line]:
    """All lines of this module."""
    one, other = pairs(max(32, -(-n // SIZE**2)), rng)
    wide = one.astype(np.float64), other.astype(np.float64)
    squares = ((wide[0] - wide[1]) ** 2).mean((-2, -1))
    found = jax.jit(lambda *x: metrics.mse(*x))(one[..., None], other[..., None])
    lines = [Line("MSE, float32", one.size, "ulp", ulps(found, squares), 8.0, "784 squares in many short sums")]

    def ssim_line(name: str, ours, settings: dict, limit: float, why: str, control: bool = False) -> Line:
        found = np.concatenate([ours(one[k : k + 1, ..., None], other[k : k + 1, ..., None]) for k in range(len(one))])
        expected = [structural_similarity(*pair, data_range=1.0, **settings) for pair in zip(*wide, strict=True)]
        return Line(name, one.size, "absolute", largest(found - np.array(expected)), limit, why, control)

    gaussian, uniform = jax.jit(lambda *x: metrics.ssim(*x)), jax.jit(lambda *x: metrics.uniform_ssim(*x))
    cancels = "a rounding of a mean square over SSIM's constant, 9e-4"
    return [
        *lines,
        ssim_line("SSIM, float32, against scikit-image", gaussian, GAUSSIAN, 2e-4, cancels),
        ssim_line(
            "SSIM of a uniform window, against scikit-image",
            uniform,
            {"win_size": 7, "use_sample_covariance": False},
            2e-4,
            f"{cancels}; its sigma of 1000",
        ),
        ssim_line("the same, against scikit-image's default", uniform, {}, 5e-3, "which divides by 48, not 49"),
        ssim_line("control: SSIM of the other window", uniform, GAUSSIAN, 2e-4, cancels, control=True),
    ]


def pairs(count: int, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Digits, flat and random images in [0, 1], each beside itself with noise, little and much, or its negative."""
    digits = np.reshape(load_digits(return_X_y=True)[0], (-1, 8, 8))[rng.integers(0, 1797, count)] / 16
    digits = np.kron(digits, np.ones((4, 4)))[:, 2:-2, 2:-2]
    flat = np.full_like(digits, 1) * rng.choice([0, 0.5, 1], (count, 1, 1))
    kind = rng.integers(0, 4, (count, 1, 1))
    one = np.select([kind < 2, kind == 2], [digits, flat], rng.uniform(0, 1, digits.shape))
    strength = rng.choice([0, 1e-4, 1e-2, 0.1, 1], (count, 1, 1))
    noisy = np.clip(one + strength * rng.normal(size=one.shape), 0, 1)
    other = np.where(rng.integers(0, 8, (count, 1, 1)) == 0, 1 - one, noisy)
    return one.astype(np.float32), other.astype(np.float32)
