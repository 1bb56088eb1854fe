"""The benchmark's files: every epoch as CSV, a Markdown table, a picture."""

import csv
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.page import markdown as table
from experiments.speed.contestants import PYTORCH, Name
from experiments.speed.ours import Epoch
from experiments.speed.picture import draw
from experiments.speed.training import Result
from jaxvae.plots.style import save
from jaxvae.runs import write_json, write_text

AGREEMENT, FLOOR = 3.0, 0.01
"""Losses of an epoch agree that differ by at most so many times what jaxvae's own runs do, or by a hundredth."""
HEADER = (
    *("model", "batch", "jaxvae, s/epoch", "PyTorch tuned, s/epoch", "as written, s/epoch"),
    *("speed-up over tuned", "over as written", "share of GEMM peak", "tuned PyTorch's share", "losses"),
)
START_HEADER = (
    *("model", "compile, cold", "compile, warm", "first epoch after, cold", "warm", "PyTorch tuned", "as written"),
    *("memory", "PyTorch tuned, memory", "as written, memory", "MFLOP per image", "kB per image"),
    *("XLA's peak, GFLOP/s", "PyTorch's peak", "PyTorch's variants, s/step"),
)
NOTES = """Seconds are medians, with the fastest and the slowest epoch; speed-ups are medians over the rounds, in each
of which all three trained one epoch. The peak is the faster library's rate of multiplying two 2048 x 2048 matrices;
both shares count the matrix products that jaxvae computes. Losses: the largest difference to jaxvae's in any epoch and
in the last; in brackets that of jaxvae's own runs from the same weights. Bytes are of a step on a whole batch, as XLA
counts.
"""


def write(results: Sequence[Result], folder: Path) -> None:
    """`speed.csv`, `speed.md`, `speed.png` and `environment.json`, anew after each model."""
    with (folder / "speed.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("model", "contestant", "epoch", "seconds", "loss"))
        for result in results:
            repeats = {f"jaxvae, run {number}": epochs for number, epochs in enumerate(result.again, 2)}
            for name, epochs in {**result.epochs, **repeats}.items():
                writer.writerows(
                    (result.model, name, number, f"{epoch.seconds:.4f}", f"{epoch.loss:.4f}")
                    for number, epoch in enumerate(epochs)
                )
    write_text(folder / "speed.md", markdown(results))
    save(draw(results), folder / "speed.png")
    write_json(folder / "environment.json", {result.model: result.environment for result in results})


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
        *(f"{result.times(name):.2f}" for name in PYTORCH),
        *(f"{result.share_of_peak(name):.0%}" for name in ("jaxvae", "PyTorch, tuned")),
        agreement(result),
    )


def spread(result: Result, name: Name) -> str:
    """The median epoch, and the fastest and slowest."""
    seconds = sorted(epoch.seconds for epoch in result.epochs[name][1:])
    return f"{result.seconds(name):.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})"


def agreement(result: Result) -> str:
    """Whether all learn the same: in each epoch PyTorch's losses are as near jaxvae's as those of its own runs."""
    ours, *theirs = (losses(epochs) for epochs in result.epochs.values())
    own = largest_differences(combinations([ours, *map(losses, result.again)], 2))
    found = largest_differences((ours, other) for other in theirs)
    agree = bool(np.all(found <= np.maximum(AGREEMENT * own, FLOOR)))  # False where one is NaN
    largest, last = (f"{index(found):.1%} ({index(own):.1%})" for index in (np.max, lambda x: x[-1]))
    return f"{'agree' if agree else 'DIFFER'}: {largest}, last {last}"


def losses(epochs: Sequence[Epoch]) -> NDArray[np.float64]:
    """Of all epochs [E]."""
    return np.array([epoch.loss for epoch in epochs])


def largest_differences(pairs: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> NDArray[np.float64]:
    """The largest relative difference of any pair, epoch by epoch [E]."""
    return np.max([np.abs(other / one - 1) for one, other in pairs], axis=0)


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
        ", ".join(f"{name} {x if isinstance(x, str) else f'{x:.4f}'}" for name, x in result.tried.items()),
    )
