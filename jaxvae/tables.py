"""The closing table of a sweep: one line per value of the swept scalar, mean and deviation over the seeds."""

from collections.abc import Sequence
from typing import TextIO

import numpy as np

from jaxvae.fit import Row
from jaxvae.labels import varying
from jaxvae.metrics import DEGENERATE
from jaxvae.sweep import HPARAMS

HEADER = ("members", "train loss", "test loss", "reconstruction", "KL", "MSE", "SSIM", "active units", "remarks")


def results_table(history: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and rows at the last epoch, a row for each combination of the scalars that differ between members.

    Diverged members are counted, and left out of the means.
    """
    newest = [row for row in history if row["epoch"] == history[-1]["epoch"]]
    names = varying(newest, HPARAMS)
    rows = []
    for values in dict.fromkeys(tuple(row[name] for name in names) for row in newest):
        group = [row for row in newest if tuple(row[name] for name in names) == values]
        alive = [row for row in group if row["alive"]]
        test = [row for row in alive if row["split"] == "test"]
        count = len(group) // 2
        train = [row for row in alive if row["split"] == "train"]
        cells = [*(f"{value:g}" for value in values), str(count), spread(train, "loss", 2)]
        for name, digits in (("loss", 2), ("reconstruction", 2), ("kl", 2), ("mse", 4), ("ssim", 3)):
            cells.append(spread(test, name, digits))
        rows.append([*cells, spread(test, "active_units", 0), remarks(test, count)])
    return [*(name.replace("_", " ") for name in names), *HEADER], rows


def spread(rows: Sequence[Row], name: str, digits: int) -> str:
    """Mean, and the sample's standard deviation where there are several values; powers of ten from a million on."""
    values = [float(row[name]) for row in rows]
    if not values:
        return "\N{EN DASH}"
    style = f".{digits}f" if max(map(abs, values)) < 1e6 else ".2e"
    deviation = f" ± {np.std(values, ddof=1):{style}}" if len(values) > 1 else ""
    return f"{np.mean(values):{style}}{deviation}"


def remarks(test: Sequence[Row], count: int) -> str:
    """What the means hide: members that diverged, which are not in them, and those that have learned nothing."""
    counts = {"diverged": count - len(test)}
    counts |= {text: sum(bool(row[flag]) for row in test) for flag, text in DEGENERATE.items()}
    counts["with log-variances at the bound"] = sum(bool(row["clamped"]) for row in test)
    return ", ".join(f"{n} of {count} {what}" for what, n in counts.items() if n)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    """Columns aligned for a terminal, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for line in (header, ["-" * width for width in widths], *rows):
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        cells[-1] = line[-1] if line[-1].strip("-") or not line[-1] else cells[-1]
        print("  ".join(cells).rstrip(), file=stream)
