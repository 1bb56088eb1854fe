"""The pytrees that every other module passes on. Shapes are written for one member; a sweep adds a leading axis [K]."""

from typing import NamedTuple

import optax
from flax import struct
from jax import Array
from jax.typing import ArrayLike


class Batch(NamedTuple):
    """Examples of one step."""

    image: Array  # [B, H, W, C] float32 in [0, 1]
    label: Array  # [B] int32
    weight: Array  # [B] float32: 1 for a real example, 0 for the padding of an epoch's last batch


class Posterior(NamedTuple):
    """The diagonal Gaussian q(z|x)."""

    mean: Array  # [..., Z]
    logvar: Array  # [..., Z] natural logarithm of the variance, bounded by the model's `logvar_bound`


class Terms(NamedTuple):
    """The negative ELBO of each example and its two parts, in nats: loss = reconstruction + beta * kl.

    Shape [...] from `negative_elbo`; means over the examples of a step, or of each step of an epoch [S], in training.
    """

    loss: Array
    reconstruction: Array
    kl: Array


@struct.dataclass
class Hparams:
    """Scalars that the compiled program takes as inputs: a leading axis [K] turns one run into a sweep.

    A new one is a field here, used where it belongs; `grid`, the tables and the files know it then. For a flag of the
    command line, add it to `jaxvae.flags.SweepFlags` and `SCALARS`.
    """

    learning_rate: ArrayLike = 1e-3
    warmup_steps: ArrayLike = 0.0  # the learning rate rises linearly to its value over so many steps
    beta: ArrayLike = 1.0
    variance: ArrayLike = 0.5  # of the Gaussian decoder; 0.5 makes squared error / (2 variance) the plain squared error
    white_threshold: ArrayLike = 0.5  # pixels above it are the white region of the region-weighted loss
    white_weight: ArrayLike = 1.0  # weight of its squared error
    black_weight: ArrayLike = 1.0  # weight of all other pixels


@struct.dataclass
class TrainState:
    """Everything that a training step changes, and the hyper-parameters that it must not."""

    step: Array  # int32: updates done; stops counting when the member dies
    params: dict
    opt_state: optax.OptState
    hparams: Hparams
    alive: Array  # bool: False for good once `make_train_step` refuses a step; the state stays as it was before
