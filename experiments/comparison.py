"""Printed numbers beside ours, with a verdict each, and our results as rows of tables and of curves."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.record import VALUES, Member, at, is_at, reached, shortest, values
from experiments.study import Number, Study, printed_rows
from jaxvae.flags import SCALARS
from jaxvae.labels import member_label, varying

HEADER = ("study", "where", "epoch", "metric", "document", "ours", "difference", "tolerance", "verdict")
FINAL_HEADER = (
    *("study", "members", "loss", "KL", "MSE", "SSIM", "MSE, sampled", "SSIM, sampled", "SSIM, uniform, sampled"),
    *("active", "remarks"),
)
FINAL_METRICS = ("mse", "ssim", "sampled_mse", "sampled_ssim", "sampled_ssim_uniform", "active_units")
VERDICTS = "Met: our mean is within the tolerance of the document's single run; better: outside, on the good side."
JUDGEMENTS = ("met", "better", "not met", "impossible as printed")
LOWER_IS_BETTER = ("loss", "mean_loss", "reconstruction", "mse", "sampled_mse")
HIGHER_IS_BETTER = ("ssim", "sampled_ssim", "sampled_ssim_uniform")
NAMES = {
    "sampled_mse": "MSE, sampled",
    "sampled_ssim": "SSIM, sampled",
    "sampled_ssim_uniform": "SSIM, uniform, sampled",
    "kl": "KL",
    "mebibytes": "size, MiB",
}
MEAN_IMAGE_MSE = {"mnist": 0.067470, "fashion_mnist": 0.086641, "digits": 0.042428}
"""Of always answering with the mean training image, on the test split: what is worse has learned nothing."""
TRACE_TOLERANCE = 0.05
"""Of every single epoch of a printed curve."""
TRAIN_IMAGES = 60_000
"""Of MNIST and of Fashion-MNIST."""


class Line(NamedTuple):
    """A printed number beside ours."""

    cells: tuple[str, ...]
    verdict: str


def lines(study: Study, record: Mapping[str, Any] | None) -> list[Line]:
    """A line for every number of the study, one for its layers, and one for the whole of its trace."""
    found = [line(study, number, record) for number in study.numbers]
    found += [layers_line(study, record)] if study.layers else []
    return found + ([trace_line(study, record)] if study.trace and record else [])


def line(study: Study, number: Number, record: Mapping[str, Any] | None) -> Line:
    """One printed number, our mean and deviation, and the verdict."""
    ours = values(record, number) if record else np.array([])
    word, remark, difference = verdict(number, ours)
    of_the_model = number.metric in ("parameters", "mebibytes")
    epochs = shortest(record, number.at)
    epoch = "" if of_the_model else str(number.epoch or study.epochs)
    if record and not is_documents_data(study, record) and not of_the_model:
        word, remark = "other data", "no verdict"
    elif number.epoch is None and 0 < epochs < study.epochs and not of_the_model:
        word, remark, epoch = "short run", number.why, f"{epochs} of {study.epochs}"
    varied = [name for name, flag in SCALARS.items() if len(set(getattr(study.sweep, flag))) > 1]
    where = ", ".join(member_label(number.at, [name]) for name in number.at if name in varied)
    split = "" if of_the_model or "sampled" in number.metric else f"{number.split} "
    cells = (
        study.title,
        where,
        epoch,
        split + NAMES.get(number.metric, number.metric),
        *shown(number, study, ours),
        difference,
        "" if word == "short run" else f"{100 * number.tolerance:g}%",
        word + f": {remark}" * bool(remark),
    )
    return Line(cells, word)


def shown(number: Number, study: Study, ours: np.ndarray) -> tuple[str, str]:
    """The document's figure, and ours."""
    if number.metric == "parameters":
        return f"{number.value:,.0f}", f"{ours[0]:,.0f}" if ours.size else "–"
    return f"{number.value:.6g}", spread(ours) + other_convention(number, study, ours)


