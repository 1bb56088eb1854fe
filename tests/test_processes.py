"""Real processes on this machine that train together, and what becomes of them when one is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.device_counts import finish, free_port, launch
from experiments.device_counts import metrics as rows
from jaxvae.errors import ConfigError
from jaxvae.flags import ComputeFlags
from jaxvae.processes import from_writer, is_writer, join

ROOT = Path(__file__).parents[1]
LOSSES = ("-m", "tests.losses_of_processes")
SWEEP = [
    *("-m", "experiments.beta_sweep", "--dataset", "digits", "--limit", "60", "--batch-size", "23"),
    *("--architecture", "mlp", "--betas", "1", "4", "8", "--seeds", "0"),
]


@pytest.fixture
def start():
    """`count` processes of `devices` devices each, from the repository's root; none of them outlives the test."""
    started = []

    def begin(arguments, count, devices=1):
        processes = launch(arguments, count, devices, ROOT)
        started.extend(processes)
        return processes

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def outcomes(processes):
    """(exit code, stdout but for what Gloo says, stderr) of each."""

    def said(text):
        return "".join(line for line in text.splitlines(keepends=True) if "[Gloo]" not in line)

    return [(each.returncode, said(each.stdout), each.stderr) for each in finish(processes, timeout=240)]


def wait_for_rows(out, processes):
    """Until three epochs of `SWEEP` stand in the table."""
    deadline = time.monotonic() + 120
    while not (out / "metrics.csv").exists() or len(rows(out)) < 12:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)


def close(found, expected):
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            if name in ("loss", "reconstruction", "kl"):
                assert float(row[name]) == pytest.approx(float(value), rel=1e-5)
            elif name in ("member", "seed", "beta", "epoch", "split", "alive"):
                assert row[name] == value
    return True


@pytest.mark.parametrize(
    ("sweeps", "count", "devices"),
    [
        (["mlp"], 2, 2),
        pytest.param(["fed_mlp", "three_fed_mlps", "two_convs"], 2, 2, marks=pytest.mark.slow),
        pytest.param(["mlp"], 4, 1, marks=pytest.mark.slow),
        pytest.param(["mlp"], 2, 4, marks=pytest.mark.slow),
    ],
)
def test_fifty_steps_have_the_losses_of_one_device(start, tmp_path, sweeps, count, devices):
    found = []
    for folder, layout in ((tmp_path / "one", (1, 1)), (tmp_path / "several", (count, devices))):
        folder.mkdir()
        for code, _, stderr in outcomes(start([*LOSSES, str(folder), *sweeps], *layout)):
            assert code == 0, stderr
        with np.load(folder / "losses.npz") as file:
            found.append(dict(file))
    for sweep in sweeps:
        one, several = (losses[sweep] for losses in found)
        assert one.shape[1] == 50
        np.testing.assert_allclose(several, one, rtol=1e-5, err_msg=sweep)


@pytest.mark.slow
def test_a_sweep_of_two_processes_is_one_run_that_any_number_goes_on_with(start, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    ((code, _, stderr),) = outcomes(start([*SWEEP, "--epochs", "3", "--out", str(one)], 1))
    assert code == 0, stderr
    writer, other = outcomes(start([*SWEEP, "--epochs", "1", "--out", str(two)], 2))
    assert writer[0] == other[0] == 0, writer[2] + other[2]
    assert "epoch 1/1" in writer[2]
    assert "mean ± deviation" not in other[1]
    assert (other[1], [line for line in other[2].splitlines() if "epoch" in line]) == ("", [])
    assert (two / "report.html").exists()
    assert [path.name for path in two.glob(".*")] == [".lock"]
    for count in (2, 1):  # the checkpoint of two is restored by two, and theirs by one
        more = ["--epochs", str(4 - count)]
        for code, _, stderr in outcomes(start([*SWEEP[:2], "--resume", str(two), *more], count)):
            assert code == 0, stderr
    assert close(rows(two), rows(one))
    environments = json.loads((two / "config.json").read_text())["environments"]
    assert [environment["device_count"] for environment in environments] == [2, 2, 1]


@pytest.mark.slow
def test_an_experiment_of_several_sweeps_is_one_page(start, tmp_path):
    flags = ["--dataset", "digits", "--limit", "40", "--epochs", "1", "--seeds", "0", "--out", str(tmp_path / "run")]
    for code, _, stderr in outcomes(start(["-m", "experiments.latent_plane", *flags], 2)):
        assert code == 0, stderr
    assert (tmp_path / "run" / "report.html").read_text().count("data:image/png;base64,") >= 2
    studies = [path for path in (tmp_path / "run").iterdir() if path.is_dir()]
    assert len(studies) > 1
    assert all(json.loads((path / "summary.json").read_text())["complete"] for path in studies)


def test_what_the_writer_refuses_all_refuse(start, tmp_path):
    (tmp_path / "thesis.txt").touch()
    for code, _, stderr in outcomes(start([*SWEEP, "--out", str(tmp_path)], 2)):
        assert code == 2
        assert stderr.splitlines()[-1].startswith(f"error: out is {tmp_path}, which is not empty")


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "how"), [(at, how) for how in (signal.SIGKILL, signal.SIGSTOP) for at in (0, 1)])
def test_the_others_end_when_one_is_lost_and_the_run_goes_on_from_its_checkpoint(start, tmp_path, lost, how):
    out = tmp_path / "run"
    processes = start([*SWEEP, "--epochs", "100000", "--checkpoint-every", "1", "--out", str(out)], 2)
    wait_for_rows(out, processes)
    processes[lost].send_signal(how)
    begun = time.monotonic()
    processes[1 - lost].wait(timeout=60)
    assert time.monotonic() - begun < 30
    processes[lost].kill()
    code, _, stderr = outcomes(processes)[1 - lost]
    if code == -signal.SIGABRT:  # JAX was first
        assert "another task died" in stderr, stderr
    else:
        assert code == 8, stderr
        assert stderr.splitlines()[-1].startswith("error: another process was lost"), stderr
        assert f"--resume {out}" in stderr.splitlines()[-1]
    last = int(rows(out)[-1]["epoch"])
    ((code, _, stderr),) = outcomes(start([*SWEEP[:2], "--resume", str(out), "--epochs", str(last + 2)], 1))
    assert code == 0, stderr
    assert int(rows(out)[-1]["epoch"]) == last + 2


