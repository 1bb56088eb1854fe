"""Malicious files go through the loaders that a user meets: they are refused, and what they carry is never run."""

import gc
import gzip
import json
import os
import pickle
import shutil
import struct
from unittest import mock

import numpy as np
import pytest

from experiments import beta_sweep, command, digit_cvae
from experiments.study import Changes
from jaxvae import cli, data, experiment, manifest, processes
from jaxvae.errors import DataError, JaxvaeError
from jaxvae.experiment import reopen
from jaxvae.flags import ComputeFlags, DataFlags, to_json
from tests.soak.data_files import write_valid_files

SHORT = ("--architecture", "dense", "--limit", "96", "--batch-size", "32", "--dataset", "digits", "--betas", "1")
IMAGES = "train-images-idx3-ubyte"
CODES = {2, 3, 4, 6}
DEEP = b"[" * 200_000


def sweep(*flags):
    argv = [str(flag) for flag in (*flags, "--devices", 1)]
    return cli.main("beta_sweep", beta_sweep.BetaSweep, beta_sweep.run, argv, resumed=beta_sweep.own_settings)


class Canary:
    """A file and a variable that nothing may touch, and what would."""

    def __init__(self, folder):
        self.path = folder / "canary"
        self.path.write_text("alive")
        kill = f"pathlib.Path({str(self.path)!r}).write_text('dead'); os.environ['CANARY'] = 'dead'"
        self.code = f"import os, pathlib; {kill}"

    def __reduce__(self):
        return exec, (self.code,)

    @property
    def bomb(self):
        """A pickle that kills it when it is loaded."""
        return pickle.dumps(self)

    @property
    def alive(self):
        return self.path.read_text() == "alive" and os.environ["CANARY"] == "alive"


@pytest.fixture
def canary(tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", "alive")
    (tmp_path / "outside").mkdir()
    return Canary(tmp_path / "outside")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run without its pictures, which take longest."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with mock.patch.object(experiment, "write_sweep_report"):
        assert sweep(*SHORT, "--epochs", 1, "--out", folder) == 0
    return folder


@pytest.fixture
def finished(kept, tmp_path):
    """A run to tamper with."""
    return shutil.copytree(kept, tmp_path / "run")


def test_the_bomb_is_one(canary):
    """The negative control."""
    pickle.loads(canary.bomb)
    assert not canary.alive


def numpy_objects(canary):
    path = canary.path.with_suffix(".npy")
    np.save(path, np.array([canary], dtype=object), allow_pickle=True)
    return path.read_bytes()


def large_bomb(canary):
    return gzip.compress(struct.pack(">4I", 2051, 1, 28, 28) + bytes(2**26), 1)


DATA_FILES = {
    "a pickle": lambda canary: canary.bomb,
    "a packed pickle": lambda canary: gzip.compress(canary.bomb),
    "a NumPy array of objects": numpy_objects,
    "a packed NumPy array of objects": lambda canary: gzip.compress(numpy_objects(canary)),
    "a program": lambda canary: canary.code.encode(),
    "a header before a pickle": lambda canary: struct.pack(">4I", 2051, 40, 28, 28) + canary.bomb,
    "a gzip bomb": large_bomb,
    "a gzip bomb in a gzip bomb": lambda canary: gzip.compress(large_bomb(canary)),
    "deep brackets": lambda canary: DEEP,
}


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("content", DATA_FILES.values(), ids=DATA_FILES)
def test_a_data_file(tmp_path, canary, content, end):
    write_valid_files(tmp_path / "mnist", packed=bool(end))
    (tmp_path / "mnist" / f"{IMAGES}{end}").write_bytes(content(canary))
    with pytest.raises(DataError, match=IMAGES):
        data.load("mnist", tmp_path)
    assert canary.alive


@pytest.mark.parametrize("target", ["/dev/zero", "/proc/self/mem", "pipe", "loop"])
def test_a_data_file_that_is_a_link_or_a_pipe(tmp_path, canary, target):
    write_valid_files(tmp_path / "mnist", packed=False)
    path = tmp_path / "mnist" / IMAGES
    path.unlink()
    os.mkfifo(path) if target == "pipe" else path.symlink_to(path if target == "loop" else target)
    with pytest.raises(DataError, match=IMAGES):
        data.load("mnist", tmp_path)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", ["a pickle", "a program", "deep brackets"])
def test_a_folder_prepared_by_tensorflow_datasets(tmp_path, monkeypatch, canary, name, content):
    """A feature's name that stands for a module is in tests/data/test_tfds_source.py."""
    folder = tmp_path / "prepared" / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    info = {"name": "mnist", "version": "3.0.1", "fileFormat": "array_record", "moduleName": "../../outside"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text("{}")
    (folder / name).write_bytes(DATA_FILES[content](canary))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))
    monkeypatch.delenv("JAXVAE_DATA_DIR", raising=False)
    with pytest.raises(DataError, match=r"3\.0\.1: cannot be read"):
        data.load("mnist", tmp_path / "none")
    assert canary.alive


