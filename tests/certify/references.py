"""The same quantities in float64, without cancellation, and in many digits with mpmath, by the textbook's formulas.

A reference of a pixel is `(logits, image, variance) -> Pixel`, of a latent dimension `(mean, logvar) -> KL`. Those of
mpmath give values; their derivatives are differences in many digits, independent of those derived here by hand.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import mpmath
import numpy as np

from jaxvae.types import Hparams
from tests.certify.lines import ulps

DIGITS, STEP = 100, 1e-30
FLOOR = 1e-60  # derivatives by differences are not compared below it
THRESHOLD, WHITE, BLACK = 0.5, 1.5, 0.25  # numbers of float32


class Number(NamedTuple):
    """A value or derivative, and the size of the terms that it is made of."""

    value: np.ndarray
    scale: np.ndarray


class Pixel(NamedTuple):
    """A reconstruction term and its derivatives."""

    value: Number
    logits: Number
    image: Number
    variance: Number | None = None


class KL(NamedTuple):
    """A KL and its derivatives."""

    value: Number
    mean: Number
    logvar: Number


def sigmoids(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sigmoid(logits) and 1 - sigmoid(logits), each to its last digits."""
    small = np.exp(-np.abs(logits))
    p, q = 1 / (1 + small), small / (1 + small)
    return np.where(logits < 0, q, p), np.where(logits < 0, p, q)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x))."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def bernoulli(logits: np.ndarray, image: np.ndarray, variance: np.ndarray) -> Pixel:
    """Cross-entropy."""
    del variance
    p, q = sigmoids(logits)
    value = image * softplus(-logits) + (1 - image) * softplus(logits)
    slope = (1 - image) * p - image * q
    return Pixel(Number(value, value), Number(slope, np.maximum(p, image)), Number(-logits, np.abs(logits)))


def squared_error(logits: np.ndarray, image: np.ndarray, variance: np.ndarray) -> Pixel:
    """`(p - x)^2 / (2 variance)`, p - x being `(1 - x) p - x (1 - p)`."""
    p, q = sigmoids(logits)
    d = (1 - image) * p - image * q
    size = d**2 + 2 * np.abs(d) * p + 2.0**-23 * p**2  # by what a rounding of p moves d^2
    return Pixel(
        Number(d**2 / (2 * variance), size / (2 * variance)),
        Number(d * p * q / variance, (np.abs(d) + p * q) * p / variance),
        Number(-d / variance, (np.abs(d) + p) / variance),
        Number(-((d / variance) ** 2) / 2, size / (2 * variance**2)),
    )


def gaussian(logits: np.ndarray, image: np.ndarray, variance: np.ndarray) -> Pixel:
    """The squared error with its constant."""
    error, constant = squared_error(logits, image, variance), 0.5 * np.log(2 * np.pi * variance)
    assert error.variance is not None
    return Pixel(
        Number(error.value.value + constant, error.value.scale + np.abs(constant) + 0.5),
        error.logits,
        error.image,
        Number(error.variance.value + 0.5 / variance, error.variance.scale + 0.5 / variance),
    )


def region_weighted(logits: np.ndarray, image: np.ndarray, variance: np.ndarray) -> Pixel:
    """The squared error times `WHITE` above `THRESHOLD`, else `BLACK`."""
    weight = np.where(image > THRESHOLD, WHITE, BLACK)
    value, slope, image_slope, _ = squared_error(logits, image, np.full_like(variance, 0.5))
    return Pixel(*(Number(weight * x.value, weight * x.scale) for x in (value, slope, image_slope)))


