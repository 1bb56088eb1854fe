"""The page of one sweep: its figures as PNG, report.html around them, and the closing table."""

import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxvae import plots, runs
from jaxvae.figures import last_rows, sweep_figures
from jaxvae.fit import Progress, Row, Sweep
from jaxvae.flags import Flags, to_json
from jaxvae.labels import member_label, varying
from jaxvae.metrics import Evaluation, findings
from jaxvae.report import Image, Section, Table, write_report
from jaxvae.sweep import HPARAMS, Members
from jaxvae.tables import print_table, results_table


def write_sweep_report(
    folder: Path,
    name: str,
    flags: Flags,
    source: str,
    sweep: Sweep,
    progress: Progress,
    evaluation: Evaluation,
    printed: Mapping[str, Sequence[Mapping]] | None = None,
) -> None:
    """Write the figures and report.html into `folder`, and the closing table to stdout.

    Args:
        folder: of the run.
        name: of the experiment.
        flags: all settings.
        source: where the data came from.
        sweep: what was trained.
        progress: where it stands.
        evaluation: of `progress` on the test split.
        printed: label -> rows of a document's loss curves, shown beside ours.
    """
    header, rows = results_table(progress.history)
    sections = [
        Section("Results", [Table(header, rows, f"After {progress.epoch} epochs; mean ± deviation over seeds.")])
    ]
    if found := findings_table(progress.history):
        sections.append(Section("Not as one would wish", [found]))
    for figure_name, title, caption, figure in sweep_figures(sweep, progress, evaluation, printed):
        path = folder / f"{figure_name}.png"
        plots.save(figure, path)
        sections.append(Section(title, [Image(path, caption, title)]))
    sections.append(Section("Parameters", [parameter_table(progress.state.params)]))
    write_report(
        folder / "report.html",
        title=name.replace("_", " ").capitalize(),
        intro=introduction(flags, source, sweep, progress),
        sections=sections,
        settings=settings(flags, source),
    )
    print_table(header, rows, sys.stdout)


def findings_table(history: Sequence[Row]) -> Table | None:
    """The members that diverged or have learned nothing; None where there are none."""
    names = varying(history, HPARAMS)
    rows = [
        [member_label(row, names), row["seed"], text] for row in last_rows(history, "test") for text in findings(row)
    ]
    caption = "A member that diverged is frozen at its last finite state, and left out of means and pictures."
    return Table(("member", "seed", "finding"), rows, caption) if rows else None


def settings(flags: Flags, source: str) -> dict[str, Any]:
    """What the run was made with, for the table at the end."""
    environment = runs.environment()
    return {
        **{key: value for group in to_json(flags).values() for key, value in group.items()},
        "data": source,
        "command": shlex.join(map(str, environment["command"])),
        "device": f"{environment['device']} ({environment['backend']})",
        "versions": ", ".join(f"{package} {number}" for package, number in environment["versions"].items()),
    }


def introduction(flags: Flags, source: str, sweep: Sweep, progress: Progress) -> str:
    """What was done, in words."""
    model = flags.model
    kind = "autoencoder" if model.noise == "none" else "VAE"
    return (
        f"{count(sweep.members)} of the {'conditional ' * model.conditional}{model.architecture} {kind} "
        f"({parameter_count(progress.state.params):,} parameters, "
        f"{model.latent_dim} latent dimensions, {model.reconstruction.replace('_', ' ')} loss), trained for "
        f"{progress.epoch} epochs as one compiled program. Losses are in nats per image: summed "
        f"over pixels and latent dimensions, averaged over images.\n\nData: {source}."
    )


def parameter_table(params: dict) -> Table:
    """Name, shape and size of every parameter of one member; `params` has a leading axis [K]."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    rows: list[list[Any]] = [
        [jax.tree_util.keystr(path, simple=True, separator="/"), " x ".join(map(str, x.shape[1:])), x[0].size]
        for path, x in leaves
    ]
    total = parameter_count(params)
    rows.append(["total", "", total])
    return Table(("parameter", "shape", "count"), rows, f"{total * 4 / 2**20:.2f} MiB as float32.")


def parameter_count(params: dict) -> int:
    """How many parameters one member has; `params` has a leading axis [K]."""
    return sum(x[0].size for x in jax.tree.leaves(params))


def layer_counts(params: dict) -> dict[str, int]:
    """Layer -> how many parameters it has in one member, kernel and bias; `params` has a leading axis [K].

    The two heads of a posterior are one product, and two layers in a document's table.
    """
    counts = Counter()
    for path, x in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path[:-1], simple=True, separator="/")
        parts = ("mean", "logvar") if name == "heads" else (name,)
        for part in parts:
            counts[part] += x[0].size // len(parts)
    return dict(counts)


def count(members: Members) -> str:
    """How many members, in words."""
    return f"{len(members)} member" + "s" * (len(members) > 1)