@pytest.mark.parametrize("told", [(1,), *(pytest.param(at, marks=pytest.mark.slow) for at in ((0,), (0, 1)))])
def test_a_signal_to_any_ends_all_with_a_checkpoint_of_the_same_epoch(start, tmp_path, told):
    out = tmp_path / "run"
    processes = start([*SWEEP, "--epochs", "100000", "--checkpoint-every", "100000", "--out", str(out)], 2)
    wait_for_rows(out, processes)
    for process in told:
        processes[process].send_signal(signal.SIGTERM)
    begun = time.monotonic()
    found = outcomes(processes)
    assert time.monotonic() - begun < 10
    assert [code for code, _, _ in found] == [143, 143], found
    assert "Traceback" not in found[0][2] + found[1][2]
    last = int(rows(out)[-1]["epoch"])
    assert (out / "checkpoints" / str(last)).is_dir()


ALONE = """
import runpy, sys
from jaxvae import processes
processes.MEETING = 1
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("process", ["0", "1"])
def test_where_the_others_do_not_come_jax_ends_the_process(process):
    where = ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2", "--process-id", process]
    command = [sys.executable, "-c", ALONE, *SWEEP[1:], *where]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert found.returncode == -signal.SIGABRT
    assert "DEADLINE_EXCEEDED" in found.stderr


MEET = """
import jax
from jaxvae.flags import ComputeFlags
from jaxvae.processes import from_writer, is_writer, join
join(ComputeFlags(coordinator="auto"))
print("met", jax.process_count(), jax.process_index(), is_writer(), from_writer(jax.process_index))
"""


def without_cluster():
    """This environment, without a cluster's."""
    clusters = ("SLURM_", "OMPI_", "PMI_", "PMIX_", "KUBERNETES_", "TPU_", "JAX_COORDINATOR")
    return {name: value for name, value in os.environ.items() if not name.startswith(clusters)}


def test_processes_meet_by_what_the_cluster_s_environment_says():
    slurm = {"JOB_ID": "1", "STEP_NODELIST": "localhost", "NTASKS": "2"}
    common = without_cluster() | {"JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_PORT": str(free_port())}
    common |= {f"SLURM_{name}": value for name, value in slurm.items()}
    started = []
    for number in "01":
        environment = {**common, "SLURM_PROCID": number, "SLURM_LOCALID": number}
        command, pipe = [sys.executable, "-c", MEET], subprocess.PIPE
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True))
    found = outcomes(started)
    assert [code for code, _, _ in found] == [0, 0], found
    assert [stdout.split() for _, stdout, _ in found] == [["met", *"20", "True", "0"], ["met", *"21", "False", "0"]]


def test_auto_where_there_is_no_cluster_is_refused(tmp_path):
    command = [sys.executable, *SWEEP, "--epochs", "1", "--out", str(tmp_path), "--coordinator", "auto"]
    environment = without_cluster()
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1].startswith("error: coordinator is auto: ")


@pytest.mark.parametrize(
    ("backend", "users", "kept"),
    [("gpu", None, None), ("gpu", "/mine", "x"), ("cpu", None, "x"), ("tpu", None, "x")],
)
def test_processes_on_gpus_take_no_programs_that_one_of_them_has(monkeypatch, backend, users, kept):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    if users:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", users)
    monkeypatch.setattr("jaxvae.processes._met", False)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: None)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr("jaxvae.processes.multihost_utils.sync_global_devices", lambda name: None)
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", "x")
        join(ComputeFlags(coordinator="auto"))
        assert jax.config.jax_compilation_cache_dir == kept
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_without_a_coordinator_a_process_is_alone():
    assert is_writer()
    assert from_writer(lambda: ["this", 1]) == ["this", 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"coordinator": "localhost"},
        {"coordinator": "localhost:http", "num_processes": 2, "process_id": 0},
        {"coordinator": ":80", "num_processes": 2, "process_id": 0},
        {"coordinator": "localhost:0", "num_processes": 2, "process_id": 0},
        {"coordinator": "localhost:80"},
        {"coordinator": "localhost:80", "num_processes": 2},
        {"coordinator": "localhost:80", "num_processes": 2, "process_id": 2},
        {"num_processes": 2},
        {"coordinator": "auto", "process_id": 0},
        {"devices": 0},
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ConfigError):
        ComputeFlags(**wrong)
