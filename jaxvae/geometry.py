"""The shape of a latent space in numbers: are classes apart, are there holes, do lines through it decode smoothly."""

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors


def knn_accuracy(
    train: np.ndarray, train_label: np.ndarray, test: np.ndarray, test_label: np.ndarray, neighbours: int = 10
) -> float:
    """Share of test encodings [M, Z] that the vote of their nearest train encodings [N, Z] gives the right class."""
    classifier = KNeighborsClassifier(min(neighbours, len(train))).fit(train, train_label)
    return float(classifier.score(test, test_label))


def silhouette(z: np.ndarray, label: np.ndarray) -> float:
    """Mean silhouette of the classes among encodings [N, Z] in -1 to 1: 0 where classes touch, 1 where far apart.

    NaN where it is not defined: for one class, or where every encoding has its own.
    """
    if not 1 < len(np.unique(label)) < len(label):
        return float("nan")
    return float(silhouette_score(z, label))


def hole_ratio(encodings: np.ndarray, samples: np.ndarray) -> float:
    """How much farther samples [M, Z] lie from the nearest encoding [N, Z] than encodings lie from each other.

    The ratio of the median distances: about 1 where the samples fall among the encodings, large where they fall into
    holes or beyond the edge. Scale counts: samples of a prior that is wider than the encodings lie beyond their edge.
    NaN for a single encoding.
    """
    if len(encodings) < 2:
        return float("nan")
    neighbours = NearestNeighbors(n_neighbors=2).fit(encodings)
    to_encoding = neighbours.kneighbors(samples, n_neighbors=1)[0][:, 0]
    between = neighbours.kneighbors(encodings, n_neighbors=2)[0][:, 1]
    return float(np.median(to_encoding) / np.median(between))


def distance_to_data(images: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Mean squared pixel difference of each image [M, ...] to the nearest one of `data` [N, ...]; [M]."""
    flat, real = images.reshape(len(images), -1), data.reshape(len(data), -1)
    distance = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(real).kneighbors(flat)[0][:, 0]
    return np.square(distance) / flat.shape[1]


def largest_step(lines: np.ndarray) -> float:
    """How even decoded lines [N, S, ...] are: the largest step between neighbours times the number of steps, over the
    length of the path; averaged over lines. 1 where all steps are equal, S - 1 where one jump is everything."""
    flat = lines.reshape(*lines.shape[:2], -1).astype(np.float64)
    steps = np.linalg.norm(np.diff(flat, axis=1), axis=-1)
    return float(np.mean(steps.max(axis=1) * steps.shape[1] / (steps.sum(axis=1) + 1e-12)))


def tsne(z: np.ndarray, seed: int = 0) -> np.ndarray:
    """A t-SNE embedding of encodings [N, Z] in the plane [N, 2] (van der Maaten and Hinton 2008)."""
    perplexity = min(30.0, (len(z) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(np.asarray(z, np.float32))
