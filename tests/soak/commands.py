"""Experiments as processes of their own, on a little data."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
LITTLE = ("--dataset", "digits", "--limit", "256", "--batch-size", "32")
SECONDS = 300
"""After so many a process has got stuck."""


class Ended(NamedTuple):
    """What became of a process."""

    code: int
    error: str

    @property
    def last_line(self) -> str:
        """Of stderr."""
        return (self.error.splitlines() or [""])[-1]


def start(work: Path, *flags: object, name: str = "beta_sweep", **options: Any) -> subprocess.Popen[str]:
    """Start the experiment `name`, the main job by default, which keeps what it compiles in `work`."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs do, and what they start
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", f"experiments.{name}", *map(str, flags)]
    names = {"JAX_COMPILATION_CACHE_DIR": str(work / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    names["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    kept = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    return subprocess.Popen(
        command, cwd=ROOT, env=kept | names, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options
    )


def end(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process; one that has got stuck is killed, and its code is then that of a kill."""
    try:
        error = process.communicate(timeout=SECONDS)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        error = process.communicate()[1] + "\nno end"
    return Ended(process.returncode, error)


def begin_or_resume(folder: Path, flags: tuple[object, ...]) -> tuple[object, ...]:
    """The flags that begin the run in `folder`, or go on with it where it has begun."""
    begun = any((folder / name).exists() for name in ("config.json", "experiment.json"))
    return ("--resume", folder) if begun else (*flags, "--out", folder)


def result(folder: Path) -> list[tuple[str, str]]:
    """What the complete runs in `folder` have come to: the sha256 of state and keys, and that of their metrics."""
    found = []
    for path in sorted(folder.rglob("summary.json")):
        summary = json.loads(path.read_text())
        assert summary["complete"], f"{path} is not complete"
        found.append((summary["state_sha256"], sha256(path.with_name("metrics.csv").read_bytes()).hexdigest()))
    return found


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str], poll: float = 0.002) -> bool:
    """Wait until it is `ready`; False where the process ended before."""
    while not ready():
        try:
            process.wait(poll)
            return False
        except subprocess.TimeoutExpired:
            continue
    return True


def wait(seconds: float, process: subprocess.Popen[str]) -> None:
    """Wait so long, or until the process has ended."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
