"""scikit-learn's embedded digits in the shape of MNIST: real handwriting that needs no network.

1,797 images of 8x8 pixels with 17 grey levels, the test part of E. Alpaydin and C. Kaynak, "Optical Recognition of
Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

import hashlib
import importlib.resources

import numpy as np

from jaxvae.data.dataset import Dataset, Split

DESCRIPTION = "scikit-learn's 1,797 8x8 digits brought to 28x28"

# Catmull-Rom interpolation at thirds of a pixel, times 27: the weight of an input pixel at distance 0/3, 1/3, ... 6/3.
_CUBIC = np.array([27, 21, 9, 0, -2, -1, 0])


def load_digits(source: str = DESCRIPTION) -> Dataset:
    """Return the digits as 1,500 training and 297 test images, uint8 [N, 28, 28, 1].

    The split is fixed and stratified, without random numbers: in the order of the file, the 5th of every 6 images of
    a class is a test image. The file does not tell the writers, so one writer may be in both splits.
    """
    from sklearn import datasets  # here: about a second that `--help` need not pay

    pixels, target = datasets.load_digits(return_X_y=True)
    image, label = enlarge(np.reshape(pixels, (-1, 8, 8)))[..., None], np.asarray(target, np.int32)
    rank = np.zeros_like(label)  # position of an image within its class
    for digit in range(10):
        rank[label == digit] = np.arange(np.sum(label == digit))
    test = rank % 6 == 4
    file = importlib.resources.files("sklearn.datasets.data") / "digits.csv.gz"
    return Dataset(
        name="digits",
        train=Split(image[~test], label[~test]),
        test=Split(image[test], label[test]),
        source=source,
        sha256={file.name: hashlib.sha256(file.read_bytes()).hexdigest()},
    )


def enlarge(images: np.ndarray) -> np.ndarray:
    """Bring images [N, 8, 8] with values from 0 to 16 to uint8 [N, 28, 28] with values from 0 to 255.

    Three times larger by cubic (Catmull-Rom) interpolation, fading into a black border: input pixel i lies at
    3 + 3 * i. All in integers: the result is the same on every platform.
    """
    thirds = np.abs(np.arange(28)[:, None] - (3 + 3 * np.arange(8)))  # [28, 8] distances in thirds of an input pixel
    weight = _CUBIC[np.minimum(thirds, 6)]
    enlarged = weight @ images.astype(np.int64) @ weight.T  # 0..16 times 27 * 27
    scale = 16 * 27 * 27
    return np.clip((enlarged * 255 + scale // 2) // scale, 0, 255).astype(np.uint8)
