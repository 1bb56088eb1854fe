"""Printed numbers beside ours: a verdict each, and the page `experiments/README.md` over all experiments."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.record import VALUES, is_at, values
from experiments.study import Experiment, Number, Study, printed_rows
from jaxvae.labels import member_label, varying

HEADER = ("study", "where", "epoch", "metric", "document", "ours", "difference", "tolerance", "verdict")
FINAL_HEADER = ("study", "members", "loss", "KL", "MSE", "SSIM", "MSE, sampled", "SSIM, sampled", "active", "remarks")
VERDICTS = (
    "Met: our mean is within the tolerance of the document's single run; better: outside, on the good side; a first "
    "epoch has no tolerance, as it depends most on the seed."
)
HIGHER_IS_BETTER = ("ssim", "sampled_ssim")
NAMES = {"sampled_mse": "MSE", "sampled_ssim": "SSIM", "kl": "KL", "mebibytes": "size, MiB"}
MEAN_IMAGE_MSE = {"mnist": 0.0675, "fashion_mnist": 0.0866}
"""Of always answering with the mean training image, on the test split: what is worse has learned nothing."""
TRAIN_IMAGES = 60_000
"""Of MNIST and of Fashion-MNIST."""


class Line(NamedTuple):
    """A printed number beside ours."""

    cells: tuple[str, ...]
    verdict: str


def lines(study: Study, record: Mapping[str, Any] | None) -> list[Line]:
    """A line for every number of the study, and one for the whole of its trace."""
    found = [line(study, number, record) for number in study.numbers]
    return found + ([trace_line(study, record)] if study.trace and record else [])


def line(study: Study, number: Number, record: Mapping[str, Any] | None) -> Line:
    """One printed number, our mean and deviation, and the verdict."""
    ours = values(record, number) if record else np.array([])
    word, difference = verdict(number, ours)
    reached = epochs_reached(record)
    if record and not is_documents_data(study, record):
        word = "other data: no verdict"
    elif number.epoch is None and 0 < reached < study.epochs and number.metric not in ("parameters", "mebibytes"):
        word = f"short run: {reached} of {study.epochs} epochs, {word}"
    where = ", ".join(member_label({name: value}, [name]) for name, value in number.at.items())
    split = "" if number.metric in ("parameters", "mebibytes") or "sampled" in number.metric else f"{number.split} "
    exact = number.metric == "parameters"
    cells = (
        study.title,
        where,
        str(number.epoch or study.epochs),
        split + NAMES.get(number.metric, number.metric),
        f"{number.value:,.0f}" if exact else f"{number.value:.4g}",
        f"{ours[0]:,.0f}" if exact and ours.size else spread(ours) + other_convention(number, study, ours),
        difference,
        "" if number.tolerance is None else f"{number.tolerance:.0%}",
        word,
    )
    return Line(cells, word.split(":")[0])


def verdict(number: Number, ours: np.ndarray) -> tuple[str, str]:
    """The verdict in words, and the relative difference of our mean."""
    if not ours.size:
        return "not trained yet", ""
    lost = int(np.isnan(ours).sum())
    if lost == ours.size:
        return "not met: every seed diverged", ""
    difference = float(np.nanmean(ours)) / number.value - 1
    text = f"{difference:+.1%}"
    remark = f" ({lost} of {ours.size} seeds diverged)" if lost else ""
    if number.impossible:
        return f"impossible as printed: {number.impossible}", text
    if number.tolerance is None:
        return "", text
    if abs(difference) <= number.tolerance:
        return "met" + remark, text
    good = (difference > 0) == (number.metric in HIGHER_IS_BETTER)
    return ("better" if good else "not met") + remark, text


def other_convention(number: Number, study: Study, ours: np.ndarray) -> str:
    """Document 000 prints sums and means: the one that it does not print here, in brackets."""
    if not study.data.rgb or not ours.size:
        return ""
    if number.metric == "mean_loss":
        return f" (sum {spread(ours * VALUES)})"
    return f" (mean {spread(ours / VALUES)})"


def epochs_reached(record: Mapping[str, Any] | None) -> int:
    """How far the shortest living member has got."""
    members = record["members"] if record else []
    return min((len(m["train"]["loss"]) for m in members if m["final"]["alive"]), default=0)


def is_documents_data(study: Study, record: Mapping[str, Any]) -> bool:
    """Whether all runs saw the study's data set, all of it that the document used."""
    images = study.data.limit or TRAIN_IMAGES
    found = [run["dataset"] for run in record["runs"]]
    return all(data["name"] == study.data.dataset and data["train"] == images for data in found)


