"""Saving and restoring a fit's `Progress`; the only importer of orbax.

A checkpoint is a folder named by its epoch: the state by Orbax, and a manifest with the history and the sha256 of every
file, its own included. It is made under a hidden name and renamed when all of it is there, so that a kill leaves whole
checkpoints only; what happens to them later is found before anything of them is used.
"""

import errno
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.options import MultiprocessingOptions

from jaxvae.errors import CheckpointError, RunFolderError, first_line
from jaxvae.fit import Progress
from jaxvae.processes import from_writer, is_loss
from jaxvae.types import TrainState

SHARE, LONGEST = 0.01, 60.0
"""Where no number of epochs is asked for: the share of a run's time that saving may take, and the seconds of training
after which an epoch is saved whatever it takes."""
SPARE = 2**18
"""Bytes that a checkpoint takes beside its arrays, at most."""
LAST_WORDS = 0.5
"""Seconds in which the threads of a save that failed come to their ends."""
MANIFEST, STATE = "manifest.json", "state"


class Checkpoints:
    """The newest checkpoints of one run.

    Saves are synchronous: the next epoch takes over the state's memory. Of several processes all must save and restore
    together; one that looks at a run by itself is `alone`.
    """

    def __init__(self, folder: Path, *, keep: int = 2, alone: bool = False) -> None:
        self.folder = folder.absolute()
        self.keep = keep
        processes = MultiprocessingOptions()
        if alone:
            processes = MultiprocessingOptions(jax.process_index(), {jax.process_index()}, "alone")
        handler = ocp.StandardCheckpointHandler(multiprocessing_options=processes)
        self._orbax = ocp.Checkpointer(handler, multiprocessing_options=processes)
        self._decide = (lambda decide: decide()) if alone else from_writer
        self._opened = self._saved = monotonic()
        self._saving = 0.0

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._orbax.close()

    @property
    def epochs(self) -> list[int]:
        """The epochs of which there is a checkpoint, intact or not, ascending."""
        names = (path.name for path in self.folder.glob("[0-9]*"))
        return sorted(int(name) for name in names if name.isdecimal() and name == str(int(name)))

    @property
    def epoch(self) -> int | None:
        """The epoch of the newest checkpoint; None where there is none."""
        return max(self.epochs, default=None)

    def due(self, epoch: int, every: int | None = None) -> bool:
        """Whether to save after `epoch`: each of so many epochs, or without `every` if saving took little time so far.

        Little is a `SHARE` of the time since this object was made; `LONGEST` after the last save it does not matter.
        A run's first epoch is saved.
        """
        if self.epoch is None:
            return True
        if every is not None:
            return epoch % every == 0
        now = monotonic()
        return self._saving <= SHARE * (now - self._opened) or now - self._saved >= LONGEST

    def save(self, progress: Progress) -> None:
        """Write a checkpoint of `progress`, then drop those older than the newest ones.

        Raises:
            CheckpointError: a checkpoint of this epoch or a later one exists already.
            RunFolderError: it cannot be written; those before it are as they were.
        """
        start = monotonic()
        staging, final = self.folder / f".{progress.epoch}", self.folder / str(progress.epoch)
        try:
            self._decide(lambda: self._prepare(progress))
            with quiet():
                self._orbax.save(staging / STATE, args=ocp.args.StandardSave(progress.state))
            self._decide(lambda: self._finish(staging, final, progress))
        except (OSError, ValueError, RuntimeError) as error:
            if is_loss(error):
                raise
            shutil.rmtree(staging, ignore_errors=True)
            raise RunFolderError(f"{final}: cannot be written: {reason(error)}") from error
        self._saved = monotonic()
        self._saving += self._saved - start

    def restore(self, abstract_state: TrainState) -> Progress:
        """The newest checkpoint.

        Raises:
            CheckpointError: there is none; it is damaged, and which older one is not; or its state differs from
                `abstract_state` (`Sweep.abstract_state`) in structure, shape or dtype.
        """
        epoch = self._decide(self._newest_intact)
        path = self.folder / str(epoch)
        try:
            manifest = read_manifest(path)
            compare(path, manifest["leaves"], leaf_types(abstract_state))
            state = self._orbax.restore(path / STATE, args=ocp.args.StandardRestore(abstract_state))
        except (OSError, ValueError, KeyError, TypeError) as error:
            if is_loss(error):
                raise
            raise CheckpointError(f"{path}: cannot be restored: {first_line(error)}{self._advice(epoch)}") from error
        return Progress(epoch, state, manifest["history"])

    def _prepare(self, progress: Progress) -> None:
        """Make room, and see that there is: what a killed run has not finished goes."""
        epoch = progress.epoch
        if self.folder.is_symlink():
            raise RunFolderError(f"{self.folder}: is a link; a run writes in its own folder only")
        newest = self.epoch
        if newest is not None and newest >= epoch:
            raise CheckpointError(
                f"{self.folder}: epoch {epoch} was not saved, as the newest checkpoint is of epoch {newest}"
            )
        self.folder.mkdir(exist_ok=True)
        for unfinished in self.folder.glob(".[0-9]*"):
            shutil.rmtree(unfinished)
        (self.folder / f".{epoch}").mkdir()
        disk, size = os.statvfs(self.folder), sum(x.nbytes for x in jax.tree.leaves(progress.state))
        if disk.f_bavail * disk.f_frsize < size + SPARE:  # Orbax would say so in many words
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _finish(self, staging: Path, final: Path, progress: Progress) -> None:
        """The manifest, the name, and the end of older ones, which lose their names first."""
        write_manifest(staging, progress)
        staging.rename(final)
        for epoch in self.epochs[: -self.keep]:
            old = self.folder / f".{epoch}"
            (self.folder / str(epoch)).rename(old)
            shutil.rmtree(old)

    def _newest_intact(self) -> int:
        """The newest checkpoint, which must be intact: to go back further is the user's to decide."""
        epoch = self.epoch
        if epoch is None:
            raise CheckpointError(f"{self.folder}: no checkpoint to resume from; start a new run")
        if found := damage(self.folder / str(epoch)):
            raise CheckpointError(f"{self.folder / str(epoch)}: damaged: {found}{self._advice(epoch)}")
        return epoch

    def _advice(self, epoch: int) -> str:
        """What to do where the checkpoint of `epoch` cannot be used."""
        older = (e for e in reversed(self.epochs) if e < epoch)
        intact = next((e for e in older if damage(self.folder / str(e)) is None), None)
        if intact is None:
            return "; there is no older one that is intact; start a new run"
        return f"; epoch {intact} is intact: to go on from there, remove {self.folder / str(epoch)} and resume"


