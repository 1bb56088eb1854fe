"""Where a document's training fails: what comes of its settings here, and of ours in their place."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.comparison import column, spread
from experiments.record import Member, is_at
from experiments.study import Failure, Study
from jaxvae.labels import member_label

HEADER = (
    *("study", "where", "document", "diverged", "largest KL of an epoch"),
    *("SSIM, uniform, sampled", "MSE, sampled", "beats its best row"),
)
CAPTION = (
    "Where the document's training fails: its setting, then ours for the same configuration. Seeds that diverged are "
    "left out of the means. The log-variance is clipped to \N{PLUS-MINUS SIGN}30; whether that kept a seed from "
    "diverging, the largest KL tells: a single log-variance of 30 puts its epoch's mean KL above 1e7."
)


def rows(studies: Sequence[Study], records: Mapping[str, Any]) -> list[Sequence[str]]:
    """Two rows for each failure of the studies: at the document's setting, at ours."""
    found: list[Sequence[str]] = []
    for study in studies:
        record = records.get(study.name)
        for failure in study.failures:
            for point, says in ((failure.at, failure.says), (failure.instead, "")):
                members = [m for m in record["members"] if is_at(m, point)] if record else []
                better = "" if says else beats(members, failure)
                found.append((study.title, member_label(point, list(point)), says, *outcome(members), better))
    return found


def outcome(members: Sequence[Member]) -> tuple[str, ...]:
    """How many diverged, the largest epoch's KL of the others, and their final SSIM and MSE."""
    alive = [m for m in members if m["final"]["alive"]]
    largest = max((kl for m in alive for kl in m["train"]["kl"]), default=None)
    final = [m["final"] for m in alive]
    return (
        f"{len(members) - len(alive)} of {len(members)}" if members else "\N{EN DASH}",
        "\N{EN DASH}" if largest is None else f"{largest:.1f}",
        *(spread(column(final, name)) for name in ("sampled_ssim_uniform", "sampled_mse")),
    )


def beats(members: Sequence[Member], failure: Failure) -> str:
    """Whether no member diverged and the means of both metrics are better than the document's best."""
    if not members:
        return "not trained yet"
    final = [m["final"] for m in members]
    ssim, mse = (np.mean(column(final, name)) for name in ("sampled_ssim_uniform", "sampled_mse"))
    alive = all(m["final"]["alive"] for m in members)
    better = alive and ssim > failure.best[0] and mse < failure.best[1]
    return f"{'yes' if better else 'no'} ({failure.best[0]:g}, {failure.best[1]:g})"