def refused(finished, canary, capsys):
    """Assert that neither the command nor `reopen` takes the run, and that they leave it as it is."""
    before = {path: path.lstat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and path.name != ".lock"}
    capsys.readouterr()
    assert sweep("--resume", finished, "--epochs", 2) in CODES
    assert [line[:7] for line in capsys.readouterr().err.splitlines()].count("error: ") == 1
    with pytest.raises(JaxvaeError) as error:
        reopen(finished)
    assert "\n" not in str(error.value)
    assert canary.alive
    after = {path: path.lstat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before


@pytest.mark.parametrize("content", ["a pickle", "a program", "deep brackets", "a gzip bomb"])
def test_settings(finished, canary, capsys, content):
    (finished / "config.json").write_bytes(DATA_FILES[content](canary))
    refused(finished, canary, capsys)


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("data", "data_dir", "../outside"),
        ("data", "data_dir", "nul\0and\x1b[31mescapes\ud800"),
        ("data", "data_dir", ["../outside"]),
        ("data", "dataset", "../outside"),
        ("model", "architecture", "__import__('os')"),
        ("model", "latent_dim", 10**9),
        ("sweep", "betas", [1.0] * 10**4),
        ("sweep", "seeds", [{"a": 1}]),
        ("run", "checkpoint_every", -1),
    ],
)
def test_a_setting(finished, canary, capsys, group, name, value):
    config = json.loads((finished / "config.json").read_text())
    config["flags"][group][name] = value
    if name == "data_dir":
        config["flags"]["data"]["dataset"] = "mnist"
    (finished / "config.json").write_text(json.dumps(config))
    refused(finished, canary, capsys)


@pytest.mark.parametrize("target", ["canary", "/dev/zero", "pipe", "loop"])
def test_settings_that_are_a_link_or_a_pipe(finished, canary, capsys, target):
    path = finished / "config.json"
    path.unlink()
    os.mkfifo(path) if target == "pipe" else path.symlink_to({"canary": canary.path, "loop": path}.get(target, target))
    refused(finished, canary, capsys)


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def seal(folder, **changes):
    """Make a checkpoint's manifest agree with what its files have become, as somebody who knows the format can."""
    path = folder / manifest.MANIFEST
    body = json.loads(path.read_text())
    del body["sha256"]
    sums = {name: manifest.sha256(file) for name, file in manifest.files(folder).items() if file != path}
    body |= {"files": sums, **changes}
    path.write_text(json.dumps({"sha256": manifest.text_sha256(body), **body}))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax leaves readers behind
@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("content", ["a pickle", "a NumPy array of objects", "deep brackets"])
@pytest.mark.parametrize("which", ["all", "largest", "json"])
def test_checkpoints(finished, canary, capsys, content, which, sealed):
    for folder in (finished / "checkpoints").iterdir():
        files = sorted(files_of(folder), key=lambda path: path.stat().st_size)
        files = [path for path in files if not (sealed and path.name == manifest.MANIFEST)]
        is_json = [path for path in files if path.read_bytes()[:1] in (b"{", b"[")]
        for path in {"all": files, "largest": files[-1:], "json": is_json}[which]:
            path.write_bytes(DATA_FILES[content](canary))
        if sealed:
            seal(folder)
    try:
        refused(finished, canary, capsys)
    finally:
        gc.collect()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("files", {"../../../outside/canary": "0" * 64}),
        ("files", ["../../../outside/canary"]),
        ("epoch", "../../outside"),
        ("epoch", -1),
        ("leaves", []),
        ("leaves", {"../../outside": "float32[1]"}),
        ("history", None),
        ("history", [{"member": "x"}]),
        ("history", [[[[]]]]),
    ],
)
def test_a_manifest(finished, canary, capsys, name, value):
    for folder in (finished / "checkpoints").iterdir():
        seal(folder, **{name: value})
    refused(finished, canary, capsys)


def test_a_checkpoint_that_is_a_link(finished, canary, capsys):
    folder = finished / "checkpoints" / "1"
    folder.rename(canary.path.parent / "elsewhere")
    folder.symlink_to(canary.path.parent / "elsewhere")
    refused(finished, canary, capsys)
    assert sorted(path.name for path in canary.path.parent.iterdir()) == ["canary", "elsewhere"]


def test_checkpoints_in_a_folder_that_is_a_link(finished, canary, capsys):
    """A run writes in its own folder only."""
    elsewhere = canary.path.parent / "elsewhere"
    (finished / "checkpoints").rename(elsewhere)
    (finished / "checkpoints").symlink_to(elsewhere)
    before = files_of(elsewhere)
    assert sweep("--resume", finished, "--epochs", 2) in CODES
    assert "error: " in capsys.readouterr().err
    assert files_of(elsewhere) == before
    assert canary.alive