def write_manifest(folder: Path, progress: Progress) -> None:
    """What `folder` holds: epoch, history, the types of the state's arrays, and every file's sha256."""
    body = {
        "epoch": progress.epoch,
        "leaves": leaf_types(progress.state),
        "files": {name: sha256(path) for name, path in files(folder).items()},
        "history": progress.history,
    }
    (folder / MANIFEST).write_text(json.dumps({"sha256": text_sha256(body), **body}), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        ValueError: it is not one, or not as it was written.
        OSError: it cannot be read.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        intact = isinstance(manifest, dict) and manifest.pop("sha256", None) == text_sha256(manifest)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{MANIFEST} is not as it was written: {first_line(error)}") from error
    if not intact:
        raise ValueError(f"{MANIFEST} is not as it was written: its sha256 is another")
    return manifest


def damage(folder: Path) -> str | None:
    """What in a checkpoint's folder is not as it was saved; None for nothing."""
    if folder.is_symlink() or not folder.is_dir():
        return "it is not a folder"
    if not (folder / MANIFEST).is_file():
        return f"{MANIFEST} is missing"
    try:
        manifest = read_manifest(folder)
        found = files(folder)
        found.pop(MANIFEST)
        expected = manifest["files"]
        if manifest["epoch"] != int(folder.name):
            return f"it is of epoch {manifest['epoch']}"
        for name in sorted(found.keys() | expected.keys()):
            if name not in found:
                return f"{name} is missing"
            if name not in expected:
                return f"{name} does not belong to it"
            if sha256(found[name]) != expected[name]:
                return f"{name} is not as it was written: its sha256 is another"
    except (OSError, ValueError) as error:
        return first_line(error)
    return None


def files(folder: Path) -> dict[str, Path]:
    """Relative name -> path of everything in `folder` that is no folder; links are not followed."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {str(path.relative_to(folder)): path for path in paths}


def sha256(path: Path) -> str:
    """The sha256 of a file.

    Raises:
        ValueError: it is a link, a pipe or another thing that is no file.
    """
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path.name} is not a plain file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_sha256(body: Any) -> str:
    """The sha256 of a JSON value."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def state_sha256(tree: Any) -> str:
    """The sha256 of every array of a pytree on the host: its path, dtype, shape and bytes."""
    digest = hashlib.sha256()
    for name, leaf in named_leaves(tree).items():
        digest.update(f"{name} {leaf.dtype}{list(leaf.shape)}\n".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def compare(path: Path, found: dict[str, str], wanted: dict[str, str]) -> None:
    """Refuse what Orbax would silently cast or drop."""
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise CheckpointError(
                f"{path}: {name} is {found.get(name, 'missing')}, but this run needs "
                f"{wanted.get(name, 'nothing there')}; were model or members changed?"
            )


def leaf_types(tree: Any) -> dict[str, str]:
    """Path -> 'dtype[shape]' of every array."""
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in named_leaves(tree).items()}


def named_leaves(tree: Any) -> dict[str, Any]:
    """Path -> array."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


@contextmanager
def quiet() -> Iterator[None]:
    """What Orbax and its threads say of an error that they raise too stays unsaid."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):
            try:
                yield
            except Exception:
                sleep(LAST_WORDS)
                raise
    finally:
        logger.setLevel(level)


def reason(error: Exception) -> str:
    """Why a file could not be written, of an error of Orbax too, which says it among other things."""
    for words in ("No space left on device", "File too large", "Disk quota exceeded", "Read-only file system"):
        if words in str(error):
            return words
    return getattr(error, "strerror", None) or first_line(error)
