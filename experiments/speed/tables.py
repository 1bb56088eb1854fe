"""The benchmark's files: every epoch as CSV, a Markdown table, a picture."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.page import markdown as table
from experiments.speed.contestants import GEMM, NAMES, Name
from experiments.speed.ours import BEGINNING, Epoch
from experiments.speed.picture import draw
from experiments.speed.rounds import UNDISTURBED
from experiments.speed.training import Result
from jaxvae.plots.style import save
from jaxvae.runs import write_json, write_text

AGREEMENT = 1e-5
"""Losses of a step agree that differ by at most this share, in the first steps from the same weights, order and noise.

Later, what a network makes of rounding hides everything else: PyTorch's own two loops come to differ by a hundredth.
"""
HEADER = (
    *("model", "batch", "jaxvae, s/epoch", "PyTorch tuned, s/epoch", "as written, s/epoch"),
    *(
        "speed-up over tuned",
        "over as written",
        "share of GEMM peak",
        "tuned PyTorch's share",
        "losses, first steps",
        "first epoch",
        "last",
        "stolen",
        "rounds that count",
    ),
)
START_HEADER = (
    *("model", "compile, cold", "compile, warm", "first epoch after, cold", "warm"),
    *("PyTorch tuned, variant known", "as written"),
    *("memory", "PyTorch tuned, memory", "as written, memory", "MFLOP per image", "kB per image"),
    *("XLA's peak, GFLOP/s", "PyTorch's peak", "tuned PyTorch's variant", "all of them, s/step"),
)
NOTES = f"""Seconds are medians, with the fastest and the slowest epoch; speed-ups are medians over the rounds, in each
of which all three trained one epoch. The peak is the faster library's rate of multiplying two {GEMM} x {GEMM} matrices;
both shares count the matrix products that jaxvae computes. Losses: the largest relative difference of PyTorch's to
jaxvae's, of the first {BEGINNING} steps and of the means of the first and the last epoch; all begin with the same
weights and draw the same order and noise. They agree if those of the first steps differ by at most {AGREEMENT:.0e}; in
brackets, what PyTorch's two differ by. Stolen: the share of the processors' time that a virtual machine's host gave to
others, the median of each contestant's epochs. A round counts in which it was at most {UNDISTURBED:.0%} for each; where
these are fewer than was asked for, the rounds with the least count. speed.csv has all of them. First epoch after:
seconds from a process's start; these and the compiler's are of one look each, whatever the host took. Memory: the most
that each process held. Bytes are of a step on a whole batch, as XLA counts.
"""


def write(results: Sequence[Result], folder: Path) -> None:
    """`speed.csv`, `speed.md`, `speed.png` and `environment.json`, anew after each model."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "contestant", "epoch", "seconds", "loss", "stolen", "counted"))
    for result in results:
        for name, epochs in result.epochs.items():
            writer.writerows(
                (
                    result.model,
                    name,
                    number,
                    f"{epoch.seconds:.4f}",
                    f"{epoch.loss:.4f}",
                    taken(epoch),
                    int(number in result.counted),
                )
                for number, epoch in enumerate(epochs)
            )
    write_text(folder / "speed.csv", text.getvalue())
    write_text(folder / "speed.md", markdown(results))
    save(draw(results), folder / "speed.png")
    write_json(folder / "environment.json", {result.model: result.environment for result in results})


def taken(epoch: Epoch) -> str:
    """The stolen share as a cell of the CSV; empty if not known."""
    return "" if epoch.stolen is None else f"{epoch.stolen:.4f}"


def markdown(results: Sequence[Result]) -> str:
    """Both tables, and what their columns are."""
    training = [training_row(result) for result in results]
    starts = [start_row(result) for result in results]
    return f"{table(HEADER, training)}\n\n{NOTES}\n{table(START_HEADER, starts)}\n"


def training_row(result: Result) -> tuple[str, ...]:
    """Seconds, ratios, shares, and whether the losses agree."""
    return (
        result.model,
        str(result.batch_size),
        *(spread(result, name) for name in result.epochs),
        *(f"{result.times(name):.2f}" for name in NAMES[1:]),
        *(f"{result.share_of_peak(name):.0%}" for name in ("jaxvae", "PyTorch, tuned")),
        *agreement(result),
        ", ".join(stolen(result.timed(name)) for name in NAMES),
        f"{len(result.counted)} of {len(result.epochs['jaxvae']) - 1}",
    )


def stolen(epochs: Sequence[Epoch]) -> str:
    """The median share of the processors' time that the host of a virtual machine gave to others."""
    known = [epoch.stolen for epoch in epochs if epoch.stolen is not None]
    return f"{median(known):.0%}" if known else "not known"


def spread(result: Result, name: Name) -> str:
    """The median epoch, and the fastest and slowest."""
    seconds = sorted(epoch.seconds for epoch in result.timed(name))
    return f"{result.seconds(name):.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})"


def agreement(result: Result) -> tuple[str, str, str]:
    """Whether all learn the same in the first steps, and what the first and the last epochs' losses differ by."""
    steps = differences([result.epochs[name][0].beginning for name in NAMES])
    epochs = differences([[epoch.loss for epoch in result.epochs[name]] for name in NAMES])
    agree = steps.theirs.max() <= AGREEMENT and np.all(np.isfinite(epochs.theirs))  # False where one is NaN
    first, last = (f"{epochs.theirs[at]:.2%} ({epochs.own[at]:.2%})" for at in (0, -1))
    return f"{'agree' if agree else 'DIFFER'}: {steps.theirs.max():.0e} ({steps.own.max():.0e})", first, last


class Differences(NamedTuple):
    """Relative differences of losses, step by step or epoch by epoch."""

    theirs: NDArray[np.float64]  # of the PyTorch loop that is farther from jaxvae
    own: NDArray[np.float64]  # between PyTorch's two


def differences(losses: Sequence[Sequence[float]]) -> Differences:
    """Of jaxvae's losses, tuned PyTorch's and those of the documents' loop."""
    ours, tuned, written = np.array(losses, np.float64)
    farther = np.maximum(np.abs(tuned / ours - 1), np.abs(written / ours - 1))
    return Differences(farther, np.abs(written / tuned - 1))


def start_row(result: Result) -> tuple[str, ...]:
    """What a start costs, memory, and the work of an image."""
    return (
        result.model,
        *(f"{result.compilation[way]:.1f} s" for way in ("cold", "warm")),
        *(f"{seconds:.1f} s" for seconds in result.started.values()),
        *(f"{size / 2**20:.0f} MiB" for size in result.memory.values()),
        f"{result.flops / 1e6:.2f}",
        f"{result.bytes / 1e3:.0f}",
        *(f"{peak / 1e9:.0f}" for peak in result.peaks.values()),
        result.variant,
        ", ".join(f"{name} {x if isinstance(x, str) else f'{x:.4f}'}" for name, x in result.tried.items()),
    )
