from jaxvae.labels import SHORT_NAMES, in_order, label, member_label, varying
from jaxvae.sweep import HPARAMS


def test_label():
    assert label("beta", 3.0) == "β = 3"
    assert label("learning_rate", 1e-3) == "lr = 0.001"
    assert label("label", "conv, squared error") == "conv, squared error"
    assert label("of_a_new_loss", 2.0) == "of a new loss = 2"


def test_every_scalar_has_a_short_name():
    assert set(SHORT_NAMES) == set(HPARAMS)


def test_varying_names_what_differs_or_beta():
    rows = [{"beta": 1.0, "variance": v, "seed": s} for v in (0.1, 0.5) for s in (0, 1)]
    assert varying(rows, ["beta", "variance"]) == ("variance",)
    assert varying(rows, ["seed", "variance"]) == ("seed", "variance")
    assert varying(rows[:1], ["beta", "variance"]) == ("beta",)


def test_member_label():
    assert member_label({"beta": 2.0, "variance": 0.25, "seed": 1}, ("beta", "variance")) == "β = 2, σ² = 0.25"


def test_in_order_sorts_numbers_and_leaves_texts():
    assert in_order([3.0, 1.0, 3.0, 2.0]) == [1.0, 2.0, 3.0]
    assert in_order(["b", "a", "b"]) == ["b", "a"]
