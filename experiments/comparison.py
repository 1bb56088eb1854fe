"""The comparison table of `experiments.reproduce`: each printed number, ours over the seeds, and a verdict."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.runs import write_text

HEAD = """# The documents' numbers, and ours

Written by `python -m experiments.reproduce`, which trains the studies that have no result in
`experiments/results/` and makes this table from them; do not edit it.

All numbers are train losses in nats per image: summed over pixels and latent dimensions, averaged over the epoch's
images while the model changes, as the documents print them. Ours are the mean ± standard deviation over the seeds.
Verdicts compare our mean with the document's single run: **met** within the tolerance, else **not met**; a first epoch
has no tolerance, as it depends most on the seed.
"""


def write_comparison(path: Path, found: Sequence[tuple[Any, dict[str, Any]]]) -> None:
    """Write `path` from pairs of a study and its result."""
    write_text(path, "\n".join([HEAD, *(section(study, result) for study, result in found)]))


def section(study: Any, result: dict[str, Any]) -> str:
    """Heading, settings and table of one study."""
    rows = [dict(zip(result["columns"], row, strict=True)) for row in result["rows"]]
    environment = result["environment"]
    lines = [
        f"## {study.name}: {study.source}",
        "",
        f"Seeds {', '.join(map(str, study.seeds))}; {study.epochs} epochs; on "
        f"{environment['device']} with {environment['cpu_count']} cores, jax {environment['versions']['jax']}, commit "
        f"{environment['commit']}.",
        "",
        "| beta | epoch | metric | document | ours | difference | tolerance | verdict |",
        "|---:|---:|---|---:|---:|---:|---:|---|",
        *(line(number, rows) for number in study.numbers),
        "",
        final(study, rows),
    ]
    return "\n".join(lines)


def line(number: Any, rows: Sequence[dict[str, Any]]) -> str:
    """One number beside ours."""
    ours = np.array(
        [
            row[number.metric]
            for row in rows
            if (row["beta"], row["epoch"], row["split"]) == (number.beta, number.epoch, "train")
        ],
        float,  # a diverged member's null becomes NaN
    )
    difference = ours.mean() / number.value - 1
    if number.tolerance is None:
        tolerance, verdict = "", ""
    else:
        tolerance, verdict = f"{number.tolerance:.0%}", "met" if abs(difference) <= number.tolerance else "not met"
    return (
        f"| {number.beta:g} | {number.epoch} | {number.metric} | {number.value:.2f} | {ours.mean():.2f} ± "
        f"{ours.std(ddof=1):.2f} | {difference:+.1%} | {tolerance} | {verdict} |"
    )


def final(study: Any, rows: Sequence[dict[str, Any]]) -> str:
    """What the documents do not print: the test split after the last epoch."""
    lines = [
        "After the last epoch, on the test split:",
        "",
        "| beta | loss | KL | MSE | SSIM | active units | collapsed |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for beta in study.betas:
        last = [row for row in rows if (row["beta"], row["epoch"], row["split"]) == (beta, study.epochs, "test")]
        cells = [
            f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"
            for name, digits in (("loss", 2), ("kl", 2), ("mse", 4), ("ssim", 3), ("active_units", 1))
            for values in [[row[name] for row in last]]
        ]
        collapsed = sum(row["active_units"] == 0 for row in last)
        lines.append(f"| {beta:g} | {' | '.join(cells)} | {collapsed} of {len(last)} |")
    return "\n".join([*lines, ""])
