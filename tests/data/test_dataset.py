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
            GOOD._replace(image=GOOD.image.astype(np.float32)),
            "image is float32[3, 4, 4, 1], expected uint8 [N, H, W, C]",
        ),
        (GOOD._replace(image=GOOD.image[..., 0]), "image is uint8[3, 4, 4]"),
        (Split(GOOD.image[:0], GOOD.label[:0]), "no images"),
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
