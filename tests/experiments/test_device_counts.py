"""The command that compares layouts: what it takes for a difference, and that one breaks the promise."""

import json
import math

import pytest

from experiments import device_counts
from experiments.device_counts import PROMISE, DeviceCounts, command, difference, run
from jaxvae import cli
from jaxvae.errors import ConfigError, JaxvaeError


def lines(*losses, split="train"):
    return [{"member": "0", "epoch": str(n), "split": split, "loss": str(loss)} for n, loss in enumerate(losses)]


def test_the_largest_relative_difference_of_a_split():
    found = lines(100.0, 50.5) + lines(3.0, split="test")
    expected = lines(100.0, 50.0) + lines(1.0, split="test")
    assert difference(found, expected, "train", "loss") == pytest.approx(0.01)
    assert difference(found, expected, "test", "loss") == pytest.approx(2.0)
    assert math.isnan(difference(lines(1.0, "nan", 1.0), lines(1.0, 1.0, 1.0), "train", "loss"))
    with pytest.raises(JaxvaeError, match="same order"):
        difference(found[1::-1], expected[:2], "train", "loss")
    with pytest.raises(ValueError, match="longer"):
        difference(found[:1], expected, "train", "loss")


def test_an_epoch_is_a_step(tmp_path):
    arguments = command(DeviceCounts(steps=7, batch_size=16), tmp_path)
    values = dict(zip(arguments[2::2], arguments[3::2], strict=True))
    assert (values["--limit"], values["--batch-size"], values["--epochs"]) == ("16", "16", "7")


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 51}, {"batch_size": 0}])
def test_flags_are_checked(wrong):
    with pytest.raises(ConfigError):
        DeviceCounts(**wrong)


@pytest.fixture
def losses_are(monkeypatch):
    """Make runs end at once with these training losses, in turn."""

    def runs(*losses):
        found = iter(losses)

        def metrics(folder):
            row = {"member": "0", "epoch": "1", "loss": str(next(found)), "mse": "1"}
            return [{**row, "split": "train"}, {**row, "split": "test"}]

        monkeypatch.setattr(device_counts, "launch", lambda *arguments: [])
        monkeypatch.setattr(device_counts, "metrics", metrics)

    return runs


def test_the_promise(tmp_path, losses_are, capsys):
    losses_are(100.0, 100.0 * (1 + 0.5 * PROMISE), 100.0, 100.0, 100.0)
    run(DeviceCounts(out=tmp_path / "kept"))
    assert "NO" not in capsys.readouterr().out
    losses_are(100.0, 100.0, 100.0 * (1 + 2 * PROMISE), 100.0, 100.0)
    with pytest.raises(JaxvaeError, match="the losses on 1 x 8 differ by more than 1e-05"):
        run(DeviceCounts(out=tmp_path / "broken"))
    losses_are(100.0, 100.0, "nan", 100.0, 100.0)
    with pytest.raises(JaxvaeError, match="1 x 8"):
        run(DeviceCounts(out=tmp_path / "not a number"))
    assert "NO" in (tmp_path / "broken" / "device_counts.md").read_text()


@pytest.mark.slow
def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    """One device and two processes of two, as commands; the other layouts differ in their numbers."""
    monkeypatch.setattr(device_counts, "LAYOUTS", ((1, 1), (2, 2)))
    flags = ["--dataset", "digits", "--steps", "2", "--batch-size", "16", "--out", str(tmp_path / "run")]
    assert cli.main("device_counts", DeviceCounts, run, flags) == 0
    assert capsys.readouterr().out.count(" yes |") == 2
    (environment,) = json.loads((tmp_path / "run" / "2x2" / "config.json").read_text())["environments"]
    assert environment["device_count"] == 4
