"""Saving and restoring a fit's `Progress`; the only importer of orbax."""

from pathlib import Path
from time import monotonic
from types import TracebackType

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.options import MultiprocessingOptions

from jaxvae.errors import CheckpointError, first_line
from jaxvae.fit import Progress
from jaxvae.processes import is_loss
from jaxvae.types import TrainState

SHARE, LONGEST = 0.01, 60.0
"""Where no number of epochs is asked for: the share of a run's time that saving may take, and the seconds of training
after which an epoch is saved whatever it takes."""


class Checkpoints:
    """The newest checkpoints of one run, one folder per epoch: the state by Orbax, the history as JSON beside it.

    Saves are synchronous: the next epoch takes over the state's memory. Of several processes all must save and restore
    together; one that looks at a run by itself is `alone`, and finds the folder made.
    """

    def __init__(self, folder: Path, *, keep: int = 2, alone: bool = False) -> None:
        self.folder = folder
        processes = MultiprocessingOptions()
        if alone:
            processes = MultiprocessingOptions(jax.process_index(), {jax.process_index()}, "alone")
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=not alone,
            enable_async_checkpointing=False,
            multiprocessing_options=processes,
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "history": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handlers)
        self._opened = self._saved = monotonic()
        self._saving = 0.0

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._manager.close()

    @property
    def epoch(self) -> int | None:
        """The epoch of the newest checkpoint; None where there is none."""
        return self._manager.latest_step()

    def due(self, epoch: int, every: int | None = None) -> bool:
        """Whether to save after `epoch`: each of so many epochs, or without `every` if saving took little time so far.

        Little is a `SHARE` of the time since this object was made; `LONGEST` after the last save it does not matter.
        The first epoch is saved.
        """
        if every is not None:
            return epoch % every == 0
        now = monotonic()
        return self._saving <= SHARE * (now - self._opened) or now - self._saved >= LONGEST

    def save(self, progress: Progress) -> None:
        """Write a checkpoint of `progress`, then drop those older than the newest ones.

        Raises:
            CheckpointError: a checkpoint of this epoch or a later one exists already.
        """
        start = monotonic()
        saved = self._manager.save(
            progress.epoch,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(progress.state), history=ocp.args.JsonSave({"rows": progress.history})
            ),
        )
        self._saved = monotonic()
        self._saving += self._saved - start
        if not saved:
            raise CheckpointError(
                f"{self.folder}: epoch {progress.epoch} was not saved, as the newest checkpoint is of epoch "
                f"{self.epoch}"
            )

    def restore(self, abstract_state: TrainState) -> Progress:
        """The newest checkpoint.

        Raises:
            CheckpointError: there is none, it cannot be read, or its state differs from `abstract_state`
                (`Sweep.abstract_state`) in structure, shape or dtype.
        """
        epoch = self.epoch
        if epoch is None:
            raise CheckpointError(f"{self.folder}: no checkpoint to resume from; start a new run")
        try:
            self._compare(epoch, abstract_state)
            restored = self._manager.restore(
                epoch,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state), history=ocp.args.JsonRestore()),
            )
            return Progress(epoch, restored["state"], restored["history"]["rows"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            if is_loss(error):
                raise
            raise CheckpointError(
                f"{self.folder}: epoch {epoch} cannot be restored: {first_line(error)}; "
                f"delete {self.folder / str(epoch)} to go on from the one before"
            ) from error

    def _compare(self, epoch: int, expected: TrainState) -> None:
        """Refuse what Orbax would silently cast or drop."""
        saved = self._manager.item_metadata(epoch)["state"]
        if saved is None:
            raise CheckpointError(f"{self.folder}: epoch {epoch} holds no readable state")
        found, wanted = _leaves(saved), _leaves(expected)
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                raise CheckpointError(
                    f"{self.folder}: epoch {epoch}, {name} is {found.get(name, 'missing')}, but this run needs "
                    f"{wanted.get(name, 'nothing there')}; were model or members changed?"
                )


def _leaves(tree) -> dict[str, str]:
    """Path -> 'dtype[shape]' of every array, with paths that do not depend on the container's kind."""
    return {
        "/".join(str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path): (
            f"{leaf.dtype}{list(leaf.shape)}"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if hasattr(leaf, "shape")
    }
