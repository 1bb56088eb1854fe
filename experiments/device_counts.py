"""The beta sweep on 1, 4 and 8 devices and in 2 processes: the same numbers on all of them?

source      none; it holds the promise that results do not depend on how many devices compute them
run time    9 min on 2 CPU cores beside other work
command     python -m experiments.device_counts
"""

import csv
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import isnan, nan
from pathlib import Path
from time import monotonic
from typing import Annotated

from jaxvae import cli
from jaxvae.config import check_range
from jaxvae.errors import JaxvaeError
from jaxvae.flags import DataFlags, unset

PROMISE = 1e-5
"""Largest relative difference of the loss of a step, over the first 50 steps."""
LAYOUTS = ((1, 1), (1, 4), (1, 8), (2, 1), (2, 2))
"""Processes, and devices of each."""
HEADER = ("processes", "devices each", "train loss", "test loss", "test MSE", "seconds", "kept")


@dataclass(frozen=True)
class DeviceCounts:
    """Train the beta sweep on 1, 4 and 8 devices and in 2 processes, and compare all with one device.

    Each is a command of its own on this machine, on as many CPU devices as it needs: they share the cores, so that this
    shows the numbers and not the speed. The defaults make epochs of a single step, 50 of them, each compared. Fails if
    a training loss differs by more than 1e-5 of it within 50 steps.
    """

    steps: int = 50
    """Updates."""
    batch_size: int = 128
    """Images per update, and in the data: an epoch is one step."""
    data: DataFlags = field(default_factory=DataFlags)
    out: Annotated[Path | None, unset("DIR", "results/device_counts/TIME-ID")] = None
    """Folder for the runs, new or empty."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_range("steps", self.steps, low=1, high=50)
        check_range("batch_size", self.batch_size, low=1, high=1000)


def run(flags: DeviceCounts) -> None:
    """Run them all, print the comparison and keep it."""
    from experiments.page import markdown
    from jaxvae import runs
    from jaxvae.experiment import say

    folder = runs.new_folder("device_counts", flags.out)
    rows, broken = [], []
    expected: list[dict[str, str]] = []
    for processes, devices in LAYOUTS:
        say(f"{processes} x {devices}")
        out, begun = folder / f"{processes}x{devices}", monotonic()
        for process in finish(launch(command(flags, out), processes, devices)):
            if process.returncode:
                raise JaxvaeError(f"{processes} x {devices}: exit code {process.returncode}: {process.stderr.strip()}")
        seconds, found = monotonic() - begun, metrics(out)
        expected = expected or found
        differences = [difference(found, expected, *what) for what in COMPARED]
        kept = differences[0] <= PROMISE
        if not kept:
            broken.append(f"{processes} x {devices}")
        rows.append(
            (
                str(processes),
                str(devices),
                *(f"{x:.0e}" for x in differences),
                f"{seconds:.0f}",
                "yes" if kept else "NO",
            )
        )
    table = f"{markdown(HEADER, rows)}\n\n{NOTES}"
    runs.write_text(folder / "device_counts.md", table)
    print(table)
    if broken:
        raise JaxvaeError(f"the losses on {', '.join(broken)} differ by more than {PROMISE:g}")


COMPARED = (("train", "loss"), ("test", "loss"), ("test", "mse"))
NOTES = f"""Largest relative differences from one device, over all members and steps; each training loss is of one step.
Kept: the training losses are within {PROMISE:g}. Seconds are of whole commands, which take from the
cache what was compiled before.
"""


def command(flags: DeviceCounts, out: Path) -> list[str]:
    """The main job with epochs of one step."""
    size = str(flags.batch_size)
    data = ["--dataset", flags.data.dataset, *(["--data-dir", str(flags.data.data_dir)] if flags.data.data_dir else [])]
    short = ["--limit", size, "--batch-size", size, "--epochs", str(flags.steps)]
    return ["-m", "experiments.beta_sweep", *data, *short, "--out", str(out)]


def launch(
    arguments: Sequence[str], processes: int, devices: int, folder: Path | None = None
) -> list[subprocess.Popen]:
    """`python ARGUMENTS` in several processes that meet on this machine, each with so many CPU devices."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    address = f"127.0.0.1:{free_port()}"

    def of(number: int) -> subprocess.Popen:
        meeting = ["--coordinator", address, "--num-processes", str(processes), "--process-id", str(number)]
        return subprocess.Popen(
            [sys.executable, *arguments, *(meeting if processes > 1 else [])],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return [of(number) for number in range(processes)]


def finish(processes: Sequence[subprocess.Popen], timeout: float = 600) -> list[subprocess.CompletedProcess]:
    """Wait for all; none is left behind."""
    with ThreadPoolExecutor(len(processes) or 1) as readers:
        try:
            texts = list(readers.map(lambda process: process.communicate(timeout=timeout), processes))
        except subprocess.TimeoutExpired:
            raise JaxvaeError(f"the processes did not end within {timeout:g} seconds") from None
        finally:
            for process in processes:
                process.kill()
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *text)
        for process, text in zip(processes, texts, strict=True)
    ]


def free_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def metrics(folder: Path) -> list[dict[str, str]]:
    """The lines of a run's metrics.csv."""
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def difference(found: Sequence[dict[str, str]], expected: Sequence[dict[str, str]], split: str, name: str) -> float:
    """The largest relative one in a column of a split."""
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if b["split"] == split]
    same = ("member", "epoch", "split")
    if any(a[column] != b[column] for a, b in pairs for column in same):
        raise JaxvaeError("the lines of metrics.csv are not in the same order")
    differences = [abs(float(a[name]) / float(b[name]) - 1) for a, b in pairs]
    return nan if any(map(isnan, differences)) else max(differences)


if __name__ == "__main__":
    sys.exit(cli.main("device_counts", DeviceCounts, run))
