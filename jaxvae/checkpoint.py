"""Saving and restoring a fit's `Progress`; the only importer of orbax.

A checkpoint is a folder named by its epoch: the state by Orbax, and a manifest with the history and the sha256 of every
file, its own included. It is made under a hidden name and renamed when all of it is there, so that a kill leaves whole
checkpoints only; what happens to them later is found before anything of them is used.
"""

import errno
import io
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.options import MultiprocessingOptions

from jaxvae.errors import CheckpointError, RunFolderError, first_line
from jaxvae.fit import Progress
from jaxvae.manifest import compare, damage, leaf_types, read_manifest, write_manifest
from jaxvae.processes import from_writer, is_loss, is_writer
from jaxvae.types import TrainState

SHARE, LONGEST = 0.01, 60.0
"""Where no number of epochs is asked for: the share of a run's time that saving may take, and the seconds of training
after which an epoch is saved whatever it takes."""
SPARE = 2**18
"""Bytes for what a checkpoint holds beside its arrays."""
LAST_WORDS = 0.5
"""Seconds in which the threads of a save that failed come to their ends."""
STATE = "state"
"""Orbax's folder in that of a checkpoint."""


class Checkpoints:
    """The newest checkpoints of one run.

    Saves are synchronous: the next epoch takes over the state's memory. Of several processes all must save and restore
    together; one that looks at a run by itself is `alone`. `run` says by JSON values what makes the run what it is: a
    checkpoint of another one is not restored.
    """

    def __init__(
        self, folder: Path, run: Mapping[str, Any] | None = None, *, keep: int = 2, alone: bool = False
    ) -> None:
        self.folder = folder.absolute()
        self.run = dict(run or {})
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
            if is_writer():
                shutil.rmtree(staging, ignore_errors=True)
            raise RunFolderError(f"{final}: cannot be written: {reason(error)}") from error
        self._saved = monotonic()
        self._saving += self._saved - start

    def restore(self, abstract_state: TrainState) -> Progress:
        """The newest checkpoint.

        Raises:
            CheckpointError: there is none; it is damaged, and which older one is not; it is another run's; or its
                state differs from `abstract_state` (`Sweep.abstract_state`) in structure, shape or dtype.
        """
        epoch = self._decide(self._newest_intact)
        path = self.folder / str(epoch)
        try:
            manifest = read_manifest(path)
            compare(path, manifest["run"], self.run)
            compare(path, manifest["leaves"], leaf_types(abstract_state))
            state = self._orbax.restore(path / STATE, args=ocp.args.StandardRestore(abstract_state))
        except Exception as error:  # what Orbax raises of files that somebody has made is of every kind
            if isinstance(error, CheckpointError) or is_loss(error):
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
        write_manifest(staging, progress.epoch, self.run, leaf_types(progress.state), progress.history)
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
