"""What decides the compiled program: the static configuration. Imports no jax, so that `--help` answers at once."""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxvae.errors import ConfigError

# The names that the command line offers; tests hold them equal to the tables that they select from.
Architecture = Literal["conv", "dense", "mlp"]  # jaxvae.models.ARCHITECTURES
ReconstructionName = Literal["squared_error", "bernoulli", "gaussian"]  # jaxvae.losses.RECONSTRUCTIONS
Initializer = Literal["torch", "gaussian"]
Lowering = Literal["native", "gemm"]
MemberAxis = Literal["auto", "vmap", "scan"]
DatasetName = Literal["auto", "mnist", "fashion_mnist", "digits"]


@dataclass(frozen=True)
class Config:
    """Model and training settings that all members of a sweep share; every scalar that may differ is in `Hparams`.

    Raises:
        ConfigError: naming the field, its value and the rule.
    """

    architecture: Architecture = "conv"
    """Network: conv and dense are document 001's, mlp is document 004's."""
    latent_dim: int = 20
    """Number of latent dimensions, z; 2 adds the picture of the latent plane."""
    reconstruction: ReconstructionName = "squared_error"
    """Reconstruction loss, from logits, summed over pixels."""
    initializer: Initializer = "torch"
    """Initialization: torch is uniform in 1/sqrt(fan_in), as in the documents; gaussian is N(0, 1/fan_in)."""
    member_axis: MemberAxis = "auto"
    """Members side by side (vmap) or one after the other (scan); auto: scan on a CPU, vmap on accelerators."""
    lowering: Lowering | Literal["auto"] = "auto"
    """Convolutions as matrix products (gemm) or XLA's own (native); auto: gemm on a CPU, native on accelerators."""

    def __post_init__(self) -> None:
        """Check every field."""
        for name, allowed in (
            ("architecture", Architecture),
            ("reconstruction", ReconstructionName),
            ("initializer", Initializer),
            ("member_axis", MemberAxis),
        ):
            check_choice(name, getattr(self, name), get_args(allowed))
        check_choice("lowering", self.lowering, ("auto", *get_args(Lowering)))
        check_range("latent_dim", self.latent_dim, low=1, high=2**20)


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ConfigError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; choose one of {', '.join(allowed)}")


def check_range(name: str, value: float, *, low: float, high: float) -> None:
    """Raise ConfigError unless low <= value <= high (which NaN is not)."""
    if isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name} is {value}; it must lie between {low} and {high}")
