"""Result files: what is kept of a finished run in `experiments/results/`, and how the comparison reads it.

A file holds one study: its runs (settings, seeds, versions, device, time), and its members with every epoch's losses
and their final metrics, six digits each. Runs of further seeds or of members that were missing are added to it.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.study import Number, Study, same_settings
from jaxvae.flags import SCALARS, SweepFlags
from jaxvae.runs import read_json, write_text

CURVES = ("loss", "reconstruction", "kl")
FINAL = (
    *("mse", "ssim", "sampled_mse", "sampled_ssim", "sampled_ssim_uniform"),
    *("active_units", "collapsed", "alive"),
)
OF_THE_MODEL = ("parameters", "layers")
"""The same for all members: how many parameters, and how many in each layer."""
VALUES = 28 * 28 * 3
"""Of an image in three channels: a mean loss is the sum over them."""

Member = dict[str, Any]


def read(root: Path, study: Study) -> dict[str, Any] | None:
    """The study's record in the folder `root`, if there is one."""
    path = root / f"{study.name}.json"
    return read_json(path) if path.exists() else None


def missing(
    record: Mapping[str, Any] | None, study: Study, epochs: int, seeds: Sequence[int]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The members to train, as sweeps: points of the study (by number) that lack the same of `seeds`, and these seeds.

    A member is there that has so many epochs at the study's settings, or has diverged, which is all that it can have.
    """
    members = record["members"] if record and all(same_settings(study, r["flags"]) for r in record["runs"]) else []
    done = [m for m in members if reached(m) >= epochs or not m["final"]["alive"]]
    points_by_seeds: dict[tuple[int, ...], list[int]] = {}
    for number, point in enumerate(study.sweep.points):
        found = {m["seed"] for m in done if is_at(m, point)}
        points_by_seeds.setdefault(tuple(seed for seed in seeds if seed not in found), []).append(number)
    return [(tuple(points), lacking) for lacking, points in points_by_seeds.items() if lacking]


def reached(member: Member) -> int:
    """How many epochs a member has."""
    return len(member["train"]["loss"])


def shortest(record: Mapping[str, Any] | None, point: Mapping[str, float] | None = None) -> int:
    """How far the shortest living member at this point has got; 0 without one."""
    members = [m for m in record["members"] if is_at(m, point or {})] if record else []
    return min((reached(m) for m in members if m["final"]["alive"]), default=0)


def add(root: Path, study: Study, folder: Path) -> None:
    """Add the finished run in `folder` to the study's record in `root`.

    A member that is there already is replaced unless it has more epochs; members of other settings go.
    """
    run, members = condense(folder)
    record = read(root, study)
    if record is None or not all(same_settings(study, r["flags"]) for r in record["runs"]):
        record = {"study": study.name, "runs": [], "members": []}
    number, old = len(record["runs"]), record["members"]

    def among(member: Member, others: Sequence[Member]) -> bool:
        return any(member["seed"] == other["seed"] and is_at(member, other["hparams"]) for other in others)

    new = [{**m, "run": number} for m in members if not among(m, [o for o in old if reached(o) > reached(m)])]
    kept = [m for m in old if not among(m, new)]
    record["runs"].append(run)
    members = sorted(kept + new, key=lambda m: ([at(m, name) for name in SCALARS], m["seed"]))
    used = sorted({m["run"] for m in members})  # a run whose members were all replaced goes
    record["runs"] = [record["runs"][k] for k in used]
    record["members"] = [{**m, "run": used.index(m["run"])} for m in members]
    record |= {name: run.pop(name) for name in OF_THE_MODEL}
    write_text(root / f"{study.name}.json", as_text(record))


def record_of(study: Study, folder: Path) -> dict[str, Any]:
    """A record of the one run in `folder`."""
    run, members = condense(folder)
    members = [{**member, "run": 0} for member in members]
    return {"study": study.name, **{name: run.pop(name) for name in OF_THE_MODEL}, "runs": [run], "members": members}


def condense(folder: Path) -> tuple[dict[str, Any], list[Member]]:
    """What is kept of a run folder: the run, and its members."""
    config, summary = read_json(folder / "config.json"), read_json(folder / "summary.json")
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    members = []
    for final in summary["members"]:
        mine = [row for row in rows if int(row["member"]) == final["member"]]
        curves = {
            split: {name: [compact(row[name]) for row in mine if row["split"] == split] for name in CURVES}
            for split in ("train", "test")
        }
        hparams = {name: final[name] for name in SCALARS}
        values = {name: final[name] if isinstance(final[name], bool) else compact(final[name]) for name in FINAL}
        members.append({"seed": final["seed"], "hparams": hparams, **curves, "final": values})
    data = {name: config["flags"]["data"][name] for name in ("dataset", "limit", "rgb")}
    sessions = config["environments"]
    commits = ", ".join(dict.fromkeys(str(session["commit"]) for session in sessions))
    run = {
        "seconds": round(summary["train_seconds"], 1) if len(sessions) == 1 else None,  # of the last session only
        "epochs": summary["epochs"],
        **{name: summary[name] for name in OF_THE_MODEL},
        "flags": {name: config["flags"][name] for name in ("sweep", "model")} | {"data": data},
        "dataset": {name: config["dataset"][name] for name in ("name", "train", "test", "sha256")},
        "environment": {name: value for name, value in sessions[-1].items() if name != "command"} | {"commit": commits},
    }
    return run, members


def at(member: Member, name: str) -> float:
    """A member's value of a scalar; one that was added since it was trained was at its default."""
    return member["hparams"].get(name, getattr(SweepFlags(), SCALARS[name])[0])


def is_at(member: Member, point: Mapping[str, float]) -> bool:
    """Whether a member has these values of its scalars."""
    return all(np.isclose(at(member, name), value, rtol=1e-5) for name, value in point.items())


def values(record: Mapping[str, Any], number: Number) -> np.ndarray:
    """Our values of a printed number, one per seed; NaN where it diverged, none where it has not got to its epoch.

    A number without an epoch is of the last one that there is. A member that diverged is frozen at its last finite
    state, so all its numbers are NaN, whatever stands in its curves.
    """
    if number.metric == "parameters":
        return np.array([record["parameters"]], float)
    if number.metric == "mebibytes":
        return np.array([record["parameters"] * 4 / 2**20])
    if number.metric == "mean_loss":
        return values(record, replace(number, metric="loss")) / VALUES
    members = [m for m in record["members"] if is_at(m, number.at)]
    found = []
    for member in members:
        curve = member[number.split].get(number.metric)
        if not member["final"]["alive"]:
            found.append(None)
        elif curve is None:
            found.append(member["final"][number.metric])
        elif number.epoch is None or number.epoch <= len(curve):
            found.append(curve[-1 if number.epoch is None else number.epoch - 1])
    return np.array(found, float)


def compact(value: str | float | None) -> float | None:
    """Six significant digits are enough for a table; None for what is not a finite number."""
    number = float(value) if value not in ("", None) else float("nan")
    return float(f"{number:.6g}") if np.isfinite(number) else None


def as_text(record: Mapping[str, Any]) -> str:
    """JSON with one line per run and per curve, so that a file is small and a change of it readable."""

    def lines(items: Sequence[Any]) -> str:
        return ",\n".join("  " + json.dumps(item) for item in items)

    head = {name: value for name, value in record.items() if name not in ("runs", "members")}
    return (
        json.dumps(head, indent=1)[:-2]
        + f',\n "runs": [\n{lines(record["runs"])}\n ],\n "members": [\n{lines(record["members"])}\n ]\n}}\n'
    )
