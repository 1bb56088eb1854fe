"""The page `experiments/README.md`: every printed number, ours, and what they come from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import failures
from experiments.comparison import FINAL_HEADER, HEADER, JUDGEMENTS, Line, final_rows, lines
from experiments.record import shortest
from experiments.study import Experiment, Results, Study

HEAD = """# The documents' numbers, and ours

Written by `python -m experiments.reproduce` from the records in `experiments/results/`; do not edit it. Records are of
full runs on the data set that is named, at the document's settings and length unless a remark says otherwise.

Losses are in nats per image: summed over pixels and latent dimensions, averaged over images. Train values are means
over an epoch, while the model changes, as the documents print them; test values are taken after it. Ours are the mean ±
standard deviation over the seeds, or one seed where no deviation stands; a remark says where seeds are missing. MSE and
SSIM are of decoded posterior means; *sampled*, of decoded posterior samples, as in training; *uniform*, with
scikit-image's default 7x7 window in the place of Wang et al.'s Gaussian one. The documents' validation images are the
test split here.

**met**: our mean is within the tolerance of the document's single run · **better**: outside it, on the good side ·
**not met** · **impossible as printed**, with the reason. A document's figure is of one run, so tolerances are what runs
may differ by: 0.5 or 1 % of a loss late in training, 3 % where seeds differ more or the figure is of another metric,
5 % of an MSE and of every epoch of a trace, 10 % of a first epoch and of document 000, where formula and images are
unknown, 4 % of a size that is rounded up. A trace is one line, whatever the number of its epochs; its printed values
are in [printed/](printed/), ours in the records.

A latent is *active* where the variance of its posterior mean over the test images exceeds 0.01 (Burda et al. 2016); a
member of which none is has *collapsed*.
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
    judged, waiting = (
        [f"{count} {word}" for word, count in counts.most_common() if (word in JUDGEMENTS) == final]
        for final in (True, False)
    )
    total = sum(counts[word] for word in JUDGEMENTS)
    rest = f" Without a verdict yet: {', '.join(waiting)}." if waiting else ""
    parts = [HEAD, f"Of {total} lines with a verdict: {', '.join(judged) or 'none'}.{rest}\n"]
    for experiment in experiments:
        parts += numbers_of(experiment, every, records, notes.get(experiment.name) or {})
        parts += pictures_of(experiment, root, records)
    write_text(path, "\n".join(parts) + "\n")


def numbers_of(
    experiment: Experiment,
    every: Mapping[str, Sequence[Line]],
    records: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """One experiment: question, printed numbers, results, settings."""
    found = [line.cells for study in experiment.studies for line in every[study.name]]
    command = f"python -m experiments.{experiment.name} {experiment.flags}".rstrip()
    parts = [f"## {experiment.title}", "", f"`{command}` · {experiment.source}", ""]
    parts += [experiment.question, ""]
    if found:
        parts += [markdown(HEADER, found), ""]
    for caption, header, rows in results(experiment.studies, records, experiment.results):
        parts += [caption, "", markdown(header, rows), ""]
    for title, table in tables.items():
        parts += [f"{title}. {table['caption']}", "", markdown(table["header"], table["rows"]), ""]
    parts += [f"- **{study.title}**: {study.note}" for study in experiment.studies if study.note]
    parts += [f"- {line}" for study in experiment.studies for line in provenance(study, records.get(study.name))]
    return [*parts, ""]


def results(
    studies: Sequence[Study], records: Mapping[str, Any], own: Results | None
) -> list[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    """Captions, headers and rows of our results: the final metrics or the experiment's own table, then failures."""
    final = [row for study in studies for row in final_rows(study, records.get(study.name))]
    tables: list[tuple[str, Sequence[str], Sequence[Sequence[str]]]]
    tables = [own(records)] if own else [("After the last epoch, on the test split:", FINAL_HEADER, final)]
    tables += [(failures.CAPTION, failures.HEADER, failures.rows(studies, records))]
    return [(caption, header, rows) for caption, header, rows in tables if rows]


def pictures_of(experiment: Experiment, root: Path, records: Mapping[str, Any]) -> list[str]:
    """The experiment's pictures, where there are; one of a shorter run says so."""
    studies, pictures = {study.name: study for study in experiment.studies}, {}
    for picture in experiment.pictures:
        epochs, full = shortest(records.get(picture.study)), studies[picture.study].epochs
        short = f" After {epochs} of {full} epochs." if 0 < epochs < full else ""
        pictures[f"{picture.study}_{picture.figure}.png"] = picture.caption + short
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
    members_by_source: dict[tuple[str, ...], list[Any]] = {}
    for member in record["members"]:
        run = record["runs"][member["run"]]
        e = run["environment"]
        epochs = f"{run['epochs']} epoch{'s' * (run['epochs'] > 1)}"
        source = (epochs, data_of(run), e["device"], e["versions"]["jax"], e["commit"])
        members_by_source.setdefault(source, []).append(member)
    found = []
    for (epochs, dataset, device, jax, commit), members in members_by_source.items():
        seeds = ", ".join(str(seed) for seed in sorted({m["seed"] for m in members}))
        found.append(
            f"{study.title}: seed{'s' * (',' in seeds)} {seeds}, {len(members)} member{'s' * (len(members) > 1)}, "
            f"{epochs} of {dataset} on {device}, jax {jax}, commit {commit}"
        )
    return found


def data_of(run: Mapping[str, Any]) -> str:
    """The data set of a run, and what was done to it."""
    flags = run["flags"]["data"]
    images = f"the first {flags['limit']:,} images of " if flags["limit"] else ""
    return images + run["dataset"]["name"] + (" in three channels" if flags.get("rgb") else "")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    align = ["---" if name in ("study", "where", "verdict", "remarks") else "---:" for name in header]
    cells = [header, align, *rows]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in cells)
