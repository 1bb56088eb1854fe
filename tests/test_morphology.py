import numpy as np
import pytest

from jaxvae import morphology


def stroke(slant, width=1, size=28):
    """A straight stroke of `width` pixels that leans to the right by `slant` columns per row upwards."""
    image = np.zeros((size, size, 1))
    for row in range(4, 24):
        centre = round(14 + slant * (13.5 - row))
        image[row, centre - width // 2 : centre - width // 2 + width] = 1
    return image


@pytest.mark.parametrize("slant", [-0.5, 0.0, 0.25, 0.5])
def test_slant_of_a_stroke(slant):
    measured = morphology.measure(stroke(slant)[None])["slant"]
    np.testing.assert_allclose(measured, slant, atol=0.02)


def test_width_is_the_deviation_across_and_ignores_slant_and_place():
    width = morphology.measure(np.stack([stroke(0, 5), np.roll(stroke(0, 5), 4, axis=1)]))["width"]
    np.testing.assert_allclose(width, np.std([-2, -1, 0, 1, 2]), rtol=1e-9)
    assert morphology.measure(stroke(0.5, 1)[None])["width"] < 0.4


def test_ink_is_the_mean_brightness():
    np.testing.assert_allclose(morphology.measure(np.full((1, 4, 4, 1), 0.25))["ink"], 0.25)


def test_a_black_image_is_finite():
    assert all(np.isfinite(value).all() for value in morphology.measure(np.zeros((1, 8, 8, 1))).values())


def test_properties_are_those_measured():
    assert tuple(morphology.measure(stroke(0)[None])) == morphology.PROPERTIES


def test_share_of_a_line_noise_and_nothing():
    rng = np.random.default_rng(0)
    z = rng.normal(size=10_000)
    np.testing.assert_allclose(morphology.share(z, 3 - 2 * z), 1)
    np.testing.assert_allclose(morphology.share(z, z + rng.normal(size=10_000)), 0.5, atol=0.02)
    assert morphology.share(z, rng.normal(size=10_000)) < 0.001
    assert morphology.share(z, np.ones(10_000)) == 0


def test_share_of_class_by_hand():
    label = np.array([0, 0, 1, 1])
    assert morphology.share_of_class(np.array([0.0, 0, 1, 1]), label) == 1
    np.testing.assert_allclose(morphology.share_of_class(np.array([0.0, 2, 2, 4]), label), 0.5)  # 4 of 8 between
    assert morphology.share_of_class(np.array([1.0, 3, 1, 3]), label) == 0
    assert morphology.share_of_class(np.ones(4), label) == 0
