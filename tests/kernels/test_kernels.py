"""Every kernel against its plain definition in float64, whatever there is: values, gradients, vmap, lowering."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.dtypes import float0

from experiments.kernel_lab import measure
from jaxvae.config import Config
from jaxvae.errors import ConfigError
from jaxvae.fit import build_model
from jaxvae.kernels import check_device, every_kernel, implemented
from jaxvae.kernels.bernoulli_output import likelihood, on_gpu
from jaxvae.kernels.kernel import Kernel
from jaxvae.losses import bernoulli
from jaxvae.train import init_state, make_train_step
from jaxvae.types import Batch, Hparams

KERNELS = every_kernel()
CALLS = [
    pytest.param(name, dtype, sizes, id=f"{name}-{dtype}-{'x'.join(map(str, sizes.values()))}")
    for name, kernel in KERNELS.items()
    for dtype in kernel.dtypes
    for sizes in kernel.odd
]
every_call = pytest.mark.parametrize(("name", "dtype", "sizes"), CALLS)
of_each = pytest.mark.parametrize("name", KERNELS)


def pallas_of(name):
    """Not compiled before: another platform may have been chosen then."""
    function = implemented(name, "pallas")
    return lambda *arguments: function(*arguments)


def values_and_gradients(kernel: Kernel, function, arguments, cotangents):
    """Of a function; `cotangents` by the outputs."""
    if not kernel.differentiable:
        return function(*arguments), ()
    return measure.with_gradient(function, kernel.differentiable)(cotangents, *arguments)


def cotangents_of(kernel: Kernel, arguments):
    """Random numbers of the shapes of the outputs."""
    outputs = jax.eval_shape(implemented(kernel.name, "xla"), *arguments)
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), outputs)


def close(found, expected, tolerance):
    """Leaf by leaf, as a share of the largest number."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if a.dtype == float0:
            continue
        assert a.shape == b.shape
        a, b = (np.asarray(x, np.float64) for x in (a, b))
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(b).max(initial=0), 1e-30))


def expected_of(kernel, arguments, cotangents):
    with jax.enable_x64(True):
        return values_and_gradients(
            kernel, implemented(kernel.name, "xla"), jax.tree.map(measure.widened, arguments), cotangents
        )


@every_call
@pytest.mark.usefixtures("interpreted")
def test_values_and_gradients_are_those_of_float64(name, dtype, sizes):
    kernel = KERNELS[name]
    arguments = kernel.inputs(jax.random.key(1), sizes, dtype)
    cotangents = cotangents_of(kernel, arguments)
    found = jax.jit(partial(values_and_gradients, kernel, pallas_of(name)))(arguments, cotangents)
    close(found, expected_of(kernel, arguments, cotangents), kernel.tolerance[dtype])


@of_each
@pytest.mark.parametrize("scale", [30.0, 1e4])
@pytest.mark.usefixtures("interpreted")
def test_extreme_numbers(name, scale):
    kernel = KERNELS[name]
    arguments = kernel.extreme(kernel.inputs(jax.random.key(2), kernel.odd[1], "float32"), scale)
    cotangents = cotangents_of(kernel, arguments)
    found = jax.jit(partial(values_and_gradients, kernel, pallas_of(name)))(arguments, cotangents)
    close(found, expected_of(kernel, arguments, cotangents), kernel.tolerance["float32"])


@of_each
@pytest.mark.usefixtures("interpreted")
def test_members_are_each_their_own(name):
    """`vmap` over three members is three calls."""
    kernel = KERNELS[name]
    each = [kernel.inputs(jax.random.key(seed), kernel.odd[1], "float32") for seed in range(3)]
    cotangents = cotangents_of(kernel, each[0])
    function = partial(values_and_gradients, kernel, pallas_of(name))
    members = jax.jit(jax.vmap(function, (0, None)))(jax.tree.map(lambda *xs: jnp.stack(xs), *each), cotangents)
    for k, arguments in enumerate(each):
        alone = jax.jit(function)(arguments, cotangents)
        close(jax.tree.map(lambda x, k=k: x[k], members), alone, 1e-6)


@every_call
@pytest.mark.parametrize("target", ["cuda", "tpu"])
def test_it_lowers(name, dtype, sizes, target):
    """For a platform that is not here, with its gradient and under `vmap`."""
    kernel = KERNELS[name]
    arguments = kernel.inputs(jax.random.key(1), sizes, dtype)
    cotangents = cotangents_of(kernel, arguments)
    function = jax.vmap(partial(values_and_gradients, kernel, pallas_of(name)))
    arguments, cotangents = jax.tree.map(lambda x: jnp.stack([x] * 3), (arguments, cotangents))
    text = jax.jit(function).trace(arguments, cotangents).lower(lowering_platforms=(target,)).as_text()
    assert {"cuda": "mosaic_gpu", "tpu": "tpu_custom_call"}[target] in text


@of_each
def test_the_shapes_of_the_laboratory_lower(name):
    """As it measures them: with gradients, and under `vmap` where there are members."""
    kernel = KERNELS[name]
    for sizes in kernel.shapes.values():
        for dtype in kernel.dtypes:
            for gradient in (False, True)[: 1 + bool(kernel.differentiable)]:
                arguments = jax.eval_shape(partial(measure.inputs, kernel, sizes, dtype, gradient))
                function = jax.jit(measure.call(kernel, "pallas", sizes, gradient))
                for target in ("cuda", "tpu"):
                    function.trace(*arguments).lower(lowering_platforms=(target,))


