"""Golden runs: the first 20 steps of every architecture and loss, kept in `losses.json`.

    python -m tests.golden            # makes them anew, says what changed, writes the file
    python -m tests.golden --check    # says what changed, writes nothing

A dependency's upgrade that changes results is seen by `tests/test_golden.py`. Digits, 640 images, batch 32, one epoch
of 20 steps, Adam at 1e-3, seed 0, one device.

The tolerance is from what other settings changed in a loss or a KL on one machine: 8 devices, XLA's older fusions, the
instructions of AVX2 and of SSE 4.2, native convolutions. 14 of the 17 runs differed by 3.2e-5 at most, most of them by
less than 1e-6. The KLs of the others, `JUMPED`, differed by 4.5e-4, 1.4e-3 and 2.8e-3 in one or two of the settings:
what rounding does where a ReLU's input, or a gradient, which Adam makes a whole step, is almost 0.
An Adam epsilon of 1e-6 changes the fast runs by 2e-3 at least, a learning rate 1 % higher by 2.5e-2.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxvae.config import Config
from jaxvae.data import Dataset, Split, load
from jaxvae.fit import Sweep
from jaxvae.models import ARCHITECTURES
from jaxvae.parallel import Device, to_host
from jaxvae.sweep import grid

FILE = Path(__file__).with_name("losses.json")
IMAGES, BATCH = 640, 32

TOLERANCE = 2e-4
JUMPED = {"leaky_conv_4": 1e-2, "leaky_conv_attention": 1e-2, "region_weighted": 2e-3}
"""Tolerances of runs that jumped."""

Terms = dict[str, np.ndarray]
"""`loss` and `kl` of each step [20], nats per image."""


@dataclass(frozen=True)
class Run:
    """What is trained; scalars beside the defaults of `Hparams`."""

    config: Config
    scalars: dict[str, float] = field(default_factory=dict)
    seed: int = 0

    def but(self, *, seed: int | None = None, scalars: dict[str, float] | None = None, **config: Any) -> "Run":
        """The same with something changed."""
        changed = {**self.scalars, **(scalars or {})}
        return Run(replace(self.config, **config), changed, self.seed if seed is None else seed)


LABELLED = Config(architecture="mlp_200", conditional=True)
WEIGHTS = {"white_threshold": 0.5, "white_weight": 1.5, "black_weight": 0.5}
RUNS = {
    **{name: Run(Config(architecture=name)) for name in ARCHITECTURES},  # pyright: ignore[reportArgumentType]
    "conditional": Run(LABELLED),
    "log_std_mixup": Run(replace(LABELLED, noise="log_std_mixup")),
    "bernoulli": Run(Config(architecture="mlp", reconstruction="bernoulli")),
    "gaussian": Run(Config(architecture="mlp", reconstruction="gaussian"), {"variance": 0.1}),
    "region_weighted": Run(Config(architecture="mlp", reconstruction="region_weighted"), WEIGHTS),
}


def train(run: Run, *, devices: list[Device] | None = None) -> Terms:
    """The terms of the first epoch."""
    digits = load("digits")
    few = Dataset("digits", Split(*(x[:IMAGES] for x in digits.train)), Split(*(x[:BATCH] for x in digits.test)), "")
    members = grid(seeds=(run.seed,), **run.scalars)
    sweep = Sweep(run.config, few, members, batch_size=BATCH, devices=devices or jax.devices()[:1])
    _, terms = sweep.train_epoch(sweep.start().state, 1)
    terms = to_host(terms)
    return {"loss": terms.loss[0], "kl": terms.kl[0]}


def kept() -> dict[str, Any]:
    """The file: `made_with`, and `runs` by name, each its terms as lists."""
    return json.loads(FILE.read_text()) if FILE.exists() else {"made_with": {}, "runs": {}}


def tolerance(name: str) -> float:
    """By how much a term of a run may differ, relative."""
    return JUMPED.get(name, TOLERANCE)


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """The largest relative difference of any step's term; infinite where there is a NaN or nothing to compare with."""
    if not expected:
        return float("inf")
    errors = np.concatenate([np.asarray(found[name]) / np.asarray(expected[name]) - 1 for name in ("loss", "kl")])
    return float(np.max(np.where(np.isnan(errors), np.inf, np.abs(errors))))