def trace_line(study: Study, record: Mapping[str, Any]) -> Line:
    """All epochs of the printed curves after the first: the largest relative difference of our mean."""
    differences = []
    for row in printed_rows(study):
        for metric in ("loss", "reconstruction", "kl"):
            if metric in row and row["epoch"] > 1:
                number = Number(row[metric], metric, epoch=int(row["epoch"]), at={"beta": row["beta"]})
                ours = values(record, number)
                differences += [abs(np.nanmean(ours) / row[metric] - 1)] if ours.size else []
    if not differences:
        return Line((study.title, "every epoch", "", "", "", "", "", "", "not trained yet"), "not trained yet")
    if not is_documents_data(study, record):
        return Line((study.title, "every epoch", "", "", "", "", "", "", "other data: no verdict"), "other data")
    within = max(differences) <= 0.05
    text = f"{np.mean(differences):.1%} on average, {max(differences):.1%} at most"
    word = "met" if within else "not met"
    cells = (study.title, "every epoch", f"2 to {study.epochs}", "train trace", f"{len(differences)} values", "", text)
    return Line((*cells, "5%", word), word)


def final_rows(study: Study, record: Mapping[str, Any] | None) -> list[tuple[str, ...]]:
    """The study's members after their last epoch, a row for each combination of the scalars that differ."""
    members = record["members"] if record else []
    names = varying([m["hparams"] for m in members], list(members[0]["hparams"])) if members else ()
    points = list(dict.fromkeys(tuple(m["hparams"][name] for name in names) for m in members))
    rows = []
    for point in points:
        at = dict(zip(names, point, strict=True))
        group = [m for m in members if is_at(m, at)]
        final = [m["final"] for m in group]
        label = f"{study.title}, {member_label(at, names)}" if len(points) > 1 else study.title
        cells = [spread(np.array([m["test"][name][-1] for m in group], float)) for name in ("loss", "kl")]
        cells += [
            spread(column(final, name)) for name in ("mse", "ssim", "sampled_mse", "sampled_ssim", "active_units")
        ]
        rows.append((label, str(len(group)), *cells, remarks(study, group)))
    return rows


def column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """One metric of the members that have it."""
    return np.array([row[name] for row in rows if row.get(name) is not None], float)


def remarks(study: Study, members: Sequence[Mapping[str, Any]]) -> str:
    """What means hide, and runs that are shorter than the document's."""
    total, mean_mse = len(members), MEAN_IMAGE_MSE[study.data.dataset]
    counts = {
        "diverged": sum(not m["final"]["alive"] for m in members),
        "collapsed": sum(bool(m["final"]["alive"] and m["final"]["collapsed"]) for m in members),
        "worse than the mean image": sum(m["final"]["alive"] and m["final"]["mse"] > mean_mse for m in members),
    }
    found = [f"{count} of {total} {what}" for what, count in counts.items() if count]
    shortest = min(len(m["train"]["loss"]) for m in members)
    if shortest < study.epochs and counts["diverged"] < total:
        found.insert(0, f"{shortest} of {study.epochs} epochs")
    return "; ".join(found)


def spread(ours: np.ndarray) -> str:
    """Mean and deviation over the seeds, four digits of the mean; one seed has no deviation."""
    finite = ours[np.isfinite(ours)]
    if not finite.size:
        return "–"
    mean = float(np.mean(finite))
    digits = max(0, 3 - int(np.floor(np.log10(abs(mean))))) if mean else 2
    digits = min(digits, 5)
    return f"{mean:.{digits}f}" + (f" ± {np.std(finite, ddof=1):.{digits}f}" if finite.size > 1 else "")


