"""What a picture of a digit looks like in three numbers, and how much of them a latent dimension explains."""

import numpy as np

PROPERTIES = ("slant", "width", "ink")


def measure(image: np.ndarray) -> dict[str, np.ndarray]:
    """Slant, width and ink of images [N, H, W, C] in [0, 1], by the moments of their brightness; [N] each.

    - slant: columns to the right per row upwards, the shear that best straightens the strokes; about 0 for an upright
      digit, positive where it leans to the right.
    - width: standard deviation of the columns around the sheared axis, in pixels.
    - ink: mean brightness.
    """
    weight = image.mean(axis=-1, dtype=np.float64)
    total = weight.sum(axis=(1, 2)) + 1e-12
    rows, columns = np.meshgrid(np.arange(weight.shape[1]), np.arange(weight.shape[2]), indexing="ij")

    def mean(values: np.ndarray) -> np.ndarray:
        return (weight * values).sum(axis=(1, 2)) / total

    x = columns - mean(columns)[:, None, None]
    y = mean(rows)[:, None, None] - rows  # upwards
    slant = mean(x * y) / (mean(y * y) + 1e-12)
    width = np.sqrt(mean(np.square(x - slant[:, None, None] * y)))
    return {"slant": slant, "width": width, "ink": weight.mean(axis=(1, 2))}


def share(z: np.ndarray, value: np.ndarray) -> float:
    """The share of `value`'s variance [N] that a line through `z` [N] explains: the squared correlation."""
    if z.std() == 0 or value.std() == 0:
        return 0.0
    return float(np.corrcoef(z, value)[0, 1] ** 2)


def share_of_class(z: np.ndarray, label: np.ndarray) -> float:
    """The share of the variance of `z` [N] that lies between the classes (eta squared)."""
    within = sum(np.square(z[label == k] - z[label == k].mean()).sum() for k in np.unique(label))
    total = np.square(z - z.mean()).sum()
    return float(1 - within / total) if total > 0 else 0.0
