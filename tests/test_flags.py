import json
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest

from jaxvae import config
from jaxvae.config import Config
from jaxvae.data import NAMES
from jaxvae.errors import ConfigError
from jaxvae.flags import (
    BATCH_SIZE,
    EPOCHS,
    SCALARS,
    USED_BY,
    DataFlags,
    Flags,
    RunFlags,
    SweepFlags,
    from_json,
    to_json,
)
from jaxvae.losses import RECONSTRUCTIONS
from jaxvae.models import ARCHITECTURES


def test_the_command_line_offers_what_there_is():
    assert set(get_args(config.Architecture)) == set(ARCHITECTURES)
    assert set(get_args(config.ReconstructionName)) == set(RECONSTRUCTIONS)
    assert set(get_args(config.DatasetName)) == set(NAMES)
    assert set(EPOCHS) == set(BATCH_SIZE) == set(NAMES) - {"auto"}


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Config, {"architecture": "unet"}, "architecture is 'unet'; choose one of conv, dense, mlp"),
        (Config, {"reconstruction": "l1"}, "reconstruction"),
        (Config, {"initializer": "zero"}, "initializer"),
        (Config, {"member_axis": "pmap"}, "member_axis"),
        (Config, {"lowering": "fft"}, "lowering"),
        (Config, {"logvar_bound": -1.0}, "logvar_bound is -1.0"),
        (Config, {"logvar_bound": float("nan")}, "logvar_bound is nan"),
        (Config, {"latent_dim": 0}, "latent_dim is 0; it must lie between 1 and 4096"),
        (Config, {"latent_dim": 4097}, "latent_dim is 4097"),
        (SweepFlags, {"betas": ()}, "betas is empty"),
        (SweepFlags, {"betas": (1.0, -1.0)}, "betas is -1.0"),
        (SweepFlags, {"betas": (float("nan"),)}, "betas is nan"),
        (SweepFlags, {"betas": (1.0, 1.0)}, "must not repeat"),
        (SweepFlags, {"seeds": (2**32,)}, "seeds is 4294967296"),
        (SweepFlags, {"seeds": (1, 1), "paired": True}, "seeds must not repeat"),
        (
            SweepFlags,
            {"betas": (1.0, 2.0), "variances": (0.1, 0.2, 0.3), "paired": True},
            "betas has 2 values, variances has 3",
        ),
        (SweepFlags, {"betas": (1.0, 1.0), "variances": (0.1, 0.1), "paired": True}, "must not repeat a member"),
        (
            SweepFlags,
            {"betas": tuple(map(float, range(101))), "seeds": tuple(range(100))},
            "has 10100 members, more than",
        ),
        (SweepFlags, {"betas": tuple(map(float, range(10_001))), "paired": True}, "has 10001 members, more than 10000"),
        (SweepFlags, {"seeds": (10**5000,)}, "seeds is 0x[0-9a-f]+[.]{3}; it must lie between 0"),
        (SweepFlags, {"learning_rates": (float("inf"),)}, "learning_rates is inf"),
        (SweepFlags, {"variances": (0.0,)}, "variances is 0.0"),
        (SweepFlags, {"white_thresholds": (128.0,)}, "white_thresholds is 128.0"),
        (SweepFlags, {"warmup_steps": (-1.0,)}, "warmup_steps is -1.0"),
        (SweepFlags, {"epochs": 0}, "epochs is 0"),
        (SweepFlags, {"batch_size": -1}, "batch_size is -1"),
        (DataFlags, {"limit": 0}, "limit is 0"),
        (RunFlags, {"checkpoint_every": 0}, "checkpoint_every is 0"),
        (RunFlags, {"out": Path("a"), "resume": Path("b")}, "exclude each other"),
    ],
)
def test_a_wrong_value_is_named(kind, values, message):
    with pytest.raises(ConfigError, match=message) as error:
        kind(**values)
    assert "\n" not in str(error.value)


def test_flags_survive_json():
    flags = Flags(
        sweep=SweepFlags(betas=(0.5, 2.0), seeds=(3,), epochs=7),
        model=Config(architecture="mlp"),
        data=DataFlags(data_dir=Path("somewhere")),
        run=RunFlags(out=Path("there")),
    )
    assert from_json(Flags, json.loads(json.dumps(to_json(flags)))) == flags


