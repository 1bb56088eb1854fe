"""The benchmark's command."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from experiments.speed.__main__ import MODELS, Speed, run, study_of
from experiments.speed.contestants import Contestant, Task
from jaxvae.errors import ConfigError, DataError
from jaxvae.flags import DataFlags


def test_flags_are_checked():
    for wrong in ({"models": ("E",)}, {"epochs": 0}, {"members": (0,)}, {"members": ()}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Speed(parts=("costs",), **wrong)
    with pytest.raises(ConfigError, match="rgb"):
        Speed(parts=("costs",), data=DataFlags(rgb=True))


def test_without_pytorch_the_other_parts_work(monkeypatch):
    monkeypatch.setattr("experiments.speed.__main__.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[bench\]'"):
        Speed()
    Speed(parts=("costs", "profile"))


def test_the_error_of_a_process_is_one_line_here(tmp_path):
    study = study_of("A", DataFlags(data_dir=tmp_path))
    with Contestant("jaxvae", Task(study, tmp_path)) as ours, pytest.raises(DataError, match=str(tmp_path)):
        ours.ask("images")


@pytest.mark.parametrize("model", MODELS)
def test_a_study_has_one_member_and_a_batch_that_its_data_fills(model):
    study = study_of(model, DataFlags(dataset="digits", limit=40))
    assert (len(study.sweep.points), len(study.sweep.seeds), study.sweep.batch_size) == (1, 1, 40)
    assert study_of("B", DataFlags()).sweep.batch_size == 1024


@pytest.mark.slow
def test_parts_from_the_command_line(tmp_path):
    parts = ["costs", "members", "variants", "profile"] + ["training"] * bool(find_spec("torch"))
    flags = ["--models", "A", "--epochs", "1", "--members", "1", "2", "--dataset", "digits", "--limit", "64"]
    command = [sys.executable, "-m", "experiments.speed", *flags, "--parts", *parts, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"costs.md", "members.md", "variants.md", "profile_A.md"} <= names
    recorded = json.loads((tmp_path / "out" / "environment_costs.json").read_text())["A"]
    assert recorded["dataset"].keys() == {"name", "train", "test", "sha256"}
    assert recorded["dataset"]["train"] == 64
    assert ("speed.png" in names) == ("training" in parts)
    assert "| A | 2 |" in (tmp_path / "out" / "members.md").read_text()


@pytest.mark.slow
def test_the_part_of_several_devices(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.speed.devices.COUNTS", (1, 2))  # the process that measures is given the largest
    data = DataFlags(dataset="digits", limit=64)
    run(Speed(models=("A",), parts=("devices",), data=data, out=tmp_path / "out"))
    table = (tmp_path / "out" / "devices.md").read_text()
    ways = {tuple(line.strip("| ").split(" | ")[1:4]) for line in table.splitlines() if line.startswith("| A |")}
    one = {("1", count, how) for count in "12" for how in ("mesh", "pmap")} | {("1", "1", "mesh, data on the host")}
    assert ways == one | {("8", "1", "mesh"), ("8", "2", "mesh")}
