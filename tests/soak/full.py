"""Disks of many sizes that run full, and one that is read-only: exit 6, no run that calls itself complete, and a
checkpoint that is good.

Where file systems can be mounted, as root on Linux, the disk is one of that size in memory; elsewhere no file may
become larger than the limit.
"""

import json
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jaxvae.checkpoint import Checkpoints
from jaxvae.manifest import damage
from tests.soak.commands import LITTLE, Ended, end, result, start
from tests.soak.outcome import Outcome

PROMISE = "a full disk ends a run with 6, leaves it incomplete, and its last checkpoint good"
FLAGS = (*LITTLE, "--architecture", "dense", "--betas", 1, 4, "--epochs", 6, "--checkpoint-every", 1)
SMALLEST, LARGEST = 16, 60_000
"""KiB: nothing fits, everything does."""
EVERY = 5
"""Of so many runs one is resumed, and compared, after the disk has room again."""


def run(count: int, seed: int, work: Path) -> Outcome:
    """`count` sizes, evenly spaced by their ratio; nothing is random."""
    del seed
    failures: list[str] = []
    if (ended := end(start(work, *FLAGS, "--out", work / "whole"))).code:
        raise RuntimeError(f"the run on a large disk ended with {ended.code}: {ended.last_line}")
    expected, codes, compared = result(work / "whole"), [], 0
    for number, size in enumerate(np.geomspace(SMALLEST, LARGEST, count).astype(int).tolist()):
        with disk(work / f"disk_{number}", size) as (folder, limit, remount):
            ended = end(start(work, *FLAGS, "--out", folder / "run", **limit))
            codes.append(ended.code)
            failures += [f"{size} KiB: {what}" for what in faults(folder / "run", ended)]
            if number % EVERY == 0 and (folder / "run" / "config.json").exists():
                remount("size=1g")
                ended = end(start(work, "--resume", folder / "run"))
                compared += 1
                if ended.code or result(folder / "run") != expected:
                    failures.append(f"{size} KiB, with room again: {ended.code}: {ended.last_line}")
    with disk(work / "read_only", LARGEST) as (folder, _, remount):
        ended = end(start(work, *FLAGS, "--out", folder / "run"))
        failures += [f"read-only: {what}" for what in faults(folder / "run", ended)]
        if remount("ro"):
            for flags in (("--resume", folder / "run", "--epochs", 8), (*FLAGS, "--out", folder / "another")):
                ended = end(start(work, *flags))
                if ended.code != 6 or "\nerror: " not in f"\n{ended.last_line}":
                    failures.append(f"read-only: {ended.code}: {ended.last_line}")
    figures = {"sizes": count, "ended with 6": codes.count(6), "complete": codes.count(0), "resumed": compared}
    return Outcome(PROMISE, figures, failures)


def faults(folder: Path, ended: Ended) -> list[str]:
    """What is wrong about the end of a run that may have found no room."""
    found = [f"code {ended.code}: {ended.last_line}"] if ended.code not in (0, 6) else []
    found += ["a traceback"] if "Traceback" in ended.error else []
    found += [f"no error line: {ended.last_line}"] if ended.code and not ended.last_line.startswith("error: ") else []
    summary = folder / "summary.json"
    if ended.code and summary.exists() and json.loads(summary.read_text())["complete"]:
        found.append("it calls itself complete")
    epochs = Checkpoints(folder / "checkpoints", alone=True).epochs
    return found + [f"checkpoint {e}: {what}" for e in epochs if (what := damage(folder / "checkpoints" / str(e)))]


@contextmanager
def disk(folder: Path, size: int) -> Iterator[tuple[Path, dict, Callable[[str], bool]]]:
    """A folder with so many KiB of room, options for a process to be limited by it, and what changes the disk."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        most = size * 1024

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        yield folder, {"preexec_fn": limit}, lambda option: False
        return

    def remount(option: str) -> bool:
        subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)
        return True

    try:
        yield folder, {}, remount
    finally:
        subprocess.run(["umount", str(folder)], check=True)
