"""Result files: what is kept of a run, how runs are put together, where a printed number is found."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from experiments import record
from experiments.record import missing
from experiments.study import Number, Study, same_settings
from jaxvae.config import Config
from jaxvae.flags import SCALARS, SweepFlags

STUDY = Study(
    "study", "title", SweepFlags(betas=(1.0, 4.0), seeds=(0, 1), epochs=2, batch_size=8), Config(architecture="mlp")
)
MODEL = {"parameters": 652_824, "layers": {"encoder/Dense_0": 314_000, "decoder/Dense_1": 338_824}}
DEFAULTS = {name: getattr(SweepFlags(), flag)[0] for name, flag in SCALARS.items()}


def write_run(folder, *, betas=(1.0, 4.0), seeds=(0, 1), epochs=2, dead=(), **settings):
    """A run folder as a sweep leaves it: the loss of member k at epoch e is 10 k + e, on the test split 100 more."""
    folder.mkdir()
    rows, members = [], []
    for member, (beta, seed) in enumerate((b, s) for b in betas for s in seeds):
        hparams = {**DEFAULTS, "beta": beta}
        for epoch in range(1, epochs + 1):
            for split, offset in (("train", 0), ("test", 100)):
                loss = 10 * member + epoch + offset  # one that diverged is frozen, and its numbers are finite
                row = {"member": member, "seed": seed, **hparams, "epoch": epoch, "split": split}
                rows.append({**row, "loss": loss, "reconstruction": loss / 2, "kl": 1 / 3})
        quality = {
            "mse": 0.01 + member / 1000,
            "ssim": 0.9,
            "sampled_mse": 0.02,
            "sampled_ssim": 0.8,
            "sampled_ssim_uniform": 0.85,
        }
        state = {"active_units": 5, "collapsed": False, "alive": member not in dead}
        members.append({"member": member, "seed": seed, **hparams, **quality, **state})
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    summary = {"members": members, "epochs": epochs, "train_seconds": 60.04, "complete": True, **MODEL}
    (folder / "summary.json").write_text(json.dumps(summary))
    environment = {"device": "cpu", "cpu_count": 2, "versions": {"jax": "0"}, "commit": "abc", "command": ["secret"]}
    dataset = {"name": "mnist", "train": 10, "test": 10, "sha256": {}, "source": "a folder"}
    model = {**asdict(Config(architecture="mlp")), **settings}
    data = {"dataset": "mnist", "limit": None, "rgb": False, "data_dir": "/a/folder"}
    flags = {"model": model, "sweep": {"batch_size": 8}, "data": data, "run": {"out": "/a/folder"}}
    config = {"flags": flags, "dataset": dataset, "environments": [environment]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def run_folder(tmp_path):
    return write_run(tmp_path / "run")


def test_a_resumed_run_names_all_its_commits_and_no_time_of_its_last_session(run_folder):
    path = run_folder / "config.json"
    config = json.loads(path.read_text())
    first = config["environments"][0]
    config["environments"] = [first, {**first, "commit": "def"}, {**first, "commit": "def"}]
    path.write_text(json.dumps(config))
    run, _ = record.condense(run_folder)
    assert run["environment"]["commit"] == "abc, def"
    assert run["seconds"] is None


def test_condense_keeps_curves_and_final_metrics(run_folder):
    run, members = record.condense(run_folder)
    assert run["seconds"] == 60.0
    assert run["epochs"] == 2
    assert "source" not in run["dataset"]  # a path of the machine
    assert "command" not in run["environment"]
    assert "/a/folder" not in json.dumps(run)
    assert record.record_of(STUDY, run_folder)["layers"] == MODEL["layers"]
    assert [(m["hparams"]["beta"], m["seed"]) for m in members] == [(1, 0), (1, 1), (4, 0), (4, 1)]
    assert members[3]["train"] == {"loss": [31, 32], "reconstruction": [15.5, 16], "kl": [0.333333, 0.333333]}
    assert members[3]["test"]["loss"] == [131, 132]
    assert members[3]["final"]["mse"] == 0.013


def test_a_diverged_member_is_nan_in_the_numbers(tmp_path):
    found = record.record_of(STUDY, write_run(tmp_path / "run", dead=(1,)))
    assert "NaN" not in record.as_text(found)
    for number, alive in ((Number(1.0), 2), (Number(1.0, epoch=1), 1), (Number(1.0, "sampled_ssim"), 0.8)):
        values = record.values(found, replace(number, at={"beta": 1.0}))
        np.testing.assert_array_equal(values, [alive, np.nan])


def test_runs_are_added_up_and_a_newer_member_replaces_an_older(tmp_path):
    root = tmp_path / "records"
    root.mkdir()
    assert record.read(root, STUDY) is None
    assert missing(None, STUDY, 2, (0, 1)) == [((0, 1), (0, 1))]
    record.add(root, STUDY, write_run(tmp_path / "first", seeds=(0,), betas=(1.0,)))
    assert missing(record.read(root, STUDY), STUDY, 2, (0,)) == [((1,), (0,))]  # beta 4
    assert missing(record.read(root, STUDY), STUDY, 2, (0, 1)) == [((0,), (1,)), ((1,), (0, 1))]
    record.add(root, STUDY, write_run(tmp_path / "second", seeds=(0,), betas=(4.0,)))
    assert missing(record.read(root, STUDY), STUDY, 2, (0, 1)) == [((0, 1), (1,))]
    assert missing(record.read(root, STUDY), STUDY, 3, (0, 1)) == [((0, 1), (0, 1))]  # too short
    assert [m["run"] for m in record.read(root, STUDY)["members"]] == [0, 1]
    record.add(root, STUDY, write_run(tmp_path / "third", seeds=(0, 1), epochs=3))
    found = record.read(root, STUDY)
    assert missing(found, STUDY, 3, (0, 1)) == []
    assert [(m["hparams"]["beta"], m["seed"], m["run"]) for m in found["members"]] == [
        *((1.0, 0, 0), (1.0, 1, 0), (4.0, 0, 0), (4.0, 1, 0))
    ]
    assert len(found["runs"]) == 1  # the runs whose members were all replaced are gone


def test_a_shorter_run_replaces_nothing_and_one_of_other_settings_everything(tmp_path):
    root = tmp_path / "records"
    root.mkdir()
    record.add(root, STUDY, write_run(tmp_path / "long", epochs=3))
    record.add(root, STUDY, write_run(tmp_path / "short", epochs=1, seeds=(0, 2)))
    found = record.read(root, STUDY)["members"]
    assert [(m["hparams"]["beta"], m["seed"], record.reached(m)) for m in found] == [
        *((1.0, 0, 3), (1.0, 1, 3), (1.0, 2, 1), (4.0, 0, 3), (4.0, 1, 3), (4.0, 2, 1))
    ]
    other = replace(STUDY, model=replace(STUDY.model, latent_dim=7))
    assert missing(record.read(root, STUDY), other, 1, (0, 1)) == [((0, 1), (0, 1))]
    record.add(root, other, write_run(tmp_path / "other", latent_dim=7, seeds=(5,)))
    assert {m["seed"] for m in record.read(root, other)["members"]} == {5}


def test_same_settings():
    model, sweep = asdict(STUDY.model), {"batch_size": 8}
    data = {"dataset": "mnist", "limit": None, "rgb": False}
    assert same_settings(STUDY, {"model": model, "sweep": sweep, "data": data})
    older = {name: value for name, value in model.items() if name != "conditional"}
    assert same_settings(STUDY, {"model": older, "sweep": sweep, "data": data})
    assert not same_settings(
        replace(STUDY, model=replace(STUDY.model, conditional=True)), {"model": older, "sweep": sweep, "data": data}
    )
    for changed in (
        {"sweep": {"batch_size": 9}},
        {"data": {**data, "limit": 5}},
        {"model": {**model, "noise": "none"}},
    ):
        assert not same_settings(STUDY, {"model": model, "sweep": sweep, "data": data, **changed})
    assert not same_settings(STUDY, None)


def test_a_scalar_that_is_newer_than_a_record_was_at_its_default(run_folder):
    (member, *_) = record.condense(run_folder)[1]
    del member["hparams"]["warmup_steps"]
    assert record.is_at(member, {"warmup_steps": 0.0, "beta": 1.0})
    assert not record.is_at(member, {"warmup_steps": 200.0})


def test_a_diverged_member_is_not_missing(tmp_path):
    root = tmp_path / "records"
    root.mkdir()
    record.add(root, STUDY, write_run(tmp_path / "run", epochs=1, dead=(0, 1, 2, 3)))
    assert missing(record.read(root, STUDY), STUDY, 2, (0, 1)) == []


def test_text_is_json_with_a_line_per_member(run_folder):
    found = record.record_of(STUDY, run_folder)
    text = record.as_text(found)
    assert json.loads(text) == found
    assert sum(line.startswith('  {"seed"') for line in text.splitlines()) == 4


def test_values_of_each_kind_of_number(run_folder):
    found = record.record_of(STUDY, run_folder)

    def values(*args, **kwargs):
        return record.values(found, Number(1.0, *args, **kwargs)).tolist()

    assert values(at={"beta": 4.0}) == [22, 32]
    assert values(epoch=1, split="test", at={"beta": 4.0}) == [121, 131]
    assert values("sampled_ssim", split="test") == [0.8] * 4
    assert values(epoch=3) == []
    assert values(at={"beta": 2.0}) == []
    assert values("parameters") == [652_824]
    assert values("mebibytes") == [652_824 * 4 / 2**20]
    assert values("mean_loss", at={"beta": 4.0}) == [22 / 2352, 32 / 2352]


def test_compact():
    assert record.compact("0.123456789") == 0.123457
    assert record.compact("") is record.compact(None) is record.compact("nan") is record.compact(float("inf")) is None


def test_the_repository_s_records_and_pictures_are_small_and_of_no_machine():
    results = Path(record.__file__).parent / "results"
    sizes = [path.stat().st_size for path in results.glob("*.png")]
    assert sum(sizes) < 3_000_000
    assert max(sizes) < 300_000
    for path in results.glob("*.json"):
        assert str(Path.home()) not in path.read_text()
        assert json.loads(path.read_text())