def verdict(number: Number, ours: np.ndarray) -> tuple[str, str, str]:
    """The verdict in a word, a remark to it, and the relative difference of our mean."""
    if not ours.size:
        return "not trained yet", "", ""
    lost = int(np.isnan(ours).sum())
    if lost == ours.size:
        return "not met", "every seed diverged", ""
    difference = float(np.nanmean(ours)) / number.value - 1
    text, remark = f"{difference:+.1%}", f"{lost} of {ours.size} seeds diverged" if lost else ""
    if number.impossible:
        return "impossible as printed", number.impossible, text
    if abs(difference) <= number.tolerance:
        return "met", remark, text
    good = number.ranked and number.metric in (HIGHER_IS_BETTER if difference > 0 else LOWER_IS_BETTER)
    return "better" if good else "not met", "; ".join(filter(None, (remark, number.why))), text


def other_convention(number: Number, study: Study, ours: np.ndarray) -> str:
    """Document 000 prints sums and means: the one that it does not print here, in brackets."""
    if not study.data.rgb or not ours.size:
        return ""
    if number.metric == "mean_loss":
        return f" (sum {spread(ours * VALUES)})"
    return f" (mean {spread(ours / VALUES)})"


def is_documents_data(study: Study, record: Mapping[str, Any]) -> bool:
    """Whether all runs saw the study's data set, all of it that the document used."""
    images = study.data.limit or TRAIN_IMAGES
    found = [run["dataset"] for run in record["runs"]]
    return all(data["name"] == study.data.dataset and data["train"] == images for data in found)


def layers_line(study: Study, record: Mapping[str, Any] | None) -> Line:
    """How many parameters the layers have, in any order."""
    ours = sorted(record["layers"].values()) if record else []
    word = "not trained yet" if not ours else "met" if sorted(study.layers) == ours else "not met"
    printed = ", ".join(f"{count:,}" for count in study.layers)
    found = {"met": "the same", "not met": ", ".join(f"{count:,}" for count in ours)}.get(word, "–")
    return Line((study.title, "each layer", "", "parameters", printed, found, "", "0%", word), word)


def trace_line(study: Study, record: Mapping[str, Any]) -> Line:
    """All epochs of the printed curves after the first: the largest relative difference of our mean."""
    printed = [
        Number(row[metric], metric, epoch=int(row["epoch"]), at={"beta": row["beta"]})
        for row in printed_rows(study)
        for metric in ("loss", "reconstruction", "kl")
        if metric in row and row["epoch"] > 1
    ]
    found = [values(record, number) for number in printed]
    alive = [(number, ours[np.isfinite(ours)]) for number, ours in zip(printed, found, strict=True)]
    differences = [abs(np.mean(ours) / number.value - 1) for number, ours in alive if ours.size]
    lost = max((int(np.isnan(ours).sum()) for ours in found), default=0)
    text = f"{np.mean(differences):.1%} on average, {max(differences):.1%} at most" if differences else ""
    if not is_documents_data(study, record):
        word = "other data"
    elif len(differences) < len(printed):
        word = "not met" if lost else "not trained yet"
    else:
        word = "met" if max(differences) <= TRACE_TOLERANCE else "not met"
    counted = f"{len(differences)} of {len(printed)} values"
    cells = (study.title, "every epoch", f"2 to {study.epochs}", "train trace", counted, "", text)
    why = f"{lost} of {max(map(len, found))} seeds diverged" if lost else study.trace_why if word == "not met" else ""
    return Line((*cells, f"{TRACE_TOLERANCE:.0%}", word + f": {why}" * bool(why)), word)