@pytest.mark.parametrize("architecture", ["mlp", pytest.param("conv", marks=pytest.mark.slow)])
@pytest.mark.parametrize("target", ["cuda", "tpu"])
def test_a_train_step_of_members_lowers(architecture, target):
    config = Config(architecture=architecture, reconstruction="bernoulli", implementation="pallas")
    model = build_model(config, (28, 28, 1), 10)
    keys = jax.random.split(jax.random.key(0), 2)
    init = jax.vmap(partial(init_state, model, (28, 28, 1)), (0, None))
    state = jax.eval_shape(init, keys, Hparams())
    batch = Batch(*(jax.ShapeDtypeStruct((100, *rest), kind) for rest, kind in BATCH))
    step = jax.vmap(make_train_step(model, bernoulli), (0, None, 0))
    text = jax.jit(step).trace(state, batch, keys).lower(lowering_platforms=(target,)).as_text()
    assert text.count({"cuda": "@mosaic_gpu_v2", "tpu": "@tpu_custom_call"}[target]) >= 5


BATCH = [((28, 28, 1), jnp.float32), ((), jnp.int32), ((), jnp.float32)]


@of_each
def test_64_bit_mode_changes_nothing(name):
    kernel = KERNELS[name]
    arguments = kernel.inputs(jax.random.key(1), kernel.odd[1], "float32")
    cotangents = cotangents_of(kernel, arguments)
    expected = jax.jit(partial(values_and_gradients, kernel, pallas_of(name)))(arguments, cotangents)
    with jax.enable_x64(True):
        function = jax.jit(partial(values_and_gradients, kernel, pallas_of(name)))
        found = function(arguments, cotangents)
        function.trace(arguments, cotangents).lower(lowering_platforms=("cuda",))
    close(found, expected, 1e-6)


@of_each
def test_the_least_bytes_are_those_of_inputs_and_outputs(name):
    kernel = KERNELS[name]

    def total(tree):
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))

    for dtype in kernel.dtypes:
        for sizes in (*kernel.odd, *kernel.shapes.values()):
            arguments = jax.eval_shape(lambda key: kernel.inputs(key, sizes, dtype), jax.random.key(0))  # noqa: B023
            outputs = jax.eval_shape(implemented(name, "xla"), *arguments)
            chosen = [arguments[k] for k in kernel.differentiable]
            exact = {False: total((arguments, outputs)), True: total((arguments, outputs, outputs, chosen))}
            scalars = 64  # rates, counts, flags
            for gradient in (False, True)[: 1 + bool(chosen)]:
                found = kernel.work(sizes, jnp.dtype(dtype).itemsize, gradient).bytes
                assert exact[gradient] - scalars <= found <= exact[gradient]


def test_the_gradient_of_the_image():
    kernel = KERNELS["bernoulli_output"]
    arguments = kernel.inputs(jax.random.key(1), kernel.odd[1], "float32")
    of_image = replace(kernel, differentiable=(3,))
    cotangents = cotangents_of(kernel, arguments)
    found = jax.jit(partial(values_and_gradients, of_image, pallas_of(kernel.name)))(arguments, cotangents)
    close(found, expected_of(of_image, arguments, cotangents), kernel.tolerance["float32"])


@of_each
def test_a_wrong_type_is_refused(name):
    kernel = KERNELS[name]
    arguments = kernel.inputs(jax.random.key(1), kernel.odd[1], "float16")
    with pytest.raises(TypeError, match="float16"):
        jax.eval_shape(pallas_of(name), *arguments)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("NOTHING", 0.0),  # pixels that fill a tile count
        ("gradient_by_logits", lambda logits, image: jax.nn.sigmoid(logits) - 1.0001 * image),
        ("cross_entropy_of", lambda logits, image: jnp.maximum(logits, 0.0) - logits * image),
    ],
    ids=["filling", "gradient", "value"],
)
@pytest.mark.usefixtures("interpreted")
def test_negative_control_a_fault_of_the_kernel_is_seen(monkeypatch, name, fault):
    kernel = KERNELS["bernoulli_output"]
    arguments = kernel.inputs(jax.random.key(1), kernel.odd[1], "float32")
    cotangents = cotangents_of(kernel, arguments)
    monkeypatch.setattr(likelihood, name, fault)
    found = jax.jit(partial(values_and_gradients, kernel, pallas_of(kernel.name)))(arguments, cotangents)
    with pytest.raises(AssertionError):
        close(found, expected_of(kernel, arguments, cotangents), kernel.tolerance["float32"])


@pytest.mark.usefixtures("gpu_interpreted")
def test_negative_control_products_of_single_bfloat16_parts_are_seen(monkeypatch):
    kernel = KERNELS["bernoulli_output"]
    arguments = kernel.inputs(jax.random.key(1), kernel.odd[1], "float32")
    monkeypatch.setattr(on_gpu, "products", lambda left, right: [(left[0], right[0])])
    found = jax.jit(pallas_of(kernel.name))(*arguments)
    expected, _ = expected_of(kernel, arguments, cotangents_of(kernel, arguments))
    with pytest.raises(AssertionError):
        close(found, expected, kernel.tolerance["float32"])


def test_a_gpu_that_the_kernels_are_not_for_is_refused():
    ampere = SimpleNamespace(platform="gpu", compute_capability="8.0")
    with pytest.raises(ConfigError, match=r"compute capability 9\.0, not 8\.0"):
        check_device("pallas", ampere)
    check_device("xla", ampere)
    for device in (SimpleNamespace(platform="gpu", compute_capability="9.0"), SimpleNamespace(platform="cpu")):
        check_device("pallas", device)
