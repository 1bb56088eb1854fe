import numpy as np
import pytest

from jaxvae import geometry


@pytest.fixture
def clusters():
    """Three tight clusters of 50 points in four dimensions, far apart, and their labels."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(3), 50)
    return 10.0 * np.eye(4)[label] + 0.1 * rng.normal(size=(150, 4)), label


def test_classes_that_are_apart_and_classes_that_are_mixed(clusters):
    z, label = clusters
    mixed = np.random.default_rng(1).permutation(label)
    assert geometry.knn_accuracy(z[::2], label[::2], z[1::2], label[1::2]) == 1.0
    assert geometry.knn_accuracy(z[::2], mixed[::2], z[1::2], mixed[1::2]) < 0.6
    assert geometry.silhouette(z, label) > 0.95
    assert abs(geometry.silhouette(z, mixed)) < 0.1


def test_hole_ratio_is_one_among_the_encodings_and_large_between_clusters(clusters):
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(geometry.hole_ratio(rng.normal(size=(4000, 3)), rng.normal(size=(500, 3))), 1, atol=0.15)
    z, _ = clusters
    assert geometry.hole_ratio(z, np.full((20, 4), 10 / 3)) > 20


def test_hole_ratio_by_hand():
    line = np.array([[0.0], [1.0], [2.0], [3.0]])
    assert (
        geometry.hole_ratio(line, np.array([[7.0], [8.0], [9.0]])) == 5.0
    )  # nearest is 3, the median 8 - 3; spacing 1


def test_distance_to_data_by_hand():
    data = np.array([[[0.0, 0.0]], [[1.0, 1.0]]])
    images = np.array([[[0.0, 0.2]], [[1.0, 0.0]]])
    np.testing.assert_allclose(geometry.distance_to_data(images, data), [0.02, 0.5], atol=1e-12)


def test_largest_step_of_an_even_line_and_of_a_jump():
    even = np.linspace(0, 1, 5)[None, :, None] * np.ones(3)
    jump = np.array([0.0, 0.0, 1.0, 1.0, 1.0])[None, :, None] * np.ones(3)
    np.testing.assert_allclose(geometry.largest_step(even), 1)
    np.testing.assert_allclose(geometry.largest_step(jump), 4)
    np.testing.assert_allclose(geometry.largest_step(np.concatenate([even, jump])), 2.5)


def test_tsne_keeps_clusters_apart_and_repeats_itself(clusters):
    z, label = clusters
    embedded = geometry.tsne(z)
    assert embedded.shape == (150, 2)
    assert geometry.silhouette(embedded, label) > 0.5
    np.testing.assert_array_equal(embedded, geometry.tsne(z))


def test_what_is_not_defined_is_nan():
    one, three = np.zeros((1, 2)), np.arange(6.0).reshape(3, 2)
    assert np.isnan(geometry.hole_ratio(one, three))
    assert np.isnan(geometry.silhouette(three, np.array([0, 1, 2])))
    assert np.isnan(geometry.silhouette(three, np.array([1, 1, 1])))
