"""Progress of a sweep on stderr: one live bar on a terminal, a plain line per epoch elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TextIO

from tqdm import tqdm

from jaxvae.fit import Progress, Row
from jaxvae.labels import member_label, varying
from jaxvae.processes import is_writer
from jaxvae.sweep import HPARAMS

MOST_SHOWN = 6


@contextmanager
def show_progress(epochs: int, *, done: int = 0, stream: TextIO | None = None) -> Iterator:
    """Yields `on_epoch` for `fit`: shows the epoch, each member's train loss and the time left."""
    out = stream or sys.stderr
    if not is_writer():
        shown = nullcontext(lambda progress: None)
    else:
        shown = _bar(epochs, done, out) if out.isatty() else _lines(epochs, out)
    with shown as on_epoch:
        yield on_epoch


@contextmanager
def _bar(epochs: int, done: int, stream: TextIO) -> Iterator:
    bar = tqdm(total=epochs, initial=done, unit="epoch", desc="compiling", file=stream, dynamic_ncols=True)
    stop = threading.Event()

    def tick() -> None:  # keeps the clock running through an epoch, which is one call into the compiled program
        while not stop.wait(1.0):
            bar.refresh()

    def on_epoch(progress: Progress) -> None:
        bar.set_description("train loss", refresh=False)
        bar.set_postfix_str(losses(progress.history), refresh=False)
        bar.update()

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield on_epoch
    finally:
        stop.set()
        ticker.join()
        bar.close()


@contextmanager
def _lines(epochs: int, stream: TextIO) -> Iterator:
    times = [time.monotonic()]

    def on_epoch(progress: Progress) -> None:
        times.append(time.monotonic())
        warm = times[1:] if len(times) > 2 else times  # the first epoch compiles
        each = (warm[-1] - warm[0]) / (len(warm) - 1)
        left = each * (epochs - progress.epoch)
        text = losses(progress.history)
        print(f"epoch {progress.epoch}/{epochs}  train loss {text}  {each:.1f} s/epoch, {left:.0f} s left", file=stream)
        stream.flush()

    yield on_epoch


def losses(history: Sequence[Row]) -> str:
    """The newest train loss of each member, or their range where they are many."""
    newest = [row for row in history if row["epoch"] == history[-1]["epoch"] and row["split"] == "train"]
    if len(newest) > MOST_SHOWN:
        alive = [row["loss"] for row in newest if row["alive"]]
        if not alive:
            return f"{len(newest)} members, all diverged"
        diverged = f" ({len(newest) - len(alive)} diverged)" if len(alive) < len(newest) else ""
        return f"{min(alive):.2f} to {max(alive):.2f} over {len(alive)} members{diverged}"
    many_seeds, names = len({row["seed"] for row in newest}) > 1, varying(newest, HPARAMS)
    return "  ".join(
        member_label(row, names).replace(" = ", "=")
        + (f"/seed {row['seed']}" if many_seeds else "")
        + (f" {row['loss']:.2f}" if row["alive"] else " diverged")
        for row in newest
    )
