"""Real processes on this machine that train together, and what becomes of them when one is lost."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxvae.errors import ConfigError
from jaxvae.flags import ComputeFlags
from jaxvae.processes import from_writer, is_writer

ROOT = Path(__file__).parents[1]
LOSSES = ("-m", "tests.losses_of_processes")
SWEEP = [
    *("-m", "experiments.beta_sweep", "--dataset", "digits", "--limit", "60", "--batch-size", "23"),
    *("--architecture", "mlp", "--betas", "1", "4", "8", "--seeds", "0"),
]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(arguments, count, devices=1):
    """`count` processes of `devices` devices each."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    address = f"127.0.0.1:{free_port()}"

    def of(number):
        meeting = ["--coordinator", address, "--num-processes", str(count), "--process-id", str(number)]
        command = [sys.executable, *arguments, *(meeting if count > 1 else [])]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)

    return [of(number) for number in range(count)]


def outcomes(processes, timeout=240):
    """(exit code, stdout, stderr) of each."""
    try:
        texts = [process.communicate(timeout=timeout) for process in processes]
        return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]
    finally:
        for process in processes:
            process.kill()


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def close(found, expected):
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            if name in ("loss", "reconstruction", "kl"):
                assert float(row[name]) == pytest.approx(float(value), rel=1e-5)
            elif name in ("member", "seed", "beta", "epoch", "split", "alive"):
                assert row[name] == value
    return True


def losses_of(count, devices, folder):
    for code, _, stderr in outcomes(start([*LOSSES, str(folder)], count, devices)):
        assert code == 0, stderr
    with np.load(folder / "losses.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The losses of one process with one device."""
    return losses_of(1, 1, tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize(
    ("count", "devices"),
    [(2, 2), pytest.param(4, 1, marks=pytest.mark.slow), pytest.param(2, 4, marks=pytest.mark.slow)],
)
def test_fifty_steps_have_the_losses_of_one_device(alone, tmp_path, count, devices):
    found = losses_of(count, devices, tmp_path)
    assert found.keys() == alone.keys()
    assert len(alone) == 3
    for name, losses in found.items():
        assert losses.shape[1] == 50
        np.testing.assert_allclose(losses, alone[name], rtol=1e-5, err_msg=name)


def test_a_sweep_of_two_processes_is_one_run_that_any_number_goes_on_with(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    ((code, _, stderr),) = outcomes(start([*SWEEP, "--epochs", "2", "--out", str(one)], 1))
    assert code == 0, stderr
    writer, other = outcomes(start([*SWEEP, "--epochs", "1", "--out", str(two)], 2))
    assert writer[0] == other[0] == 0, writer[2] + other[2]
    assert "epoch 1/1" in writer[2]
    assert "mean ± deviation" not in other[1]
    assert (other[1], [line for line in other[2].splitlines() if "epoch" in line]) == ("", [])
    assert (two / "report.html").exists()
    assert not list(two.glob(".*"))
    ((code, _, stderr),) = outcomes(start([*SWEEP[:2], "--resume", str(two), "--epochs", "2"], 1))
    assert code == 0, stderr
    assert close(rows(two), rows(one))
    environments = json.loads((two / "config.json").read_text())["environments"]
    assert [environment["device_count"] for environment in environments] == [2, 1]


def test_what_the_writer_refuses_all_refuse(tmp_path):
    (tmp_path / "thesis.txt").touch()
    for code, _, stderr in outcomes(start([*SWEEP, "--out", str(tmp_path)], 2)):
        assert code == 2
        assert stderr.splitlines()[-1].startswith(f"error: out is {tmp_path}, which is not empty")


@pytest.mark.parametrize("lost", [0, 1])
def test_the_others_end_when_one_is_lost_and_the_run_goes_on_from_its_checkpoint(tmp_path, lost):
    out = tmp_path / "run"
    processes = start([*SWEEP, "--epochs", "100000", "--checkpoint-every", "1", "--out", str(out)], 2)
    deadline = time.monotonic() + 120
    while not (out / "metrics.csv").exists() or len(rows(out)) < 12:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)
    processes[lost].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    results = outcomes(processes)
    assert time.monotonic() - killed < 40
    code, _, stderr = results[1 - lost]
    assert code == 8, stderr
    assert stderr.splitlines()[-1].startswith("error: another process was lost"), stderr
    last = int(rows(out)[-1]["epoch"])
    ((code, _, stderr),) = outcomes(start([*SWEEP[:2], "--resume", str(out), "--epochs", str(last + 2)], 1))
    assert code == 0, stderr
    assert int(rows(out)[-1]["epoch"]) == last + 2


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
