import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.data import Dataset, Split
from jaxvae.errors import DataError

GOOD = Split(np.zeros((3, 4, 4, 1), np.uint8), np.array([0, 1, 9], np.int32))


def test_good_splits_pass():
    dataset = Dataset("tiny", GOOD, GOOD, source="made here")
    assert dataset.num_classes == 10
    assert dataset.sha256 == {}


@pytest.mark.parametrize(
    ("bad", "finding"),
    [
        (
            GOOD._replace(image=np.linspace(0, 1, 48, dtype=np.float32).reshape(3, 4, 4, 1)),
            "image is float32[3, 4, 4, 1] from 0 to 1, expected uint8 [N, H, W, C], 0 to 255, C 1 or 3",
        ),
        (
            GOOD._replace(image=np.full((3, 4, 4, 1), np.nan)),
            "image is float64[3, 4, 4, 1] with NaN, expected uint8 [N, H, W, C]",
        ),
        (GOOD._replace(image=np.full((3, 4, 4, 1), -np.inf)), "image is float64[3, 4, 4, 1] from -inf to -inf"),
        (GOOD._replace(image=jnp.full((3, 4, 4, 1), jnp.nan)), "image is float32[3, 4, 4, 1] with NaN"),
        (GOOD._replace(image=GOOD.image + np.int64(256)), "image is int64[3, 4, 4, 1]"),
        (GOOD._replace(image=GOOD.image > 0), "image is bool[3, 4, 4, 1]"),
        (GOOD._replace(image=GOOD.image.astype(object)), "image is object[3, 4, 4, 1]"),
        (GOOD._replace(image=GOOD.image.tolist()), "image is a list, expected an array"),
        (GOOD._replace(label=[0, 1, 9]), "label is a list, expected an array"),
        (GOOD._replace(label=None), "label is a NoneType, expected an array"),
        (GOOD._replace(image=GOOD.image[..., 0]), "image is uint8[3, 4, 4]"),
        (GOOD._replace(image=GOOD.image[None]), "image is uint8[1, 3, 4, 4, 1]"),
        (GOOD._replace(image=np.zeros((3, 1, 28, 28), np.uint8)), "image is uint8[3, 1, 28, 28], expected uint8 [N, H"),
        (GOOD._replace(image=np.zeros((3, 3, 32, 32), np.uint8)), "image is uint8[3, 3, 32, 32], expected uint8 [N, H"),
        (GOOD._replace(image=np.zeros((3, 4, 4, 4), np.uint8)), "C 1 or 3"),
        (GOOD._replace(image=np.zeros((3, 0, 4, 1), np.uint8)), "expected at least one image of at least one pixel"),
        (Split(GOOD.image[:0], GOOD.label[:0]), "image is uint8[0, 4, 4, 1], expected at least one image"),
        (GOOD._replace(label=np.array([0.0, 1.0, np.nan])), "label is float64[3] with NaN, expected int32 [3]"),
        (GOOD._replace(label=GOOD.label > 0), "label is bool[3]"),
        (GOOD._replace(label=GOOD.label[:, None]), "label is int32[3, 1]"),
        (GOOD._replace(label=np.int32(1)), "label is int32[], expected int32 [3]"),
        (GOOD._replace(label=np.eye(3, dtype=np.int32)), "label is int32[3, 3]"),
        (GOOD._replace(label=GOOD.label[:2]), "label is int32[2], expected int32 [3]"),
        (GOOD._replace(label=GOOD.label.astype(np.int64)), "label is int64[3]"),
        (GOOD._replace(label=GOOD.label + 1), "labels run from 1 to 10, expected 0 to 9"),
        (GOOD._replace(label=GOOD.label - 1), "labels run from -1 to 8"),
        (GOOD._replace(image=np.zeros((3, 5, 4, 1), np.uint8)), "both splits need one shape"),
    ],
)
def test_bad_split_is_refused(bad, finding, assert_one_line):
    with pytest.raises(DataError) as error:
        Dataset("tiny", GOOD, bad, source="made here")
    assert_one_line(error, "tiny", finding)
