"""A run folder: settings, metrics, summary, figures, checkpoints. Every file is replaced whole, never half written.

One process at a time, or the writer of several that train together, holds a folder's lock, which ends with it.
"""

import csv
import errno
import fcntl
import io
import json
import math
import os
import platform
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import jaxvae
from jaxvae.data.dataset import Dataset
from jaxvae.errors import ConfigError, FolderInUseError, RunFolderError, first_line, printable
from jaxvae.files import write_whole
from jaxvae.fit import Row
from jaxvae.processes import is_writer
from jaxvae.sweep import HPARAMS

COLUMNS = (
    *("member", "seed", *HPARAMS, "epoch", "split", "loss", "reconstruction", "kl"),
    *("mse", "ssim", "active_units", "clamped", "decoder_spread"),
    *("collapsed", "dead_decoder", "worse_than_mean_image", "steps", "alive"),
)
LOCK = ".lock"


def new_folder(experiment: str, out: Path | None) -> Path:
    """Make `out`, or `results/<experiment>/<UTC time>-<id>`; a folder that holds anything is never written to.

    Hidden files do not count: what a process leaves that is killed before it has written anything.

    Raises:
        ConfigError: `out` exists and is not an empty folder.
        RunFolderError: it cannot be made.
    """
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    folder = out or Path("results") / experiment / stamp
    try:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"out is {folder}, which is not a folder; name a new one")
        if folder.exists() and any(path.name[0] != "." for path in folder.iterdir()):
            with in_use(folder, make=False):
                pass
            raise ConfigError(f"out is {folder}, which is not empty; name a new folder, or continue with --resume")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be used as run folder: {error.strerror}") from error
    return folder


@contextmanager
def in_use(folder: Path, *, make: bool = True) -> Iterator[None]:
    """Hold the lock of a run folder; it goes with the process, however that ends. Without `make` only if there is one.

    Raises:
        FolderInUseError: another process holds it.
        RunFolderError: it cannot be written.
    """
    path = folder / LOCK
    try:
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if make else 0), 0o644)
    except FileNotFoundError:
        if make:
            raise
        yield
        return
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise RunFolderError(f"{path}: cannot be locked on this file system: {error.strerror}") from error
            owner = printable(os.pread(file, 300, 0).decode(errors="replace").strip()) or "another process"
            raise FolderInUseError(f"{folder} is in use by {owner}; wait for it, or name another folder") from error
        if make:
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step; of several processes only the writer does."""
    if is_writer():
        write_whole(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by strict JSON: NaN and infinities, which JSON lacks, become null."""
    write_text(path, json.dumps(_strict(value), indent=1) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file of a run.

    Raises:
        RunFolderError: it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: not valid JSON: {first_line(error)}") from error


def read_object(path: Path) -> dict[str, Any]:
    """The content of a JSON file of a run that holds names and values.

    Raises:
        RunFolderError: it is missing, not JSON, or something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise RunFolderError(f"{path}: expected a JSON object, found a {type(content).__name__}")
    return content


def write_metrics(path: Path, history: Sequence[Row]) -> None:
    """`metrics.csv`: one line per member, epoch and split; floats with all their digits; empty where undefined."""
    write_rows(path, history, COLUMNS)


def write_rows(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """A table of `columns` as CSV, empty where a row lacks one."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def environment() -> dict[str, Any]:
    """What the numbers may depend on beside the settings: versions, machine, device, commit."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "dm-pix")
    device = jax.devices()[0]
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {"jaxvae": jaxvae.__version__, **{name: version(name) for name in packages}},
        "platform": platform.platform(),
        "processor": _processor(),
        "backend": device.platform,
        "device": device.device_kind,
        "device_count": jax.device_count(),
        "process_count": jax.process_count(),
        "matmul_precision": jax.config.jax_default_matmul_precision,  # pyright: ignore[reportAttributeAccessIssue]
        "xla_flags": os.environ.get("XLA_FLAGS"),
        "cpu_count": os.cpu_count(),
    }


def dataset_record(dataset: Dataset) -> dict[str, Any]:
    """Name, origin, sizes and checksums of the data."""
    return {
        "name": dataset.name,
        "source": dataset.source,
        "train": len(dataset.train.image),
        "test": len(dataset.test.image),
        "sha256": dataset.sha256,
    }


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What the processor calls itself, where the system tells."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _commit() -> str | None:
    """The commit of this checkout, marked where code has changed since; None for an installed package."""
    folder = Path(__file__).parents[1]
    if not (folder / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ("git", "--no-optional-locks", "-C", str(folder), *arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()

    try:
        # results are written while others train: only code counts
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "pyproject.toml")
        return git("rev-parse", "--short=12", "HEAD") + "-dirty" * bool(changed)
    except (OSError, subprocess.SubprocessError):
        return None


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return str(value) if isinstance(value, Path) else value
