"""The benchmark's files: every epoch as CSV, a Markdown table, a picture."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.page import markdown as table
from experiments.speed.contestants import PYTORCH, Name
from experiments.speed.picture import draw
from experiments.speed.training import Result
from jaxvae.plots.style import save
from jaxvae.runs import write_json, write_text

AGREEMENT = 0.01
"""Mean losses of an epoch agree that differ by at most this share: rounding grows while a network learns."""
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
both shares count the matrix products that jaxvae computes. Losses: the largest difference of PyTorch's to jaxvae's in
any epoch's mean, and in the last, from the same weights, order and noise. Bytes are of a step on a whole batch, as XLA
counts.
"""


def write(results: Sequence[Result], folder: Path) -> None:
    """`speed.csv`, `speed.md`, `speed.png` and `environment.json`, anew after each model."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "contestant", "epoch", "seconds", "loss"))
    for result in results:
        for name, epochs in result.epochs.items():
            writer.writerows(
                (result.model, name, number, f"{epoch.seconds:.4f}", f"{epoch.loss:.4f}")
                for number, epoch in enumerate(epochs)
            )
    write_text(folder / "speed.csv", text.getvalue())
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
    """Whether all learn the same: in every epoch PyTorch's mean losses are jaxvae's, to `AGREEMENT`."""
    ours, *theirs = (np.array([epoch.loss for epoch in epochs]) for epochs in result.epochs.values())
    found = np.max([np.abs(other / ours - 1) for other in theirs], axis=0)  # of each epoch
    agree = bool(np.all(found <= AGREEMENT))  # False where one is NaN
    return f"{'agree' if agree else 'DIFFER'}: {found.max():.2%}, last {found[-1]:.2%}"


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
