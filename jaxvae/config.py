"""What decides the compiled program: the static configuration. Imports no jax, so that `--help` answers at once."""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxvae.errors import ConfigError

# The names that the command line offers; tests hold them equal to the tables that they select from.
Architecture = Literal[  # jaxvae.models.ARCHITECTURES
    "conv",
    "dense",
    "mlp",
    "mlp_200",
    "mlp_512",
    "conv_32_64",
    "conv_64_64",
    "leaky_conv",
    "leaky_conv_2",
    "leaky_conv_4",
    "leaky_conv_attention",
    "leaky_dense",
]
Noise = Literal["posterior", "none", "log_std_mixup"]
ReconstructionName = Literal[
    "squared_error", "bernoulli", "gaussian", "region_weighted"
]  # jaxvae.losses.RECONSTRUCTIONS
Initializer = Literal["torch", "gaussian"]
Lowering = Literal["native", "gemm"]
MemberAxis = Literal["auto", "vmap", "scan"]
Implementation = Literal["xla", "pallas"]
DataOn = Literal["auto", "device", "host"]
DatasetName = Literal["auto", "mnist", "fashion_mnist", "digits"]


@dataclass(frozen=True)
class Config:
    """Model and training settings that all members of a sweep share; every scalar that may differ is in `Hparams`.

    Raises:
        ConfigError: naming the field, its value and the rule.
    """

    architecture: Architecture = "conv"
    """Network: conv, dense and mlp_200 are document 001's, mlp_512 and conv_32_64 document 002's, leaky_... document
    003's, mlp document 004's, conv_64_64 is for document 000."""
    conditional: bool = False
    """Give encoder and decoder the label: a conditional VAE."""
    noise: Noise = "posterior"
    """What is decoded: a sample of the posterior; with none its mean, with --betas 0 an autoencoder; log_std_mixup is
    document 001's mistake."""
    latent_dim: int = 20
    """Number of latent dimensions, z; 2 adds the picture of the latent plane."""
    reconstruction: ReconstructionName = "squared_error"
    """Reconstruction loss, from logits, summed over pixels."""
    initializer: Initializer = "torch"
    """Initialization: torch is uniform in 1/sqrt(fan_in), as in the documents; gaussian is N(0, 1/fan_in)."""
    logvar_bound: float = 30.0
    """The posterior's log-variance is clipped to plus and minus this; 1e9 is as good as none."""
    member_axis: MemberAxis = "auto"
    """Members side by side (vmap) or one after the other (scan); auto: scan on a CPU, vmap on accelerators."""
    lowering: Lowering | Literal["auto"] = "auto"
    """Convolutions as matrix products (gemm) or XLA's own (native); auto: gemm on a CPU, native on accelerators."""

    implementation: Implementation = "xla"
    """What jaxvae.kernels has hand-written kernels for: left to the compiler (xla), or theirs (pallas): for GPUs of
    compute capability 9.0 (Hopper) and TPUs; a CPU interprets them, slowly."""

    def __post_init__(self) -> None:
        """Check every field."""
        for name, allowed in (
            ("architecture", Architecture),
            ("noise", Noise),
            ("reconstruction", ReconstructionName),
            ("initializer", Initializer),
            ("member_axis", MemberAxis),
        ):
            check_choice(name, getattr(self, name), get_args(allowed))
        check_choice("implementation", self.implementation, get_args(Implementation))
        check_choice("lowering", self.lowering, ("auto", *get_args(Lowering)))
        check_range("latent_dim", self.latent_dim, low=1, high=4096)
        check_range("logvar_bound", self.logvar_bound, low=0.0, high=1e9)


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ConfigError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; choose one of {', '.join(allowed)}")


def check_range(name: str, value: float, *, low: float, high: float) -> None:
    """Raise ConfigError unless low <= value <= high (which NaN is not)."""
    if isinstance(value, bool) or not low <= value <= high:
        huge = isinstance(value, int) and value.bit_length() > 128  # Python refuses to write the largest in decimals
        shown = f"{value:#x}"[:20] + "..." if huge else value
        raise ConfigError(f"{name} is {shown}; it must lie between {low} and {high}")
