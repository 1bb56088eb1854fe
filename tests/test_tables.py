import io

import numpy as np
import pytest

from jaxvae.tables import print_table, results_table, spread


def make_rows(beta, seed, loss, *, alive=True, active=3):
    common = {"beta": beta, "seed": seed, "epoch": 2, "alive": alive}
    test = {
        "reconstruction": 1.0,
        "kl": 0.5,
        "mse": 0.01,
        "ssim": 0.5,
        "active_units": active,
        "clamped": 0.0,
        "collapsed": active == 0,
        "dead_decoder": False,
        "worse_than_mean_image": False,
    }
    return [{**common, "split": "train", "loss": loss}, {**common, "split": "test", "loss": loss + 1, **test}]


def test_mean_and_deviation_over_seeds_and_what_they_hide():
    history = [
        {**row, "epoch": 1, "loss": 99.0} for row in make_rows(1.0, 0, 9.0)
    ]  # an earlier epoch, which must not count
    history += make_rows(1.0, 0, 2.0) + make_rows(1.0, 1, 4.0) + make_rows(1.0, 2, np.nan, alive=False)
    history += make_rows(8.0, 0, 5.0, active=0) + make_rows(8.0, 1, 5.0) + make_rows(8.0, 2, 5.0, active=0)
    header, (first, second) = results_table(history)
    assert header[0] == "beta"
    assert first[:4] == ["1", "3", "3.00 ± 1.41", "4.00 ± 1.41"]
    assert first[-1] == "1 of 3 diverged"
    assert second[-1] == "2 of 3 collapsed"


def test_every_way_to_learn_nothing_is_named_beside_the_means():
    rows = make_rows(1.0, 0, 2.0, active=0) + make_rows(1.0, 1, 4.0) + make_rows(1.0, 2, np.nan, alive=False)
    rows[1] |= {"dead_decoder": True, "worse_than_mean_image": True, "clamped": 0.1}
    _, (row,) = results_table(rows)
    assert row[-1] == (
        "1 of 3 diverged, 1 of 3 collapsed, 1 of 3 with a dead decoder, 1 of 3 worse than the mean image, "
        "1 of 3 with log-variances at the bound"
    )


def test_nobody_left():
    _, (row,) = results_table(make_rows(1.0, 0, np.nan, alive=False))
    assert row[1:4] == ["1", "–", "–"]
    assert row[-1] == "1 of 1 diverged"


@pytest.mark.parametrize(
    ("values", "text"), [([], "–"), ([1.0], "1.0"), ([1.0, 3.0], "2.0 ± 1.4"), ([1e9, 3e9], "2.00e+09 ± 1.41e+09")]
)
def test_spread(values, text):
    assert spread([{"x": value} for value in values], "x", 1) == text


def test_columns_are_aligned():
    stream = io.StringIO()
    print_table(["a", "value", "note"], [["1", "2.50", "fine"], ["10", "12.50", ""]], stream)
    assert stream.getvalue().splitlines() == [
        " a  value  note",
        "--  -----  ----",
        " 1   2.50  fine",
        "10  12.50",
    ]
