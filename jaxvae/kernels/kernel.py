"""What a kernel says of itself, for its tests and for the laboratory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jax import Array

Sizes = dict[str, int]
"""Names and lengths of a call's axes, such as {"B": 128, "Z": 20}."""


class Work(NamedTuple):
    """What a call has to do at least."""

    flops: float  # operations on floating-point numbers; a transcendental function counts as one
    bytes: float  # of memory: every input read once, every output written once


@dataclass(frozen=True)
class Kernel:
    """A kernel, whose functions are `implemented(name, implementation)`.

    Attributes:
        name: of its folder and its functions.
        inputs: `(key, sizes, dtype) -> arguments`, random and of the size that training has.
        work: `(sizes, itemsize, gradient) -> Work`, of a call with floating-point inputs of so many bytes each, and
            with `gradient` of its values and gradients, as the compiler's program computes them.
        shapes: what the laboratory measures: a label, such as the model that has them, and sizes; with a "K", of so
            many members under `vmap`.
        odd: sizes for tests, two at least: 1, odd ones, no multiples of tiles. The second is for tests of one size.
        extreme: `(arguments, scale) -> arguments` for tests of extreme numbers.
        dtypes: that the kernel takes; others it refuses with a TypeError that names them.
        differentiable: positions of the arguments whose gradient training asks for; empty for a kernel without.
        updates: how many of the first arguments the results replace in training, where they are donated.
        multiplies: whether its FLOPs are those of matrix products, whose rate then limits it as well as its bytes do.
        tolerance: by dtype, of values and gradients, as a share of the largest number of an array.
    """

    name: str
    inputs: Callable[[Array, Sizes, Any], tuple]
    work: Callable[[Sizes, int, bool], Work]
    shapes: Mapping[str, Sizes]
    odd: tuple[Sizes, ...]
    extreme: Callable[[tuple, float], tuple]
    dtypes: tuple[str, ...] = ("float32",)
    differentiable: tuple[int, ...] = ()
    updates: int = 0
    multiplies: bool = False
    tolerance: Mapping[str, float] = field(default_factory=lambda: {"float32": 2e-6})
