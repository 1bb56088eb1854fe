"""Both lowerings against each other and against sums written out by hand, values and gradients, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.models.lowering import (
    Window,
    col2im,
    conv,
    conv_constant,
    conv_transpose,
    enter,
    im2col,
    leave,
    per_channel,
)

CONVOLUTIONS = [  # height, width, C_in, C_out, k, stride, padding
    (28, 28, 1, 6, 3, 1, 1),
    (28, 28, 6, 16, 3, 2, 1),
    (14, 14, 16, 4, 3, 1, 1),  # fewer channels out than in at stride 1: multiplied first
    (14, 14, 4, 5, 4, 2, 1),
    (7, 7, 3, 2, 3, 2, 1),  # odd size
    (7, 5, 3, 2, 3, 2, 0),
    (9, 8, 2, 3, 3, 3, 1),
    (5, 5, 5, 2, 2, 1, 0),
    (6, 6, 2, 3, 1, 2, 0),  # patches that leave pixels out
]
TRANSPOSED = [  # height, width, C_in, C_out, k, stride, padding, output padding
    (7, 7, 5, 4, 4, 2, 1, 0),
    (7, 7, 4, 3, 3, 2, 1, 1),
    (4, 4, 4, 3, 3, 2, 1, 0),
    (5, 6, 2, 3, 3, 1, 1, 0),
    (4, 3, 2, 3, 2, 3, 0, 1),
]
CONSTANT = [  # height, width, C_in, C_out, k, stride, padding
    (7, 6, 3, 2, 3, 1, 1),
    (6, 7, 2, 3, 4, 2, 1),
    (7, 5, 1, 2, 3, 2, 0),  # no tap ever outside
    (2, 2, 2, 2, 3, 1, 2),  # padding as wide as the image
    (9, 8, 2, 1, 3, 3, 1),
]


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


def by_hand(image, kernel, stride, padding):
    """Cross-correlation as four nested loops."""
    k = kernel.shape[0]
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = ((n - k) // stride + 1 for n in padded.shape[1:3])
    result = np.zeros((len(image), rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            patch = padded[:, stride * i : stride * i + k, stride * j : stride * j + k]
            result[:, i, j] = np.tensordot(patch, kernel, 3)
    return result


def by_hand_transposed(image, kernel, stride, padding, output_padding):
    """Every input pixel adds its taps to the output."""
    k = kernel.shape[0]
    _, height, width, _ = image.shape
    full = np.zeros(
        (
            len(image),
            (height - 1) * stride + k + output_padding,
            (width - 1) * stride + k + output_padding,
            kernel.shape[-1],
        )
    )
    for i in range(height):
        for j in range(width):
            taps = np.einsum("nc,abco->nabo", image[:, i, j], kernel)
            full[:, stride * i : stride * i + k, stride * j : stride * j + k] += taps
    end = [n - padding for n in full.shape[1:3]]
    return full[:, padding : end[0], padding : end[1]]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_conv(case):
    height, width, channels_in, channels_out, k, stride, padding = case
    image, kernel = arrays((2, height, width, channels_in), (k, k, channels_in, channels_out))
    expected = by_hand(np.asarray(image), np.asarray(kernel), stride, padding)
    check(partial(conv, stride=stride, padding=padding), image, kernel, expected)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_conv_transpose(case):
    height, width, channels_in, channels_out, k, stride, padding, extra = case
    image, kernel = arrays((2, height, width, channels_in), (k, k, channels_in, channels_out))
    expected = by_hand_transposed(np.asarray(image), np.asarray(kernel), stride, padding, extra)
    check(partial(conv_transpose, stride=stride, padding=padding, output_padding=extra), image, kernel, expected)


def on_images(function, image, kernel, lowering):
    """A convolution of images rather than feature maps."""
    return leave(function(enter(image, lowering), kernel, lowering=lowering), lowering, image.shape[:-3])


def check(function, image, kernel, expected):
    """Both lowerings equal `expected`; their gradients are equal; one image without a batch axis gives the same."""
    (weight,) = arrays(expected.shape)

    @partial(jax.jit, static_argnums=0)
    def results(lowering, image, kernel):
        def scalar(x, w):
            y = on_images(function, x, w, lowering)
            return jnp.sum(weight * jnp.sin(y)), y

        gradients, batch = jax.grad(scalar, argnums=(0, 1), has_aux=True)(image, kernel)
        return batch, on_images(function, image[0], kernel, lowering), gradients

    native, gemm = (results(lowering, image, kernel) for lowering in ("native", "gemm"))
    for batch, single, _ in (native, gemm):
        np.testing.assert_allclose(batch, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(single, expected[0], rtol=1e-12, atol=1e-12)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-11), native[2], gemm[2])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", CONSTANT, ids=str)
def test_conv_constant_is_the_convolution_of_constant_planes(case):
    height, width, channels_in, channels_out, k, stride, padding = case
    channels, kernel = arrays((2, channels_in), (k, k, channels_in, channels_out))
    planes = np.broadcast_to(np.asarray(channels)[:, None, None], (2, height, width, channels_in))
    expected = by_hand(planes, np.asarray(kernel), stride, padding)

    for form in ("native", "gemm"):
        whole = partial(conv_constant, size=(height, width), stride=stride, padding=padding, lowering=form)
        maps = jax.jit(whole)(channels, kernel)
        np.testing.assert_allclose(leave(maps, form, (2,)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_col2im_is_the_transpose_of_im2col():
    window = Window(3, 2, 1, (7, 6), (4, 3))
    image, patches = arrays((2, 7, 6, 5), (18, 4, 3, 5))
    left, right = jnp.vdot(im2col(image, window), patches), jnp.vdot(image, col2im(patches, window))
    np.testing.assert_allclose(left, right, rtol=1e-12)


def test_im2col_takes_the_patches_in_row_major_order():
    image = jnp.arange(9.0).reshape(1, 3, 3, 1)
    patches = im2col(image, Window(2, 1, 0, (3, 3), (2, 2)))
    np.testing.assert_array_equal(patches[:, 0, 1, 0], [1, 2, 4, 5])


@pytest.mark.parametrize("form", ["native", "gemm"])
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)], ids=str)
def test_leave_is_the_inverse_of_enter(form, leading):
    image = jnp.arange(40.0 * np.prod(leading, dtype=int)).reshape(*leading, 4, 5, 2)
    maps = enter(image, form)
    batch = int(np.prod(leading))
    assert maps.shape == ((batch, 4, 5, 2) if form == "native" else (2, 4, 5, batch))
    np.testing.assert_array_equal(leave(maps, form, leading), image)
    bias = jnp.arange(2.0)
    np.testing.assert_array_equal(
        leave(maps + per_channel(bias, form), form, leading), np.asarray(image) + np.asarray(bias)
    )


def test_vmapped_gemm_under_scan_gives_the_native_gradient():
    """One example at a time under vmap, inside a loop, float32."""
    images, (kernel,) = jnp.asarray(arrays((3, 4, 8, 8, 2))[0], jnp.float32), arrays((3, 3, 2, 3))
    kernel = kernel.astype(jnp.float32)

    def gradient(lowering):
        def loss(w, batch):
            out = jax.vmap(lambda x: on_images(partial(conv, stride=2, padding=1), x, w, lowering))(batch)
            return jnp.sum(jnp.square(out))

        return jax.lax.scan(lambda total, batch: (total + jax.grad(loss)(kernel, batch), None), 0 * kernel, images)[0]

    np.testing.assert_allclose(jax.jit(gradient, static_argnums=0)("gemm"), gradient("native"), rtol=2e-5, atol=1e-4)
