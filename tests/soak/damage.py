"""Checkpoints that are damaged in every way that a disk, a person or a program can: nothing wrong is ever restored."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from jaxvae.checkpoint import Checkpoints
from jaxvae.config import Config
from jaxvae.data import Dataset, Split
from jaxvae.errors import CheckpointError
from jaxvae.fit import Sweep, fit
from jaxvae.manifest import state_sha256
from jaxvae.sweep import grid
from tests.soak.outcome import Outcome

PROMISE = "a damaged checkpoint is found and named, an intact older one offered, and nothing wrong restored"


def run(count: int, seed: int, work: Path) -> Outcome:
    """`count` damages of the newest checkpoint of a run that has two."""
    draw, failures = random.Random(seed), []
    sweep = small_sweep()
    saved: dict[int, tuple[str, object]] = {}
    intact = work / "intact"
    with Checkpoints(intact, {"betas": [1.0, 4.0]}) as checkpoints:

        def keep(progress) -> None:
            checkpoints.save(progress)
            saved[progress.epoch] = state_sha256(progress.state), progress.history

        fit(sweep, epochs=3, on_epoch=keep)
    counted: Counter[str] = Counter()
    for number in range(count):
        folder = shutil.copytree(intact, work / "damaged")
        kind = list(DAMAGES)[number % len(DAMAGES)]
        DAMAGES[kind](folder, draw)
        try:
            asked = {"betas": [1.0, 9.0]} if kind == "another run's" else {"betas": [1.0, 4.0]}
            with Checkpoints(folder, asked) as checkpoints:
                restored = checkpoints.restore(sweep.abstract_state())
        except CheckpointError as error:
            named = str(folder) in str(error) and "\n" not in str(error)
            offered = "epoch 2 is intact" in str(error) or kind in ("both", "another run's")
            counted["named" if named and offered else "not named"] += 1
            if not (named and offered):
                failures.append(f"{number}, {kind}: {error}")
        except Exception as error:
            failures.append(f"{number}, {kind}: {type(error).__name__}: {error}")
        else:
            same = saved.get(restored.epoch) == (state_sha256(restored.state), restored.history)
            older = kind == "newest gone" and restored.epoch == 2
            counted["the older one restored" if same and older else "WRONG RESTORES"] += 1
            if not (same and older):
                failures.append(f"{number}, {kind}: restored epoch {restored.epoch}")
        shutil.rmtree(folder)
    return Outcome(PROMISE, {"damages": count, **counted}, failures)


def small_sweep() -> Sweep:
    """Two members of a dense net on random images."""
    rng = np.random.default_rng(0)
    splits = [
        Split(rng.integers(0, 256, (n, 28, 28, 1), np.uint8), rng.integers(0, 10, n).astype(np.int32)) for n in (64, 16)
    ]
    data = Dataset("random", *splits, source="made for this")
    config = Config(architecture="dense", latent_dim=4)
    return Sweep(config, data, grid(beta=(1.0, 4.0)), batch_size=32, devices=jax.devices()[:1])


def some_file(folder: Path, draw: random.Random) -> Path:
    """A file of the newest checkpoint that is not empty."""
    return draw.choice([path for path in sorted((folder / "3").rglob("*")) if path.is_file() and path.stat().st_size])


def flip(folder: Path, draw: random.Random) -> None:
    """One bit of a file is another."""
    path = some_file(folder, draw)
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def flip_in_largest(folder: Path, draw: random.Random) -> None:
    """One bit of the arrays is another."""
    path = max((path for path in (folder / "3").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def truncate(folder: Path, draw: random.Random) -> None:
    """A file ends too early."""
    path = some_file(folder, draw)
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def append(folder: Path, draw: random.Random) -> None:
    """A file has something more at its end."""
    path = some_file(folder, draw)
    path.write_bytes(path.read_bytes() + draw.randbytes(draw.randint(1, 100)))


def delete(folder: Path, draw: random.Random) -> None:
    """A file is gone."""
    some_file(folder, draw).unlink()


def overwrite(folder: Path, draw: random.Random) -> None:
    """A file holds something else of the same size."""
    path = some_file(folder, draw)
    path.write_bytes(draw.randbytes(path.stat().st_size))


def mix(folder: Path, draw: random.Random) -> None:
    """A file is the older checkpoint's."""
    newer = [p for p in sorted((folder / "3").rglob("*")) if p.is_file()]
    pairs = [(p, folder / "2" / p.relative_to(folder / "3")) for p in newer]
    pairs = [(p, q) for p, q in pairs if q.is_file() and p.read_bytes() != q.read_bytes()]
    path, other = draw.choice(pairs)
    path.write_bytes(other.read_bytes())


def foreign_file(folder: Path, draw: random.Random) -> None:
    """A file that does not belong there."""
    inside = [folder / "3", *(path for path in sorted((folder / "3").rglob("*")) if path.is_dir())]
    (draw.choice(inside) / f"foreign_{draw.randrange(1000)}").write_bytes(draw.randbytes(20))


def foreign_folder(folder: Path, draw: random.Random) -> None:
    """An empty folder, or one with a file, that looks like a newer checkpoint."""
    newer = folder / str(draw.randint(4, 10**6))
    newer.mkdir()
    if draw.random() < 0.5:
        (newer / "state").write_bytes(b"x")
    shutil.rmtree(folder / "3")  # so that epoch 2 is the one to offer


def renamed(folder: Path, draw: random.Random) -> None:
    """A checkpoint under the name of another epoch."""
    (folder / "3").rename(folder / str(draw.randint(4, 10**6)))


def link(folder: Path, draw: random.Random) -> None:
    """A link in a file's place."""
    path = some_file(folder, draw)
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


def no_folder(folder: Path, draw: random.Random) -> None:
    """A file in the checkpoint's place."""
    shutil.rmtree(folder / "3")
    (folder / "3").write_bytes(draw.randbytes(50))


def newest_gone(folder: Path, draw: random.Random) -> None:
    """The newest checkpoint is gone, and nothing tells of it: the older one is good."""
    shutil.rmtree(folder / "3")


def both(folder: Path, draw: random.Random) -> None:
    """Both checkpoints are damaged."""
    delete(folder, draw)
    shutil.rmtree(folder / "2" / "state")


def nothing(folder: Path, draw: random.Random) -> None:
    """It is intact, and of a run with other settings."""


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "flip": flip,
    "flip in largest": flip_in_largest,
    "truncate": truncate,
    "append": append,
    "delete": delete,
    "overwrite": overwrite,
    "mix": mix,
    "foreign file": foreign_file,
    "foreign folder": foreign_folder,
    "renamed": renamed,
    "link": link,
    "no folder": no_folder,
    "newest gone": newest_gone,
    "both": both,
    "another run's": nothing,
}
