"""A certification of the numbers: every loss, KL, likelihood, sum, mean, draw and metric against float64.

    python -m tests.certify --out certification.md

Each line of the report is one quantity with its derivatives, over 100,000 points with the extremes among them: the
largest error, and the limit that it must keep. The references of float64 are themselves held against mpmath. Controls
are known mistakes, which must not keep the limits of what they replace.
"""

from collections.abc import Callable

import jax
import numpy as np
from numpy.random import Generator

from tests.certify import latents, likeness, noise, pixels, training
from tests.certify.lines import Line

PARTS: dict[str, Callable[[int, Generator], list[Line]]] = {
    "pixels": pixels.certify,
    "latents": latents.certify,
    "noise": noise.certify,
    "training": training.certify,
    "likeness": likeness.certify,
}


def certify(part: str, points: int, seed: int = 0) -> list[Line]:
    """The lines of one of `PARTS`, with so many points for each; products in float32 also on an accelerator."""
    with jax.default_matmul_precision("highest"), np.errstate(all="ignore"):
        return PARTS[part](points, np.random.default_rng((seed, list(PARTS).index(part))))
