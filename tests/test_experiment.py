"""Whole runs through the command line, in process: one per data source, resumed, diverged, refused."""

import csv
import json
import os
import shutil
import signal
import sys

import numpy as np
import pytest

from experiments.beta_sweep import BetaSweep, own_settings, run
from jaxvae import cli, experiment, files, latent, processes, runs
from jaxvae.checkpoint import Checkpoints
from jaxvae.errors import ConfigError
from jaxvae.experiment import begin, run_joined, what_must_agree
from jaxvae.fit import Sweep
from jaxvae.flags import DataFlags, RunFlags
from jaxvae.processes import agree

REAL_DATA_DIR = os.environ.get("JAXVAE_DATA_DIR")
QUICK = ("--architecture", "dense", "--limit", "96", "--batch-size", "32")
FIGURES = {
    *("curves", "reconstructions", "samples", "interpolations", "traversals"),
    *("rate_distortion", "kl_per_dimension"),
}


def sweep(*flags) -> int:
    """The command on two devices, if not on more."""
    devices = () if "--devices" in flags else ("--devices", 2)
    return cli.main("beta_sweep", BetaSweep, run, [str(flag) for flag in (*flags, *devices)], resumed=own_settings)


def read(folder, name):
    return json.loads((folder / name).read_text())


def check_folder(folder, *, members, epochs, figures):
    assert {path.stem for path in folder.glob("*.png")} == figures
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(figures)
    assert 'src="http' not in page
    lines = (folder / "metrics.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * members * epochs
    summary = read(folder, "summary.json")
    assert len(summary["members"]) == members
    assert summary["epochs"] == epochs
    assert summary["complete"]
    assert all(np.isfinite(row["loss"]) for row in summary["members"])
    assert sorted(int(path.name) for path in (folder / "checkpoints").iterdir())[-1] == epochs
    return summary


@pytest.mark.slow
def test_kernels_from_the_command_line(tmp_path, capsys):
    """The losses of the compiler's program, and said to be interpreted."""
    flags = (*QUICK, "--dataset", "digits", "--epochs", 1, "--architecture", "mlp", "--reconstruction", "bernoulli")
    for implementation in ("xla", "pallas"):
        assert sweep(*flags, "--implementation", implementation, "--out", tmp_path / implementation) == 0
    err = capsys.readouterr().err
    assert err.count("kernels: reparameterize_kl, bernoulli_output, adam; a CPU interprets them") == 1
    xla, pallas = (read(tmp_path / name, "summary.json")["members"] for name in ("xla", "pallas"))
    for expected, found in zip(xla, pallas, strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert sweep("--resume", tmp_path / "pallas", "--epochs", 2, "--implementation", "xla") == 2
    assert "implementation is" in capsys.readouterr().err.splitlines()[-1]


def test_digits(tmp_path, capsys):
    folder = tmp_path / "run"
    flags = (*QUICK, "--dataset", "digits", "--epochs", 2, "--betas", 1, 4, "--seeds", 0, 1)
    assert sweep(*flags, "--devices", 8, "--out", folder) == 0
    summary = check_folder(folder, members=4, epochs=2, figures=FIGURES)
    assert summary["dataset"]["name"] == "digits"
    assert summary["members"][0]["steps"] == 6
    captured = capsys.readouterr()
    assert "data: " in captured.err
    assert "epoch 2/2" in captured.err
    assert captured.out.splitlines()[0].split()[:2] == ["beta", "members"]
    assert read(folder, "config.json")["flags"]["sweep"]["epochs"] == 2


@pytest.mark.parametrize(
    ("name", "compress"), [pytest.param("mnist", True, marks=pytest.mark.slow), ("fashion_mnist", False)]
)
def test_idx_files(tmp_path, write_idx_files, random_arrays, name, compress):
    write_idx_files(tmp_path / "data" / name, random_arrays(), compress=compress)
    flags = ("--dataset", name, "--data-dir", tmp_path / "data", "--epochs", 1, "--betas", 1, "--latent-dim", 2)
    assert sweep("--architecture", "dense", *flags, "--out", tmp_path / "run") == 0
    summary = check_folder(tmp_path / "run", members=1, epochs=1, figures=FIGURES | {"manifold", "latent_scatter"})
    assert len(summary["dataset"]["sha256"]) == 4


@pytest.mark.skipif(not REAL_DATA_DIR, reason="JAXVAE_DATA_DIR is not set")
def test_real_mnist(tmp_path):
    assert sweep(*QUICK, "--data-dir", REAL_DATA_DIR, "--epochs", 1, "--out", tmp_path / "run") == 0
    summary = check_folder(tmp_path / "run", members=4, epochs=1, figures=FIGURES)
    assert summary["dataset"]["name"] == "mnist"


def test_resume_is_the_unbroken_run(tmp_path):
    flags = (*QUICK, "--dataset", "digits", "--betas", 1, 4)
    assert sweep(*flags, "--epochs", 3, "--out", tmp_path / "whole") == 0
    assert sweep(*flags, "--epochs", 1, "--out", tmp_path / "parts") == 0
    assert sweep("--resume", tmp_path / "parts", "--epochs", 3) == 0
    check_folder(tmp_path / "parts", members=2, epochs=3, figures=FIGURES)
    whole, parts = ((tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    for name in ("members", "state_sha256"):
        assert read(tmp_path / "whole", "summary.json")[name] == read(tmp_path / "parts", "summary.json")[name]
    assert len(read(tmp_path / "parts", "config.json")["environments"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("epochs_before", [0, 1, 2])
def test_interrupted_and_resumed(tmp_path, monkeypatch, capsys, epochs_before):
    """The second epoch has no checkpoint and is trained again."""
    epoch = Sweep.epoch

    def interrupt(self, progress):
        if progress.epoch == epochs_before:
            raise KeyboardInterrupt
        return epoch(self, progress)

    flags = (*QUICK, "--dataset", "digits", "--betas", 1, "--epochs", 3)
    with monkeypatch.context() as patch:
        patch.setattr(Sweep, "epoch", interrupt)
        patch.setattr(Checkpoints, "due", lambda self, epoch, every: epoch == 1)
        assert sweep(*flags, "--out", tmp_path / "run") == 130
    assert f"--resume {tmp_path / 'run'}" in capsys.readouterr().err
    assert sweep("--resume", tmp_path / "run") == 0
    assert sweep(*flags, "--out", tmp_path / "whole") == 0
    whole, resumed = ((tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "run"))
    assert whole == resumed


def test_everybody_diverged(tmp_path, capsys):
    flags = (*QUICK, "--dataset", "digits", "--learning-rates", "1e6", "--betas", 1, 4, "--epochs", 2)
    assert sweep(*flags, "--out", tmp_path / "run") == 5
    assert read(tmp_path / "run", "summary.json")["diverged"] == 2
    assert "every member became non-finite" in capsys.readouterr().err.splitlines()[-1]


def test_one_of_two_diverged(tmp_path, capsys):
    flags = (*QUICK, "--dataset", "digits", "--learning-rates", "1e-3", "1e6", "--betas", 1, "--epochs", 2)
    assert sweep(*flags, "--out", tmp_path / "run") == 0
    assert "1 of 1 diverged" in capsys.readouterr().out
    summary = read(tmp_path / "run", "summary.json")
    assert summary["diverged"] == 1
    assert [row["alive"] for row in summary["members"]] == [True, False]
    first, second = summary["members"]
    assert second["steps"] < first["steps"]
    finding = f"diverged after {second['steps']} step"
    assert second["findings"][0].startswith(finding)
    assert finding in (tmp_path / "run" / "report.html").read_text()
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    assert [(row["member"], row["alive"], row["steps"]) for row in rows[-2:]] == [
        ("0", "True", str(first["steps"])),
        ("1", "False", str(second["steps"])),
    ]


def test_paired_scalars(tmp_path):
    folder, flags = tmp_path / "run", ("--betas", 1, 4, "--learning-rates", "1e-3", "5e-4", "--paired")
    assert sweep(*QUICK, "--dataset", "digits", *flags, "--epochs", 1, "--out", folder) == 0
    assert sweep("--resume", folder, "--epochs", 2) == 0
    members = read(folder, "summary.json")["members"]
    assert [(row["beta"], row["learning_rate"]) for row in members] == [(1.0, 1e-3), (4.0, 5e-4)]
    layers = read(folder, "summary.json")["layers"]  # document 001's table
    assert sorted(layers.values()) == [2_580, 2_580, 2_688, 32_896, 33_024, 200_960, 201_488]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert sweep(*QUICK, "--dataset", "digits", "--betas", 1, "--epochs", 2, "--out", folder) == 0
    return folder


@pytest.fixture
def finished(kept, tmp_path):
    """A run to damage."""
    return shutil.copytree(kept, tmp_path / "run")


@pytest.mark.parametrize(
    ("damage", "code", "message"),
    [
        (lambda config: config.pop("environments"), 2, "incomplete"),
        (lambda config: config.pop("dataset"), 2, "incomplete"),
        (lambda config: config["dataset"].update(sha256={"x": "y"}), 3, "expected the run's data"),
        (lambda config: config["flags"]["sweep"].update(epochs=None), 2, "incomplete"),
        (lambda config: config["flags"]["sweep"].update(betas=[1.0, 2.0]), 4, "this run needs"),
        (lambda config: config["flags"]["model"].update(latent_dim=7), 4, "this run needs"),
        (lambda config: config.update(experiment="other"), 2, "not one of beta_sweep"),
    ],
)
def test_a_refused_resume_changes_nothing(finished, capsys, damage, code, message):
    config = read(finished, "config.json")
    damage(config)
    (finished / "config.json").write_text(json.dumps(config))
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert sweep("--resume", finished) == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_resume_refuses_fewer_epochs_other_settings_and_lost_checkpoints(finished, capsys):
    for flags, message in (
        (("--epochs", 1), "epochs is 1, but"),
        (("--betas", 2, 3, "--latent-dim", 7), "betas is 1.0, not 2.0 3.0; latent_dim is 20, not 7; only --epochs"),
        (("--betas", 1, 3, 8, 16), "betas is 1.0, not 1.0 3.0 8.0 16.0; only"),  # the default, asked for
    ):
        assert sweep("--resume", finished, *flags) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    shutil.rmtree(finished / "checkpoints")
    metrics = (finished / "metrics.csv").read_bytes()
    assert sweep("--resume", finished, "--epochs", 3) == 4
    assert "no checkpoint to resume from" in capsys.readouterr().err
    assert (finished / "metrics.csv").read_bytes() == metrics


def test_a_run_s_own_settings_may_be_said_again_and_what_changes_no_number_may_change(finished):
    again = (*QUICK, "--dataset", "digits", "--betas", 1, "--epochs", 4, "--checkpoint-every", 1, "--devices", 1)
    assert sweep("--resume", finished, *again) == 0
    assert read(finished, "config.json")["flags"]["run"]["checkpoint_every"] == 1
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {"3", "4"}


@pytest.mark.slow
def test_flags_without_values_may_be_said_again_and_the_place_of_computation_is_kept(tmp_path, capsys):
    flags = ("--betas", 1, 4, "--learning-rates", "1e-3", "3e-3", "--paired", "--conditional", "--epochs", 1)
    assert sweep(*QUICK, "--dataset", "digits", *flags, "--devices", 1, "--out", tmp_path / "run") == 0
    again = [str(flag) for flag in (*flags[:-1], 2, "--resume", tmp_path / "run")]
    assert cli.main("beta_sweep", BetaSweep, run, again, resumed=own_settings) == 0
    assert "on cpu; in" in capsys.readouterr().err.splitlines()[-4]  # one of eight
    assert read(tmp_path / "run", "config.json")["flags"]["compute"]["devices"] == 1
    assert sweep("--resume", tmp_path / "run", "--no-paired") == 2


def test_another_run_s_checkpoints_are_refused(finished, tmp_path, capsys):
    other = tmp_path / "other"
    assert sweep(*QUICK, "--dataset", "digits", "--betas", 1, "--seeds", 5, "--epochs", 1, "--out", other) == 0
    shutil.rmtree(other / "checkpoints")
    shutil.copytree(finished / "checkpoints", other / "checkpoints")
    assert sweep("--resume", other, "--epochs", 3) == 4
    assert "seeds is [0], but this run needs [5]" in capsys.readouterr().err.splitlines()[-1]


def test_a_run_that_was_killed_before_its_first_file_can_begin_again(tmp_path):
    (tmp_path / "run").mkdir()
    for name in (".lock", ".config.json.tmp"):
        (tmp_path / "run" / name).touch()
    assert sweep(*QUICK, "--dataset", "digits", "--betas", 1, "--epochs", 1, "--out", tmp_path / "run") == 0


def test_debug_shows_where_an_error_comes_from_and_keeps_its_code(tmp_path, capsys):
    assert sweep("--resume", tmp_path / "missing", "--debug") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("error: ")


def test_a_folder_in_use_is_refused_with_the_name_of_its_user(finished, tmp_path, capsys):
    with runs.in_use(finished):
        for flags in (("--resume", finished), ("--out", finished, "--dataset", "digits")):
            assert sweep(*flags) == 7
            assert f"is in use by process {os.getpid()} on " in capsys.readouterr().err.splitlines()[-1]
    assert sweep("--resume", finished) == 0  # given back


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_with_a_checkpoint_of_the_epoch_that_it_comes_in(tmp_path, monkeypatch, capsys, number, code):
    epoch = Sweep.epoch

    def signalled(self, progress):
        if progress.epoch == 1:
            os.kill(os.getpid(), number)
        return epoch(self, progress)

    flags = (*QUICK, "--dataset", "digits", "--betas", 1, "--epochs", 4, "--checkpoint-every", 4)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell lets its background jobs ignore
    with monkeypatch.context() as patch:
        patch.setattr(Sweep, "epoch", signalled)
        assert sweep(*flags, "--out", tmp_path / "run") == code
    assert f"--resume {tmp_path / 'run'}" in capsys.readouterr().err.splitlines()[-1]
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        assert checkpoints.epoch == 2
    assert sweep("--resume", tmp_path / "run") == 0
    assert sweep(*flags, "--out", tmp_path / "whole") == 0
    whole, resumed = (read(tmp_path / name, "summary.json")["state_sha256"] for name in ("whole", "run"))
    assert whole == resumed


def test_a_figure_that_fails_costs_no_training(tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise ValueError("no font\nat all")

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "write_sweep_report", fail)
        assert sweep(*QUICK, "--dataset", "digits", "--betas", 1, "--epochs", 2, "--out", tmp_path / "run") == 6
    error = capsys.readouterr().err.splitlines()[-1]
    assert "trained and saved, but without its report (no font)" in error
    assert f"--resume {tmp_path / 'run'}" in error
    assert not read(tmp_path / "run", "summary.json")["complete"]
    assert sweep("--resume", tmp_path / "run") == 0
    check_folder(tmp_path / "run", members=1, epochs=2, figures=FIGURES)


@pytest.mark.parametrize("name", ["metrics.csv", "summary.json", "curves.png", "report.html"])
def test_a_full_disk_ends_with_6_and_the_run_goes_on_when_there_is_room(finished, monkeypatch, capsys, name):
    write = files.Path.write_bytes

    def full(path, content):
        if path.name == f".{name}.tmp":
            raise OSError(28, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files.Path, "write_bytes", full)
        assert sweep("--resume", finished, "--epochs", 3) == 6
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert not read(finished, "summary.json")["complete"] or name == "summary.json"
    assert sweep("--resume", finished, "--epochs", 3) == 0
    check_folder(finished, members=1, epochs=3, figures=FIGURES)


def test_the_end_of_training_has_a_checkpoint_whatever_the_interval(tmp_path):
    flags = (*QUICK, "--dataset", "digits", "--betas", 1, "--checkpoint-every", 2, "--out", tmp_path / "run")
    assert sweep(*flags, "--epochs", 3) == 0
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"2", "3"}


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--latent-dim", "0"), 2, "latent_dim is 0"),
        (("--betas", "-1"), 2, "betas is -1.0"),
        (("--out", "{taken}"), 2, "not empty"),
        (("--devices", "9"), 2, "devices is 9, but cpu has 8"),
        (("--num-processes", "2"), 2, "num_processes needs coordinator"),
        (("--resume", "{missing}"), 2, "not a run folder"),
        (("--limit", "50", "--batch-size", "51"), 2, "batch_size is 51, but there are 50"),
        (("--resume", "{taken}"), 2, "not one of beta_sweep"),
        (("--dataset", "mnist", "--data-dir", "{damaged}"), 3, "train-images-idx3-ubyte"),
    ],
)
def test_refused_in_one_line(tmp_path, capsys, flags, code, message):
    taken, damaged = tmp_path / "taken", tmp_path / "damaged"
    for folder in (taken, damaged):
        folder.mkdir()
    (taken / "config.json").write_text("[]")
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (damaged / f"{name}-ubyte").write_bytes(b"\0\0\10\3")
    names = {"taken": taken, "missing": tmp_path / "missing", "damaged": damaged}
    base = () if "--dataset" in flags or "--resume" in flags else ("--dataset", "digits")
    assert sweep(*base, *(flag.format(**names) for flag in flags)) == code
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert error[-1].startswith("error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged", "taken"]  # nothing was written


def test_a_process_with_other_settings_is_refused(tmp_path, monkeypatch):
    this = begin("x", BetaSweep(data=DataFlags("digits", limit=50), run=RunFlags(out=tmp_path / "run")))
    ours = what_must_agree(this)
    agree(ours)
    for name, value in (("limit", 60), ("betas", [1.0]), ("folder", "elsewhere")):
        monkeypatch.setattr(processes, "from_writer", lambda decide, at=(name, value): {**decide(), at[0]: at[1]})
        with pytest.raises(ConfigError, match=f"process 0 has another {name} than process 0"):
            agree(ours)


@pytest.mark.parametrize(("name", "value"), [("resume", True), ("version", ["0", "0"])])
def test_a_process_that_begins_otherwise_is_refused_before_it_begins(tmp_path, monkeypatch, name, value):
    def from_writer(decide):
        found = decide()
        return {**found, name: value} if name in found else {}

    monkeypatch.setattr(processes, "from_writer", from_writer)
    flags = BetaSweep(data=DataFlags("digits", limit=50), run=RunFlags(out=tmp_path / "run"))
    with pytest.raises(ConfigError, match=f"process 0 has another {name} than process 0"):
        run_joined("beta_sweep", flags, None, lambda flags: {})
    assert not (tmp_path / "run").exists()


def test_a_typo_is_answered_with_the_flag(capsys):
    assert sweep("--bettas", 1) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--betas" in line


def test_help_is_complete_and_needs_no_jax(tmp_path):
    import subprocess

    code = (
        "import sys; from jaxvae import cli; from experiments.beta_sweep import BetaSweep, run\n"
        "try: cli.main('beta_sweep', BetaSweep, run, ['--help'])\n"
        "except SystemExit: sys.exit('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for flag in ("--betas", "--seeds", "--architecture", "--reconstruction", "--latent-dim", "--epochs", "--batch-size",
                 "--learning-rate", "--dataset", "--data-dir", "--out", "--resume", "--checkpoint-every"):  # fmt: skip
        assert flag in done.stdout


def test_quantiles_of_the_plane_are_document_001_s():
    np.testing.assert_allclose(latent.QUANTILES, np.linspace(0.05, 0.95, 16))
