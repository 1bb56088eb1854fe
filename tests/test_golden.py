"""The first 20 steps against those kept in `tests/golden`; and changes that must be seen."""

import json

import numpy as np
import pytest

from jaxvae import train as training
from jaxvae.kernels.adam import reference as adam
from jaxvae.models import ARCHITECTURES
from jaxvae.runs import environment
from tests.golden import RUNS, difference, kept, tolerance, train
from tests.golden.__main__ import as_text

FAST = ("mlp", "dense", "conv", "conditional")
EVERY_RUN = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]


def test_every_architecture_has_a_golden_run():
    assert set(ARCHITECTURES) <= set(RUNS) == set(kept()["runs"])
    for terms in kept()["runs"].values():
        assert {name: len(values) for name, values in terms.items()} == {"loss": 20, "kl": 20}
        assert np.isfinite([*terms["loss"], *terms["kl"]]).all()


@pytest.mark.parametrize("name", EVERY_RUN)
def test_the_first_20_steps_are_those_kept(name):
    file = kept()
    error = difference(train(RUNS[name]), file["runs"][name])
    assert error <= tolerance(name), f"kept: {file['made_with']}\nhere: {environment()}\nsee `python -m tests.golden`"
    faster = difference(train(RUNS[name].but(scalars={"learning_rate": 1.01e-3})), file["runs"][name])
    assert faster > 2 * tolerance(name)


@pytest.mark.parametrize("change", [{"seed": 1}, {"initializer": "gaussian"}], ids=str)
def test_negative_control_another_seed_or_initialization_is_seen(change):
    assert difference(train(RUNS["mlp"].but(**change)), kept()["runs"]["mlp"]) > 100 * tolerance("mlp")


@pytest.fixture
def no_kept_step():
    """Steps are kept by their model; here they are made anew."""
    training.make_train_step.cache_clear()
    yield
    training.make_train_step.cache_clear()


@pytest.mark.usefixtures("no_kept_step")
def test_negative_control_another_epsilon_of_adam_is_seen(monkeypatch):
    assert adam.EPS == 1e-8
    monkeypatch.setattr(adam, "EPS", 1e-6)
    assert difference(train(RUNS["mlp"]), kept()["runs"]["mlp"]) > 5 * tolerance("mlp")


def test_a_difference_is_relative_and_nan_is_one():
    expected = {"loss": [100.0, 10.0], "kl": [1.0, 0.1]}
    found = {name: np.array(values) for name, values in expected.items()}
    assert difference(found, expected) == 0
    found["kl"] = np.array([1.0, 0.1001])
    np.testing.assert_allclose(difference(found, expected), 1e-3)
    found["loss"] = np.array([np.nan, 10.0])
    assert difference(found, expected) == difference(found, {}) == np.inf


def test_the_file_has_all_digits_of_float32():
    numbers = np.random.default_rng(0).normal(size=20).astype(np.float32)
    text = as_text({"python": "3"}, {"one": {"loss": numbers, "kl": 1e-9 * numbers}})
    read = json.loads(text)
    np.testing.assert_array_equal(np.float32(read["runs"]["one"]["loss"]), numbers)
    assert read["made_with"] == {"python": "3"}
    assert json.dumps(kept()["made_with"], indent=1).replace("\n", "\n ") in as_text(kept()["made_with"], {})
