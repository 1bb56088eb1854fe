"""Points to measure at: what training visits, and the extremes. float64; the caller rounds them."""

import numpy as np
from numpy.random import Generator

LOGITS = (0.0, -0.0, 1e4, -1e4, 1e-40, -1e-40, 16.6, -16.6, 17.0, -17.0, 87.3, -87.3, 88.0, -88.0, 103.0, -103.0, 745.0)
BOUND = 30.0  # the model's default logvar_bound


def logits(rng: Generator, n: int) -> np.ndarray:
    """Usual ones, up to +-110, of every size from the subnormal to 1e4, and `LOGITS`; [n]."""
    kinds = rng.normal(0, 3, n), rng.uniform(-110, 110, n), sizes(rng, n, -45, 4), rng.choice(LOGITS, n)
    return mixed(rng, *kinds)


def pixels(rng: Generator, n: int) -> np.ndarray:
    """0, 1, the grey levels of 8 bits, any between, and near 0 and 1; [n]."""
    tiny = 10 ** rng.uniform(-40, 0, n)
    levels = rng.integers(0, 256, n) / 255
    return mixed(rng, np.zeros(n), np.ones(n), levels, rng.uniform(0, 1, n), tiny, 1 - tiny)


def variances(rng: Generator, n: int) -> np.ndarray:
    """From 1e-6 to 1e6, and the default 0.5; [n]."""
    return mixed(rng, 10 ** rng.uniform(-6, 6, n), np.full(n, 0.5))


def means(rng: Generator, n: int) -> np.ndarray:
    """Usual posterior means, of every size from 1e-12 to 1e4, and 0; [n]."""
    return mixed(rng, rng.normal(0, 2, n), sizes(rng, n, -12, 4), np.zeros(n))


def logvars(rng: Generator, n: int) -> np.ndarray:
    """Log-variances within the model's bound, of every size from 1e-12 on, 0 and the bound; [n]."""
    ends = rng.choice([0.0, BOUND, -BOUND], n)
    kinds = rng.normal(-1, 2, n), rng.uniform(-BOUND, BOUND, n), sizes(rng, n, -12, np.log10(BOUND)), ends
    return np.clip(mixed(rng, *kinds), -BOUND, BOUND)


def sizes(rng: Generator, n: int, low: float, high: float) -> np.ndarray:
    """Both signs, every size from 10^low to 10^high as often; [n]."""
    return rng.choice([-1.0, 1.0], n) * 10 ** rng.uniform(low, high, n)


def mixed(rng: Generator, *kinds: np.ndarray) -> np.ndarray:
    """Each point from one of `kinds`; [n]."""
    return np.choose(rng.integers(len(kinds), size=len(kinds[0])), kinds)