def kl(mean: np.ndarray, logvar: np.ndarray) -> KL:
    """`(mean^2 + exp(logvar) - 1 - logvar) / 2`, by a power series where that cancels."""
    series = np.zeros_like(logvar)
    for n in range(20, 2, -1):
        series = (series + 1) * logvar / n
    excess = np.where(np.abs(logvar) < 0.5, logvar**2 / 2 * (1 + series), np.expm1(logvar) - logvar)
    size = (mean**2 + np.abs(np.expm1(logvar)) + np.abs(logvar)) / 2
    slope = np.expm1(logvar) / 2
    return KL(Number((mean**2 + excess) / 2, size), Number(mean, np.abs(mean)), Number(slope, (np.exp(logvar) + 1) / 2))


PIXEL: dict[str, Callable[..., Pixel]] = {
    "bernoulli": bernoulli,
    "squared_error": squared_error,
    "gaussian": gaussian,
    "region_weighted": region_weighted,
}


def hparams(variance) -> Hparams:
    """Of one example, as the references take them."""
    return Hparams(variance=variance, white_threshold=THRESHOLD, white_weight=WHITE, black_weight=BLACK)


def _residual(logits, image):
    if logits < 0:
        return image - 1 / (1 + mpmath.exp(-logits))
    return 1 / (1 + mpmath.exp(logits)) - (1 - image)


def _cross_entropy(logits, image, variance):
    return image * mpmath.log1p(mpmath.exp(-logits)) + (1 - image) * mpmath.log1p(mpmath.exp(logits))


def _squared_error(logits, image, variance):
    return _residual(logits, image) ** 2 / (2 * variance)


def _gaussian(logits, image, variance):
    density = mpmath.exp(-_squared_error(logits, image, variance)) / mpmath.sqrt(2 * mpmath.pi * variance)
    return -mpmath.log(density)


def _weighted(logits, image, variance, region):
    return (WHITE if region > THRESHOLD else BLACK) * _residual(logits, image) ** 2


def _kl(mean, logvar):
    return (mean**2 + mpmath.exp(logvar) - 1 - logvar) / 2


EXACT = {"bernoulli": _cross_entropy, "squared_error": _squared_error, "gaussian": _gaussian}


def pixel_error(name: str, logits: np.ndarray, image: np.ndarray, variance: np.ndarray) -> float:
    """The largest error of a pixel's reference and its derivatives against mpmath, in ulp of terms of float64."""
    found = PIXEL[name](logits, image, variance)
    points = list(zip(logits.tolist(), image.tolist(), variance.tolist(), strict=True))

    def exact(order: tuple[int, int, int]) -> list:
        if name == "region_weighted":  # the region is the image's own, not that of a difference
            return [derivative(partial(_weighted, region=x), (t, x, v), order) for t, x, v in points]
        return [derivative(EXACT[name], point, order) for point in points]

    compared = zip(found, ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)), strict=True)
    if name == "gaussian":  # the other two are the squared error's own, which its constant would drown
        compared = ((found.value, (0, 0, 0)), (found.variance, (0, 0, 1)))
    return max(
        ulps(number.value, exact(order), number.scale, kind=np.float64, floor=FLOOR)
        for number, order in compared
        if number is not None
    )


def kl_error(mean: np.ndarray, logvar: np.ndarray) -> float:
    """The same of the KL, relative to the value itself."""
    found, points = kl(mean, logvar), list(zip(mean.tolist(), logvar.tolist(), strict=True))
    return max(
        ulps(number.value, [derivative(_kl, point, order) for point in points], kind=np.float64, floor=FLOOR)
        for number, order in zip(found, ((0, 0), (1, 0), (0, 1)), strict=True)
    )


def derivative(function: Callable, point: tuple[float, ...], order: tuple[int, ...]) -> float:
    """Of `function` at `point`, by a central difference in many digits; order 0 is the value."""
    with mpmath.workdps(DIGITS):
        at, step = [mpmath.mpf(x) for x in point], mpmath.mpf(STEP)
        if not any(order):
            return float(function(*at))
        up, down = ([x + sign * n * step for x, n in zip(at, order, strict=True)] for sign in (1, -1))
        return float((function(*up) - function(*down)) / (2 * step))