def curve_rows(studies: Sequence[Study], records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every epoch of every member as rows for a figure, labelled by study and, where members differ, by scalars."""
    rows = []
    for study in studies:
        members = records[study.name]["members"]
        names = [name for name in varying([m["hparams"] for m in members], list(members[0]["hparams"]))]
        several = len({tuple(m["hparams"][name] for name in names) for m in members}) > 1
        for number, member in enumerate(members):
            label = study.title + (f", {member_label(member['hparams'], names)}" if several else "")
            for split in ("train", "test"):
                for epoch, terms in enumerate(zip(*member[split].values(), strict=True), 1):
                    named = {k: np.nan if v is None else v for k, v in zip(member[split], terms, strict=True)}
                    rows.append({"label": label, "member": number, "split": split, "epoch": epoch, **named})
    return rows


# The page over all experiments.

HEAD = """# The documents' numbers, and ours

Written by `python -m experiments.reproduce` from the records in `experiments/results/`; do not edit it. Records are of
full runs on the data set that is named, at the document's settings and length unless a remark says otherwise.

Losses are in nats per image: summed over pixels and latent dimensions, averaged over images. Train values are means
over an epoch, while the model changes, as the documents print them; test values are taken after it. Ours are the mean ±
standard deviation over the seeds, or one seed where no deviation stands. MSE and SSIM are of decoded posterior means;
*sampled*, of decoded posterior samples, as in training.

**met**: our mean is within the tolerance of the document's single run · **better**: outside it, on the good side ·
**not met** · **impossible as printed**, with the reason. A first epoch has no tolerance, as it depends most on the
seed.
"""


def write_readme(
    path: Path, root: Path, experiments: Sequence[Experiment], records: Mapping[str, Any], notes: Mapping[str, Any]
) -> None:
    """Write the page.

    Args:
        path: of the page.
        root: folder with the records' pictures, beside the page.
        experiments: what it shows, in order.
        records: study name -> record.
        notes: experiment name -> the tables of its analysis by title.
    """
    from jaxvae.runs import write_text

    every = {study.name: lines(study, records.get(study.name)) for e in experiments for study in e.studies}
    counts = Counter(line.verdict for found in every.values() for line in found if line.verdict)
    total = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    parts = [HEAD, f"{sum(counts.values())} printed numbers: {total}.\n"]
    for experiment in experiments:
        parts += numbers_of(experiment, every, records, notes.get(experiment.name) or {})
        parts += pictures_of(experiment, root)
    write_text(path, "\n".join(parts) + "\n")


def numbers_of(
    experiment: Experiment,
    every: Mapping[str, Sequence[Line]],
    records: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """One experiment: question, printed numbers, results, settings."""
    found = [line.cells for study in experiment.studies for line in every[study.name]]
    final = [row for study in experiment.studies for row in final_rows(study, records.get(study.name))]
    parts = [f"## {experiment.title}", "", f"`python -m experiments.{experiment.name}` · {experiment.source}", ""]
    parts += [experiment.question, ""]
    if found:
        parts += [markdown(HEADER, found), ""]
    if final:
        parts += ["After the last epoch, on the test split:", "", markdown(FINAL_HEADER, final), ""]
    for title, table in tables.items():
        parts += [f"{title}. {table['caption']}", "", markdown(table["header"], table["rows"]), ""]
    parts += [f"- **{study.title}**: {study.note}" for study in experiment.studies if study.note]
    parts += [f"- {line}" for study in experiment.studies for line in provenance(study, records.get(study.name))]
    return [*parts, ""]


def pictures_of(experiment: Experiment, root: Path) -> list[str]:
    """The experiment's pictures, where there are."""
    pictures = {f"{picture.study}_{picture.figure}.png": picture.caption for picture in experiment.pictures}
    if experiment.analysis_picture:
        pictures[f"{experiment.name}_{experiment.analysis_picture}"] = experiment.title
    parts = []
    for name, caption in pictures.items():
        if (root / name).exists():
            parts += [f"![{caption}]({root.name}/{name})", "", f"*{caption}*", ""]
    return parts


def provenance(study: Study, record: Mapping[str, Any] | None) -> list[str]:
    """Where a study's members come from: seeds, epochs, data, device, version, commit."""
    if record is None:
        return [f"{study.title}: not trained yet."]
    found = []
    for number, run in enumerate(record["runs"]):
        members = [m for m in record["members"] if m["run"] == number]
        if not members:
            continue
        seeds = ", ".join(str(seed) for seed in sorted({m["seed"] for m in members}))
        e = run["environment"]
        found.append(
            f"{study.title}: seed{'s' * (',' in seeds)} {seeds}, {len(members)} member{'s' * (len(members) > 1)}, "
            f"{run['epochs']} epochs of {run['dataset']['name']} on {e['device']}, jax {e['versions']['jax']}, commit "
            f"{e['commit']}"
        )
    return found


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    align = ["---" if name in ("study", "where", "verdict", "remarks") else "---:" for name in header]
    cells = [header, align, *rows]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in cells)
