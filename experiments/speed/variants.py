"""Both lowerings of convolutions, at each precision of matrix products."""

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from experiments.speed.ours import Trainer, with_model
from experiments.study import Study

if TYPE_CHECKING:
    from jaxvae.data.dataset import Dataset

ROUNDS = 3
PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
"""Of matrix products and convolutions of float32 numbers; a CPU computes all of them in float32."""
HEADER = ("model", "lowering", "precision", "s/epoch", "loss of the last epoch")


class Measured(NamedTuple):
    """One variant."""

    lowering: str
    precision: str
    seconds: float  # median epoch
    loss: float  # nats per image


def measure(study: Study, data: "Dataset") -> list[Measured]:
    """The median of some epochs of each variant, all from the same parameters, in the same order."""
    import jax

    precisions = PRECISIONS[:1] if jax.default_backend() == "cpu" else PRECISIONS
    trainers = {}
    for lowering in ("native", "gemm"):
        for precision in precisions:
            trainers[lowering, precision] = Trainer(with_model(study, lowering=lowering), data)
    epochs = {variant: [] for variant in trainers}
    for _ in range(1 + ROUNDS):
        for (lowering, precision), trainer in trainers.items():
            with jax.default_matmul_precision(precision):
                epochs[lowering, precision].append(trainer.epoch())
    return [
        Measured(lowering, precision, median(epoch.seconds for epoch in found[1:]), found[-1].loss)
        for (lowering, precision), found in epochs.items()
    ]


def rows(model: str, measured: Sequence[Measured]) -> list[tuple[str, ...]]:
    """As cells."""
    return [(model, m.lowering, m.precision, f"{m.seconds:.3f}", f"{m.loss:.3f}") for m in measured]
