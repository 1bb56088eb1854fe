"""`summary.json`: the final numbers of every member, what is wrong with it, and what the run was."""

from typing import Any

import jax
import numpy as np

from jaxvae import runs
from jaxvae.data.dataset import Dataset
from jaxvae.figures import last_rows
from jaxvae.fit import Progress, Sweep
from jaxvae.manifest import state_sha256
from jaxvae.metrics import DEGENERATE, Evaluation, Quality, findings
from jaxvae.sweep_report import layer_counts, parameter_count


def summary(
    dataset: Dataset, sweep: Sweep, progress: Progress, evaluation: Evaluation, quality: Quality, seconds: float
) -> dict[str, Any]:
    """The final numbers of every member, and what they took; not complete yet."""
    trained = {row["member"]: row for row in last_rows(progress.history, "train")}
    members = [
        {
            **row,
            "train_loss": trained[row["member"]]["loss"],
            "findings": findings(row),
            **{name: float(np.mean(values[k], dtype=np.float64)) for name, values in quality._asdict().items()},
            "kl_per_dimension": np.asarray(evaluation.kl_per_dimension[k], np.float64).mean(axis=0).tolist(),
        }
        for k, row in enumerate(last_rows(progress.history, "test"))
    ]
    alive = [row for row in members if row["alive"]]
    keys = np.asarray(jax.random.key_data(sweep.members.keys))
    return {
        "epochs": progress.epoch,
        "complete": False,
        "parameters": parameter_count(progress.state.params),
        "layers": layer_counts(progress.state.params),
        "diverged": len(members) - len(alive),
        **{flag: sum(bool(row[flag]) for row in alive) for flag in DEGENERATE},
        "mean_image_mse": sweep.mean_image_mse,
        "state_sha256": state_sha256({"state": progress.state, "keys": keys}),
        "train_seconds": seconds,
        "members": members,
        "dataset": runs.dataset_record(dataset),
        "environment": runs.environment(),
    }
