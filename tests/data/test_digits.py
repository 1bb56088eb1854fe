import hashlib

import numpy as np
import pytest
from sklearn import datasets

from jaxvae.data.digits import enlarge, load_digits


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def test_shapes_and_range(digits):
    assert digits.train.image.shape == (1500, 28, 28, 1)
    assert digits.test.image.shape == (297, 28, 28, 1)
    assert digits.train.image.dtype == np.uint8
    assert (digits.train.image.min(), digits.train.image.max()) == (0, 255)


def test_bytes_are_pinned(digits):
    """Integer arithmetic only, so the same on every platform."""

    def sha256(array, dtype):
        return hashlib.sha256(np.ascontiguousarray(array, dtype).tobytes()).hexdigest()[:16]

    assert sha256(digits.train.label, "<i4") == "a5947a05f2f5abcd"
    assert sha256(digits.test.label, "<i4") == "55c953d0cdbf6e2a"
    assert sha256(digits.train.image, "u1") == "f79f18239805fd94"
    assert sha256(digits.test.image, "u1") == "f776dddbe2088189"


def test_split_is_stratified_and_complete(digits):
    assert set(np.bincount(digits.test.label)) == {29, 30}
    original = np.bincount(datasets.load_digits().target)
    np.testing.assert_array_equal(np.bincount(digits.train.label) + np.bincount(digits.test.label), original)


def test_no_test_image_is_a_training_image(digits):
    train = {image.tobytes() for image in digits.train.image}
    assert not any(image.tobytes() in train for image in digits.test.image)


def test_enlarge_keeps_the_pixels_and_a_black_border():
    image = np.zeros((1, 8, 8))
    image[0, 0, 0], image[0, 7, 3] = 16, 8
    large = enlarge(image)[0]
    assert large[3, 3] == 255  # an input pixel lies at 3 + 3 times its index
    assert large[24, 12] == 128
    assert not enlarge(np.full((1, 8, 8), 16))[0, [0, 27]].any()


def test_enlarge_agrees_with_catmull_rom_in_floating_point():
    """The reference: the cubic convolution kernel with a = -1/2 (R. Keys, 1981), in float64, zeros outside."""

    def kernel(x):
        x = np.abs(x)
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    images = datasets.load_digits().images[:50]
    weight = kernel((np.arange(28)[:, None] - 3) / 3 - np.arange(8))
    expected = np.clip(weight @ images @ weight.T * 255 / 16, 0, 255)
    assert np.abs(enlarge(images) - expected).max() <= 0.5 + 1e-6


def test_enlarge_commutes_with_mirroring():
    image = np.random.default_rng(0).integers(0, 17, (3, 8, 8))
    np.testing.assert_array_equal(enlarge(image[:, ::-1]), enlarge(image)[:, ::-1])
    np.testing.assert_array_equal(enlarge(image.swapaxes(1, 2)), enlarge(image).swapaxes(1, 2))
