"""What every data source delivers: two splits of uint8 images with labels, and where they came from."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jaxvae.errors import DataError

FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


class Split(NamedTuple):
    """Images and labels of one split, as NumPy or as device arrays.

    `image` is uint8 [N, H, W, C] with 0 for black; `label` is int32 [N].
    """

    image: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A named data set, where it came from (one sentence) and the sha256 of each file it was read from."""

    name: str
    train: Split
    test: Split
    source: str
    num_classes: int = 10
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What each label stands for."""
        return FASHION if self.name == "fashion_mnist" else tuple(map(str, range(self.num_classes)))

    def __post_init__(self) -> None:
        """Check both splits.

        Raises:
            DataError: naming the split, the field, what was expected and what was found.
        """
        for name, split in (("train", self.train), ("test", self.test)):
            check_split(f"{self.name} {name}", split, self.num_classes)
        if self.train.image.shape[1:] != self.test.image.shape[1:]:
            raise DataError(
                f"{self.name}: train images are {self.train.image.shape[1:]}, test images {self.test.image.shape[1:]}; "
                "both splits need one shape [H, W, C]"
            )


def check_split(name: str, split: Split, num_classes: int) -> None:
    """Raise DataError unless `split` is uint8 [N, H, W, C], C 1 or 3, with int32 labels [N] in [0, num_classes)."""
    for field_name, value in split._asdict().items():
        if not all(hasattr(value, attribute) for attribute in ("dtype", "ndim", "shape")):
            raise DataError(f"{name}: {field_name} is a {type(value).__name__}, expected an array")
    image, label = split
    if image.dtype != np.uint8 or image.ndim != 4 or image.shape[-1] not in (1, 3):
        raise DataError(f"{name}: image is {_described(image)}, expected uint8 [N, H, W, C], 0 to 255, C 1 or 3")
    if 0 in image.shape:
        raise DataError(f"{name}: image is {_described(image)}, expected at least one image of at least one pixel")
    if label.dtype != np.int32 or label.shape != image.shape[:1]:
        raise DataError(f"{name}: label is {_described(label)}, expected int32 [{len(image)}]")
    if label.min() < 0 or label.max() >= num_classes:
        raise DataError(f"{name}: labels run from {label.min()} to {label.max()}, expected 0 to {num_classes - 1}")


def _described(array: np.ndarray) -> str:
    """Type and shape; of floats, which may have been meant as pixels, the range as well."""
    text = f"{array.dtype}{list(array.shape)}"
    if not np.issubdtype(array.dtype, np.floating) or 0 in array.shape:
        return text
    return f"{text} with NaN" if np.isnan(array).any() else f"{text} from {array.min():g} to {array.max():g}"


class Unavailable(DataError):
    """A source does not hold the data set, and nothing in it is damaged: the next source may be tried."""