@pytest.mark.parametrize("group", [field.name for field in fields(Flags)])
def test_saved_flags_of_another_version_are_refused(group):
    values = json.loads(json.dumps(to_json(Flags())))
    with pytest.raises(ConfigError, match="not those of this version"):
        from_json(Flags, {**values, group: {**values[group], "unknown": 1}})
    with pytest.raises(ConfigError, match="not those of this version"):
        from_json(Flags, {**values, group: {}})


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("sweep", "betas", "abc"),
        ("sweep", "betas", 5),
        ("sweep", "betas", [1.0, None]),
        ("sweep", "seeds", [0.5]),
        ("sweep", "learning_rates", "1e-3"),
        ("sweep", "epochs", 2.5),
        ("sweep", "epochs", True),
        ("model", "latent_dim", None),
        ("model", "latent_dim", 20.5),
        ("model", "latent_dim", -3),
        ("model", "architecture", ["conv"]),
        ("data", "data_dir", 7),
        ("run", "debug", 1),
    ],
)
def test_saved_flags_are_checked(group, name, value):
    values = json.loads(json.dumps(to_json(Flags())))
    values[group][name] = value
    with pytest.raises(ConfigError, match=name) as error:
        from_json(Flags, values)
    assert "\n" not in str(error.value)


def test_a_sweep_over_a_scalar_that_the_loss_does_not_know_is_refused():
    several = SweepFlags(variances=(0.1, 0.5))
    with pytest.raises(ConfigError, match="only squared_error and gaussian"):
        Flags(sweep=several, model=Config(reconstruction="bernoulli"))
    Flags(sweep=several)
    with pytest.raises(ConfigError, match="white_weights has several values"):
        Flags(sweep=SweepFlags(white_weights=(1.0, 2.0)))
    Flags(sweep=SweepFlags(white_weights=(1.0, 2.0)), model=Config(reconstruction="region_weighted"))


def test_used_by_names_losses_and_flags_that_exist():
    for name, losses in USED_BY.items():
        assert name in SCALARS.values()
        assert set(losses) <= set(get_args(config.ReconstructionName))


class TestPoints:
    def of(self, flags):
        """Each point by its beta and variance; the other scalars have one value."""
        return [(point["beta"], point["variance"]) for point in flags.points]

    def test_every_combination_or_side_by_side(self):
        flags = SweepFlags(betas=(1.0, 2.0), variances=(0.1, 0.2))
        assert self.of(flags) == [(1.0, 0.1), (1.0, 0.2), (2.0, 0.1), (2.0, 0.2)]
        assert self.of(replace(flags, paired=True)) == [(1.0, 0.1), (2.0, 0.2)]

    def test_a_single_value_serves_all_places_and_a_list_may_repeat_one(self):
        flags = SweepFlags(betas=(1.0, 1.0, 4.0), variances=(0.1, 0.2, 0.1), learning_rates=(5e-3,), paired=True)
        assert self.of(flags) == [(1.0, 0.1), (1.0, 0.2), (4.0, 0.1)]
        assert {point["learning_rate"] for point in flags.points} == {5e-3}

    def test_at_points_fills_in_what_a_point_does_not_name(self):
        flags = SweepFlags(betas=(3.0,)).at_points([{"variance": 0.25}, {"beta": 8.0}])
        assert self.of(flags) == [(3.0, 0.25), (8.0, 0.5)]
        assert flags.learning_rates == (1e-3,)
        with pytest.raises(TypeError, match="no such scalar: variances"):
            SweepFlags().at_points([{"variances": 0.25}])

    def test_only_some_of_them(self):
        flags = SweepFlags(betas=(1.0, 2.0), variances=(0.1, 0.2))
        assert self.of(flags.only([1, 2])) == [(1.0, 0.2), (2.0, 0.1)]
        assert flags.only([0, 1, 2, 3]) is flags
        assert self.of(flags.only([3, 2, 1, 0])) == [(2.0, 0.2), (2.0, 0.1), (1.0, 0.2), (1.0, 0.1)]
