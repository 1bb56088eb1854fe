"""The work of a training step, counted: multiplications and additions of its matrix products, bytes that it moves."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from jax.extend import core

if TYPE_CHECKING:
    from jaxvae.fit import Sweep


class Work(NamedTuple):
    """Per image, of one training step."""

    flops: float  # of matrix products and convolutions: two for each product of two numbers
    bytes: float  # operands and results of the operations of a step on a whole batch, as XLA counts them


def matrix_flops(jaxpr: core.Jaxpr) -> int:
    """FLOPs of all products of two matrices in a program; those in a `scan` count for each of its steps."""
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            (contracted, _), (batched, _) = equation.params["dimension_numbers"]
            left: Any = equation.invars[0].aval
            right: Any = equation.invars[1].aval
            product: Any = equation.outvars[0].aval
            if min(left.ndim, right.ndim) < 2 + len(batched):
                continue  # with a vector: a sum, not a layer
            inner = 1
            for axis in contracted:
                inner *= left.shape[axis]
            total += 2 * inner * product.size
        elif name == "conv_general_dilated":
            raise ValueError("count the gemm lowering: what XLA skips of a dilated convolution is not known")
        repeats = equation.params["length"] if name == "scan" else 1
        total += repeats * sum(matrix_flops(inner) for inner in core.jaxprs_in_params(equation.params))
    return total


def work_of_step(sweep: "Sweep") -> Work:
    """The work of one step of a sweep's only member on one batch, whole and with convolutions as matrix products."""
    from jaxvae.batches import gather
    from jaxvae.train import make_train_step

    size = sweep.batch_size
    index, weight = (jax.ShapeDtypeStruct((size,), kind) for kind in ("int32", "float32"))
    batch = jax.eval_shape(gather, sweep.train, index, weight)
    member = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), sweep.abstract_state())
    train_step = make_train_step(sweep.model, sweep.reconstruction)  # pyright: ignore[reportArgumentType]
    step = jax.jit(train_step).trace(member, batch, jax.random.key(0))
    cost = step.lower().compile().cost_analysis() or {}
    return Work(matrix_flops(step.jaxpr.jaxpr) / size, cost.get("bytes accessed", float("nan")) / size)
