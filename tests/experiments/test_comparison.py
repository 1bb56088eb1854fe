"""Verdicts by hand-made records, and the tables around them."""

from dataclasses import replace

import numpy as np
import pytest

from experiments import comparison, page
from experiments.comparison import line, lines, spread, verdict
from experiments.study import Experiment, Number, Picture, Study
from jaxvae.config import Config
from jaxvae.flags import SCALARS, DataFlags, SweepFlags

STUDY = Study("study", "title", SweepFlags(betas=(1.0, 4.0), seeds=(0, 1), epochs=2, batch_size=8), Config())
DEFAULTS = {name: getattr(SweepFlags(), flag)[0] for name, flag in SCALARS.items()}


def member(beta, seed, losses, *, alive=True, collapsed=False, mse=0.02):
    curve = {"loss": losses, "reconstruction": losses, "kl": losses}
    final = {"mse": mse, "ssim": 0.8, "sampled_mse": None, "sampled_ssim": 0.7, "active_units": 5}
    final |= {"collapsed": collapsed, "alive": alive}
    return {
        "seed": seed,
        "hparams": {**DEFAULTS, "beta": beta},
        "train": curve,
        "test": curve,
        "final": final,
        "run": 0,
    }


def record(*members):
    environment = {"device": "cpu", "cpu_count": 2, "versions": {"jax": "1.2"}, "commit": "abc"}
    dataset, flags = {"name": "mnist", "train": 60_000}, {"data": {"limit": None, "rgb": False}}
    run = {"seconds": 120.0, "epochs": 2, "flags": flags, "dataset": dataset, "environment": environment}
    layers = {"encoder/Dense_0": 1000, "mean": 234}
    return {"study": "study", "parameters": 1234, "layers": layers, "runs": [run], "members": list(members)}


@pytest.mark.parametrize(
    ("number", "ours", "word", "remark", "difference"),
    [
        (Number(100.0, tolerance=0.03), [101.0, 103.0], "met", "", "+2.0%"),
        (Number(100.0, tolerance=0.03), [97.5, 98.5], "met", "", "-2.0%"),
        (Number(100.0, tolerance=0.03), [96.0, 97.0], "better", "", "-3.5%"),
        (Number(100.0, tolerance=0.03), [104.0], "not met", "", "+4.0%"),
        (Number(100.0, tolerance=0.03, why="a reason"), [104.0], "not met", "a reason", "+4.0%"),
        (Number(100.0, tolerance=0.03, why="a reason"), [102.0], "met", "", "+2.0%"),
        (
            Number(100.0, tolerance=0.03, why="a reason"),
            [np.nan, 90.0],
            "better",
            "1 of 2 seeds diverged; a reason",
            "-10.0%",
        ),
        (Number(100.0, tolerance=0.03, ranked=False), [90.0], "not met", "", "-10.0%"),
        (Number(0.8, "sampled_ssim"), [0.9], "better", "", "+12.5%"),
        (Number(0.8, "sampled_ssim"), [0.7], "not met", "", "-12.5%"),
        (Number(100.0), [], "not trained yet", "", ""),
        (Number(100.0), [np.nan, np.nan], "not met", "every seed diverged", ""),
        (Number(100.0), [np.nan, 100.0], "met", "1 of 2 seeds diverged", "+0.0%"),
        (Number(0.1, "sampled_mse", impossible="a reason"), [0.02], "impossible as printed", "a reason", "-80.0%"),
        (Number(10.0, "kl"), [8.0], "not met", "", "-20.0%"),  # a lower KL is no better
    ],
)
def test_verdict(number, ours, word, remark, difference):
    assert verdict(number, np.array(ours, float)) == (word, remark, difference)


def test_a_line_names_where_it_is():
    found = record(member(1.0, 0, [9.0, 5.0]), member(4.0, 0, [9.0, 7.0]), member(4.0, 1, [9.0, 7.2]))
    cells = line(STUDY, Number(7.0, at={"beta": 4.0}), found).cells
    assert cells == ("title", "β = 4", "2", "train loss", "7", "7.100 ± 0.141", "+1.4%", "3%", "met")
    assert line(STUDY, Number(1234, "parameters", tolerance=0.0), found).cells[2:6] == (
        "",
        "parameters",
        "1,234",
        "1,234",
    )
    assert line(STUDY, Number(0.16805, "mse", at={"beta": 1.0, "variance": 0.5}), found).cells[1:5] == (
        *("β = 1", "2", "train mse", "0.16805"),  # all of the document's digits; a scalar that all share is not named
    )
    assert line(STUDY, Number(7.0), None).verdict == "not trained yet"


