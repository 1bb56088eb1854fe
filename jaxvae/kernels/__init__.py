"""Pieces of a VAE that one hand-written kernel can fuse, each beside its plain definition.

A kernel is a folder of this package:

- `reference.py`: the definition in plain jnp, which is what `implementation="xla"` compiles;
- `pallas.py`: the same function, hand-written, with its gradient (`custom_vjp`); long ones in modules beside it;
- `__init__.py`: the arithmetic, and `KERNEL`, which says what tests and `python -m experiments.kernel_lab` need.

Both functions have the folder's name. A new folder is found by its `KERNEL`, tested and measured without further lines
anywhere. Whether training uses it is said where it belongs, in `jaxvae.objective` or `jaxvae.train`.
"""

import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

from jaxvae.config import Implementation
from jaxvae.errors import ConfigError
from jaxvae.kernels.kernel import Kernel, Sizes, Work

__all__ = ["Kernel", "Sizes", "Work", "check_device", "every_kernel", "implemented"]


@cache
def implemented(name: str, implementation: Implementation) -> Callable[..., Any]:
    """The function of the kernel `name`: of its `reference.py` for xla, of its `pallas.py` for pallas.

    `jaxvae.kernels.NAME.pallas` is imported only where it is asked for: Pallas takes a third of a second.
    """
    module = "reference" if implementation == "xla" else "pallas"
    return pkgutil.resolve_name(f"{__name__}.{name}.{module}:{name}")


@cache
def every_kernel() -> dict[str, Kernel]:
    """All kernels by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    return {name: pkgutil.resolve_name(f"{__name__}.{name}:KERNEL") for name in names}


def check_device(implementation: Implementation, device: Any) -> None:
    """Refuse hand-written kernels for a device that they are not written for.

    Raises:
        ConfigError: it is a GPU other than a Hopper.
    """
    capability = getattr(device, "compute_capability", "9.0")
    if implementation == "pallas" and device.platform == "gpu" and capability != "9.0":
        raise ConfigError(
            f"implementation is 'pallas', whose kernels are for GPUs of compute capability 9.0, not {capability}; "
            "choose xla"
        )