@pytest.mark.parametrize("content", ["a pickle", "a program", "deep brackets", "[]", "null", '{"members": 1}'])
def test_results(finished, canary, capsys, content):
    """What a run has written is read again where it goes on, or not at all."""
    found = DATA_FILES[content](canary) if content in DATA_FILES else content.encode()
    for name in ("summary.json", "metrics.csv"):
        (finished / name).write_bytes(found)
    with mock.patch.object(experiment, "write_sweep_report"):
        assert sweep("--resume", finished) in {0, *CODES}
    assert canary.alive


def test_results_that_are_links_are_replaced_and_not_followed(finished, canary, capsys):
    """And where to write and whom to call is never taken from a run's settings."""
    config = json.loads((finished / "config.json").read_text())
    config["flags"]["run"]["out"] = str(canary.path.parent / "new")
    config["flags"]["compute"] |= {"coordinator": "192.0.2.1:9", "num_processes": 2, "process_id": 1}
    (finished / "config.json").write_text(json.dumps(config))
    names = ("report.html", "metrics.csv", "curves.png", "samples.png", "reconstructions.png")
    for name in names:
        (finished / name).unlink(missing_ok=True)
        (finished / name).symlink_to(canary.path)
        (finished / f".{name}.tmp").symlink_to(canary.path)
    assert sweep("--resume", finished) == 0
    assert canary.alive
    assert [path.name for path in canary.path.parent.iterdir()] == ["canary"]
    assert not any((finished / name).is_symlink() for name in names)


@pytest.mark.parametrize("name", [".lock"])
def test_a_lock_that_is_a_link(finished, canary, capsys, name):
    (finished / name).unlink(missing_ok=True)
    (finished / name).symlink_to(canary.path)
    assert sweep("--resume", finished, "--epochs", 2) in CODES
    assert canary.alive


def record(**changes):
    good = {"experiment": "digit_cvae", "studies": ["digit_cvae"]}
    good |= {"changes": to_json(Changes(epochs=1)), "compute": to_json(ComputeFlags())}
    return json.dumps({**good, **changes}).encode()


OUTSIDE = to_json(Changes(epochs=1, data=DataFlags("mnist", data_dir="../outside")))
EXPERIMENTS = {
    **{name: DATA_FILES[name] for name in ("a pickle", "a program", "deep brackets")},
    "a study outside": lambda canary: record(studies=["../outside"]),
    "an absolute study": lambda canary: record(studies=[str(canary.path.parent)]),
    "a study that is none": lambda canary: record(studies=[{"__class__": "x"}]),
    "another experiment": lambda canary: record(experiment="../outside"),
    "data outside": lambda canary: record(changes=OUTSIDE),
    "nowhere to compute": lambda canary: record(compute=None),
    "settings that are none": lambda canary: record(changes={"data": canary.code}),
}


@pytest.mark.parametrize("content", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_an_experiment(tmp_path, monkeypatch, canary, capsys, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "experiment.json").write_bytes(content(canary))
    monkeypatch.setattr("sys.argv", ["digit_cvae", "--resume", str(tmp_path / "run")])
    assert command.main(digit_cvae.EXPERIMENT, "x") in CODES
    assert "error: " in capsys.readouterr().err
    assert canary.alive
    assert [path.name for path in canary.path.parent.iterdir()] == ["canary"]


@pytest.mark.parametrize("content", ["a pickle", "deep brackets", "[]", "null", '{"flags": []}'])
def test_a_study_of_an_experiment(tmp_path, monkeypatch, canary, capsys, content):
    study = tmp_path / "run" / "digit_cvae"
    study.mkdir(parents=True)
    (study.parent / "experiment.json").write_bytes(record())
    found = DATA_FILES[content](canary) if content in DATA_FILES else content.encode()
    for name in ("config.json", "summary.json"):
        (study / name).write_bytes(found)
    monkeypatch.setattr("sys.argv", ["digit_cvae", "--resume", str(tmp_path / "run")])
    assert command.main(digit_cvae.EXPERIMENT, "x") in CODES
    assert "error: " in capsys.readouterr().err
    assert canary.alive


def test_an_experiment_that_would_have_others_called(tmp_path, monkeypatch, canary, capsys):
    """Whom to train with is said on the command line only."""
    called = []
    for module in (processes, experiment):
        monkeypatch.setattr(module, "join", called.append)
    (tmp_path / "run").mkdir()
    others = to_json(ComputeFlags(coordinator="192.0.2.1:9", num_processes=2, process_id=1))
    (tmp_path / "run" / "experiment.json").write_bytes(record(changes=OUTSIDE, compute=others))
    monkeypatch.setattr("sys.argv", ["digit_cvae", "--resume", str(tmp_path / "run")])
    assert command.main(digit_cvae.EXPERIMENT, "x") in CODES
    assert {flags.coordinator for flags in called} <= {None}