def test_a_study_s_layers_are_compared_in_any_order():
    assert lines(replace(STUDY, layers=(234, 1000)), record())[-1].verdict == "met"
    (other,) = lines(replace(STUDY, layers=(235, 999)), record())
    assert (other.verdict, other.cells[4:6]) == ("not met", ("235, 999", "234, 1,000"))
    assert lines(replace(STUDY, layers=(234,)), None)[-1].verdict == "not trained yet"


def test_sums_and_means_are_both_shown_where_the_document_mixes_them():
    rgb = replace(STUDY, data=DataFlags(dataset="mnist", rgb=True))
    found = record(member(1.0, 0, [9.0, 23.52]))
    assert line(rgb, Number(23.52), found).cells[5] == "23.52 (mean 0.01000)"
    assert line(rgb, Number(0.01, "mean_loss"), found).cells[5] == "0.01000 (sum 23.52)"


def test_a_trace_is_judged_by_its_worst_epoch(monkeypatch):
    rows = [{"beta": 1.0, "epoch": float(e), "loss": v} for e, v in ((1, 50.0), (2, 10.0))]
    monkeypatch.setattr(comparison, "printed_rows", lambda study: rows)
    traced = replace(STUDY, trace="any")
    (good,) = lines(traced, record(member(1.0, 0, [9.0, 10.4])))  # the first epoch is not compared
    assert good.verdict == "met"
    assert good.cells[6] == "4.0% on average, 4.0% at most"
    (bad,) = lines(replace(traced, trace_why="a reason"), record(member(1.0, 0, [50.0, 10.6])))
    assert (bad.verdict, bad.cells[-1]) == ("not met", "not met: a reason")
    (short,) = lines(traced, record(member(1.0, 0, [50.0])))
    assert (short.verdict, short.cells[4]) == ("not trained yet", "0 of 1 values")
    (dead,) = lines(traced, record(member(1.0, 0, [50.0, 10.0], alive=False)))
    assert dead.cells[-1] == "not met: 1 of 1 seeds diverged"
    (one,) = lines(traced, record(member(1.0, 0, [50.0, 10.0], alive=False), member(1.0, 1, [50.0, 10.1])))
    assert one.cells[-1] == "met: 1 of 2 seeds diverged"


def test_final_rows_and_remarks():
    found = record(
        member(1.0, 0, [9.0, 5.0]),
        member(1.0, 1, [9.0, 6.0], collapsed=True, mse=0.07),
        member(4.0, 0, [9.0], alive=False, mse=None),
        member(4.0, 1, [9.0, 7.0]),
    )
    first, second = comparison.final_rows(STUDY, found)
    assert first[:4] == ("title, β = 1", "2", "5.500 ± 0.707", "5.500 ± 0.707")
    assert first[-1] == "1 of 2 collapsed; 1 of 2 worse than the mean image"
    assert second[:3] == ("title, β = 4", "2", "7.000")  # without the one that diverged
    assert second[-1] == "1 of 2 diverged"
    assert first[6] == "–"  # no sampled MSE was kept
    assert comparison.final_rows(STUDY, None) == []


def test_a_diverged_member_is_drawn_as_one():
    rows = comparison.curve_rows([STUDY], {"study": record(member(1.0, 0, [9.0, 8.0], alive=False))})
    assert [row["alive"] for row in rows if row["split"] == "train"] == [True, False]


def test_a_short_run_is_marked():
    found = record(member(1.0, 0, [9.0]))
    (row,) = comparison.final_rows(STUDY, found)
    assert row[-1] == "1 of 2 epochs; 1 of 2 seeds"
    cells = line(STUDY, Number(9.0), found).cells
    assert (cells[2], cells[7], cells[8]) == ("1 of 2", "", "short run")  # no tolerance, so no verdict
    assert line(STUDY, Number(8.0, why="since"), found).cells[8] == "short run: since"
    assert line(STUDY, Number(9.0, epoch=1), found).verdict == "met"  # that epoch it has
    both = record(member(1.0, 0, [9.0]), member(4.0, 0, [9.0, 9.0]))
    assert line(STUDY, Number(9.0, at={"beta": 4.0}), both).verdict == "met"  # this member is not short