def final_rows(study: Study, record: Mapping[str, Any] | None) -> list[tuple[str, ...]]:
    """The study's members after their last epoch, a row for each combination of the scalars that differ.

    Members that diverged are counted, and left out of the means.
    """
    members = record["members"] if record else []
    names = varying([m["hparams"] for m in members], list(SCALARS)) if members else ()
    points = list(dict.fromkeys(tuple(at(m, name) for name in names) for m in members))
    rows = []
    for point in points:
        group = [m for m in members if is_at(m, dict(zip(names, point, strict=True)))]
        alive = [m for m in group if m["final"]["alive"]]
        final = [m["final"] for m in alive]
        label = member_label(dict(zip(names, point, strict=True)), names)
        cells = [spread(np.array([m["test"][name][-1] for m in alive], float)) for name in ("loss", "kl")]
        cells += [spread(column(final, name)) for name in FINAL_METRICS]
        title = f"{study.title}, {label}" if len(points) > 1 else study.title
        rows.append((title, str(len(group)), *cells, remarks(study, record, group)))
    return rows


def column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """One metric of the members that have it."""
    return np.array([row[name] for row in rows if row.get(name) is not None], float)


def remarks(study: Study, record: Any, members: Sequence[Member]) -> str:
    """What means hide, seeds that are still missing, and runs that are shorter than the full length."""
    alive = [m for m in members if m["final"]["alive"]]
    mean_mse = MEAN_IMAGE_MSE[record["runs"][-1]["dataset"]["name"]]
    counts = {
        "diverged": len(members) - len(alive),
        "collapsed": sum(bool(m["final"]["collapsed"]) for m in alive),
        "worse than the mean image": sum(m["final"]["mse"] > 1.001 * mean_mse for m in alive),
    }
    found = [f"{count} of {len(members)} {what}" for what, count in counts.items() if count]
    if members and all(at(m, "beta") == 0 for m in members):
        found.append("KL not trained")
    seeds = {m["seed"] for m in members}
    if seeds < set(study.sweep.seeds):
        found.insert(0, f"{len(seeds)} of {len(study.sweep.seeds)} seeds")
    epochs = min((reached(m) for m in alive), default=study.epochs)
    if epochs < study.epochs:
        found.insert(0, f"{epochs} of {study.epochs} epochs")
    return "; ".join(found)


def spread(ours: np.ndarray) -> str:
    """Mean and deviation over the seeds, four digits of the mean or one more than the deviation needs.

    Powers of ten from a million on.
    """
    finite = ours[np.isfinite(ours)]
    if not finite.size:
        return "–"
    mean = float(np.mean(finite))
    if abs(mean) >= 1e6:
        return f"{mean:.1e} ± {np.std(finite, ddof=1):.1e}" if finite.size > 1 else f"{mean:.1e}"
    digits = min(5, max(0, 3 - leading_digit(mean))) if mean else 2
    if finite.size == 1:
        return f"{mean:.{digits}f}"
    deviation = float(np.std(finite, ddof=1))
    if deviation:
        digits = max(digits, min(5, -leading_digit(deviation)))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def leading_digit(value: float) -> int:
    """The power of ten of a number's first digit."""
    return int(np.floor(np.log10(abs(value))))


def curve_rows(studies: Sequence[Study], records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every epoch of every member as rows for a figure, labelled by what differs: study, scalars."""
    rows = []
    for study in studies:
        members = records[study.name]["members"]
        names = varying([m["hparams"] for m in members], list(SCALARS))
        several = len({tuple(m["hparams"][name] for name in names) for m in members}) > 1
        title = [study.title] if len(studies) > 1 or not several else []
        for number, member in enumerate(members):
            label = ", ".join([*title, member_label(member["hparams"], names)] if several else title)
            for split in ("train", "test"):
                for epoch, terms in enumerate(zip(*member[split].values(), strict=True), 1):
                    named = {k: np.nan if v is None else v for k, v in zip(member[split], terms, strict=True)}
                    place = {"label": label, "member": number, "split": split, "epoch": epoch}
                    rows.append({**place, **named, "alive": member["final"]["alive"] or epoch < reached(member)})
    return rows