@pytest.mark.parametrize("dataset", [{"name": "digits", "train": 60_000}, {"name": "mnist", "train": 1000}])
def test_other_data_gets_no_verdict(dataset):
    found = record(member(1.0, 0, [9.0, 9.0]))
    assert line(STUDY, Number(9.0), found).verdict == "met"
    found["runs"][0]["dataset"] = dataset
    assert line(STUDY, Number(9.0), found).cells[-1] == "other data: no verdict"
    limited = replace(STUDY, data=DataFlags(dataset="mnist", limit=1000))
    assert line(limited, Number(9.0), found).verdict == ("met" if dataset["name"] == "mnist" else "other data")


@pytest.mark.parametrize(
    ("ours", "text"),
    [
        ([100.5626], "100.6"),
        ([28.1234, 28.3234], "28.22 ± 0.14"),
        ([0.012753], "0.01275"),
        ([0.0], "0.00"),
        ([np.nan, 2.0], "2.000"),
        ([np.nan], "–"),
        ([], "–"),
        ([12345.6], "12346"),
        ([101.70, 101.74], "101.72 ± 0.03"),  # as many digits as the deviation needs
        ([1.0, 1.0], "1.000 ± 0.000"),
        ([1e9, 3e9], "2.0e+09 ± 1.4e+09"),
        ([2e9], "2.0e+09"),
    ],
)
def test_spread(ours, text):
    assert spread(np.array(ours, float)) == text


def test_curve_rows_are_labelled_by_what_differs():
    one = record(member(1.0, 0, [9.0, 5.0]))
    found = {"study": record(member(1.0, 0, [9.0, 5.0]), member(4.0, 0, [9.0, None]))}
    rows = comparison.curve_rows([STUDY], found)
    assert {row["label"] for row in rows} == {"β = 1", "β = 4"}
    both = comparison.curve_rows([STUDY, replace(STUDY, name="other", title="plain")], {**found, "other": one})
    assert {row["label"] for row in both} == {"title, β = 1", "title, β = 4", "plain"}
    assert {row["label"] for row in comparison.curve_rows([STUDY], {"study": one})} == {"title"}
    assert len(rows) == 2 * 2 * 2
    assert rows[0] == {
        **{"label": "β = 1", "member": 0, "split": "train", "epoch": 1},
        **{"loss": 9.0, "reconstruction": 9.0, "kl": 9.0, "alive": True},
    }
    assert np.isnan(rows[-1]["loss"])


def test_the_page(tmp_path):
    study = replace(STUDY, numbers=(Number(5.0, at={"beta": 1.0}),), note="A note.")
    missing = replace(STUDY, name="missing", title="other", numbers=(Number(5.0),))
    experiment = Experiment(
        *("name", "Title", "the source", "The question.", (study, missing)),
        (Picture("study", "samples", "A picture."), Picture("study", "other", "None yet.")),
    )
    root = tmp_path / "results"
    root.mkdir()
    (root / "study_samples.png").write_bytes(b"")
    table = {"Classes": {"header": ["a", "b"], "rows": [["x", 1]], "caption": "What it is."}}
    path = tmp_path / "README.md"
    page.write_readme(path, root, [experiment], {"study": record(member(1.0, 0, [9.0, 5.0]))}, {"name": table})
    text = path.read_text()
    for part in (
        "Of 1 lines with a verdict: 1 met. Without a verdict yet: 1 not trained yet.",
        "## Title",
        "`python -m experiments.name` · the source",
        "| title | β = 1 | 2 | train loss | 5 | 5.000 | +0.0% | 3% | met |",
        "Classes. What it is.",
        "| x | 1 |",
        "- **title**: A note.",
        "- title: seed 0, 1 member, 2 epochs of mnist on cpu, jax 1.2, commit abc",
        "- other: not trained yet.",
        "![A picture.](results/study_samples.png)",
    ):
        assert part in text, part
    assert "None yet." not in text
    assert "A picture. After" not in text


def test_a_picture_of_a_short_run_says_so(tmp_path):
    (tmp_path / "study_samples.png").write_bytes(b"")
    experiment = Experiment("n", "T", "s", "q", (STUDY,), (Picture("study", "samples", "A picture."),))
    found = page.pictures_of(experiment, tmp_path, {"study": record(member(1.0, 0, [9.0]))})
    assert "*A picture. After 1 of 2 epochs.*" in found
