"""Every experiment's declaration: names, documents' numbers, flags; and what a run may change of it."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from experiments import beta_sweep, record, reproduce
from experiments.beta_sweep import BetaSweep
from experiments.page import write_readme
from experiments.reproduce import EXPERIMENTS, STUDIES
from experiments.study import Changes, Number, Study, flags_of, printed_curves, printed_rows, run_study
from jaxvae.config import Config
from jaxvae.errors import ConfigError, DivergedError
from jaxvae.flags import SCALARS, DataFlags, SweepFlags, to_json
from jaxvae.types import Hparams

HERE = Path(reproduce.__file__).parent
SETTING = SweepFlags(betas=(1.0, 3.0), learning_rates=(5e-3,), seeds=(0, 1, 2), epochs=50, batch_size=1024)
STUDY = Study("name", "title", SETTING, Config())


def test_names_are_unique_and_modules_exist():
    names = [study.name for study in STUDIES]
    assert len(set(names)) == len(names)
    for experiment in EXPERIMENTS:
        assert (HERE / f"{experiment.name}.py").is_file()
        titles = [study.title for study in experiment.studies]
        assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_a_module_s_header_says_source_expected_run_time_and_command(experiment):
    text = (HERE / f"{experiment.name}.py").read_text()
    header = text.split('"""')[1]
    for word in ("source", "expected", "run time", f"command     python -m experiments.{experiment.name}"):
        assert word in header, word


ONE_SEED = ("region_1", "region_2", "region_3", "region_4", "region_5_6")  # long, and compared with no other row


@pytest.mark.parametrize("study", STUDIES, ids=lambda s: s.name)
def test_a_study_s_numbers_can_be_found_among_its_members(study):
    for number in study.numbers:
        assert number.epoch is None or 1 <= number.epoch <= study.epochs
        if number.metric not in ("parameters", "mebibytes"):
            assert sum(number.at.items() <= point.items() for point in study.sweep.points) == 1
    assert study.sweep.batch_size is not None
    assert len(study.sweep.seeds) >= 3 or study.name in ONE_SEED


def test_the_committed_page_is_what_the_committed_records_say(tmp_path):
    root = tmp_path / "results"
    root.symlink_to(HERE / "results")
    records = {study.name: record.read(root, study) for study in STUDIES}
    kept = {experiment.name: reproduce.analysed(experiment, tmp_path, root, True) for experiment in EXPERIMENTS}
    write_readme(tmp_path / "README.md", root, EXPERIMENTS, records, kept)
    assert (tmp_path / "README.md").read_text() == (HERE / "README.md").read_text()


def test_the_front_page_shows_the_beta_sweep_s_record():
    (study,) = beta_sweep.EXPERIMENT.studies
    saved, front = record.read(HERE / "results", study), (HERE.parent / "README.md").read_text()
    assert saved is not None
    for beta in (1.0, 3.0, 8.0, 16.0):
        (printed,) = (n.value for n in study.numbers if n.epoch == 10 and n.at["beta"] == beta)
        ours = record.values(saved, Number(printed, epoch=10, at={"beta": beta}))
        collapsed = [m["final"]["collapsed"] for m in saved["members"] if m["hparams"]["beta"] == beta]
        row = f"| {beta:g} | {printed} | {ours.mean():.2f} ± {ours.std(ddof=1):.2f} | {sum(collapsed)} of {len(ours)} |"
        assert row in front


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_pictures_are_of_the_experiment_s_studies(experiment):
    assert {p.study for p in experiment.pictures} <= {study.name for study in experiment.studies}


def test_scalars_are_the_hyperparameters():
    assert set(SCALARS) == set(asdict(Hparams()))
    flags = asdict(SweepFlags())
    assert all(flags[flag] == (getattr(Hparams(), name),) for name, flag in SCALARS.items() if name != "beta")


@pytest.mark.parametrize("study", [study for study in STUDIES if study.trace], ids=lambda s: s.name)
def test_a_trace_is_the_document_s_whole_curve(study):
    rows = printed_rows(study)
    for beta in study.sweep.betas:
        assert [row["epoch"] for row in rows if row["beta"] == beta] == list(range(1, study.epochs + 1))
    for number in study.numbers:  # the figures typed in by hand are those of the file
        if number.metric in rows[0]:
            (found,) = [r for r in rows if r["epoch"] == number.epoch and r["beta"] == number.at.get("beta", 1.0)]
            assert found[number.metric] == pytest.approx(number.value, abs=0.006)


def test_printed_curves_are_those_of_the_run_s_members():
    study = replace(STUDY, trace="beta_sweep")
    flags = flags_of(study, Changes(epochs=3, seeds=(5,)))
    assert list(printed_curves(study, flags)) == ["β = 1", "β = 3"]  # the file has beta 8 and 16 too
    assert printed_curves(STUDY, flags) == {}
    for other in (
        replace(flags, sweep=replace(flags.sweep, learning_rates=(1e-3,))),
        replace(flags, sweep=replace(flags.sweep, batch_size=128)),
        replace(flags, model=replace(flags.model, latent_dim=2)),
        replace(flags, data=replace(flags.data, limit=1000)),
        replace(flags, data=replace(flags.data, dataset="digits")),
    ):
        assert printed_curves(study, other) == {}


def test_the_main_job_shows_the_document_s_curves(monkeypatch):
    from jaxvae import experiment

    runs = []
    monkeypatch.setattr(experiment, "run", lambda name, flags, printed: runs.append(printed(flags)))
    filled = BetaSweep(sweep=replace(SweepFlags(), epochs=10, batch_size=128), data=DataFlags(dataset="mnist"))
    beta_sweep.run(filled)
    beta_sweep.run(replace(filled, data=DataFlags(dataset="digits")))
    assert [list(printed) for printed in runs] == [["β = 1", "β = 3", "β = 8", "β = 16"], []]


def test_flags_are_the_study_s_unless_changed():
    flags = flags_of(STUDY, Changes())
    assert (flags.sweep, flags.model, flags.data.dataset) == (SETTING, STUDY.model, "mnist")
    changed = flags_of(STUDY, Changes(epochs=2, seeds=(7,), data=DataFlags(dataset="digits", limit=100)))
    assert changed.sweep == replace(SETTING, epochs=2, seeds=(7,), batch_size=100)
    assert (changed.data.dataset, changed.data.limit) == ("digits", 100)


def test_the_smaller_limit_holds_and_digits_have_1500_images():
    limited = replace(STUDY, data=DataFlags(dataset="mnist", limit=500, rgb=True))
    assert flags_of(limited, Changes(data=DataFlags(limit=1000))).data == replace(limited.data, limit=500)
    assert flags_of(limited, Changes(data=DataFlags(limit=10))).data.limit == 10
    large = replace(STUDY, sweep=replace(SETTING, batch_size=2048))
    assert flags_of(large, Changes(data=DataFlags(dataset="digits"))).sweep.batch_size == 1500


def test_rgb_can_be_asked_for():
    assert flags_of(STUDY, Changes(data=DataFlags(rgb=True))).data.rgb


class TestRunStudy:
    @pytest.fixture
    def trained(self, monkeypatch):
        """The flags of each run that would have been trained."""
        from jaxvae import experiment

        runs = []
        monkeypatch.setattr(experiment, "run", lambda name, flags, **rest: runs.append((flags, rest)))
        return runs

    def write(self, folder, flags, **summary):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"flags": to_json(flags), "dataset": {}, "environments": [{}]}))
        (folder / "summary.json").write_text(json.dumps({"members": [{}], "diverged": 0, **summary}))

    def run(self, folder, study=STUDY, changes=Changes()):  # noqa: B008
        run_study(study, folder, changes, resume_command="again")

    def test_a_new_study_is_trained_in_its_folder(self, tmp_path, trained):
        self.run(tmp_path / "run", replace(STUDY, trace="beta_sweep"))
        ((flags, rest),) = trained
        assert flags.run.out == tmp_path / "run"
        assert set(rest["printed"](flags)) == {"β = 1", "β = 3"}

    def test_a_finished_one_is_not_trained_again(self, tmp_path, trained):
        self.write(tmp_path / "run", flags_of(STUDY, Changes()), complete=True)
        (tmp_path / "run" / "report.html").touch()
        self.run(tmp_path / "run")
        assert trained == []

    @pytest.mark.parametrize("state", [{"complete": False}, {"complete": True}])
    def test_one_without_its_end_or_its_report_goes_on(self, tmp_path, trained, state):
        self.write(tmp_path / "run", flags_of(STUDY, Changes()), **state)
        self.run(tmp_path / "run")
        assert trained[0][0].run.resume == tmp_path / "run"

    def test_one_whose_every_member_diverged_has_no_report_and_is_finished(self, tmp_path, trained):
        self.write(tmp_path / "run", flags_of(STUDY, Changes()), complete=True, diverged=1)
        self.run(tmp_path / "run")
        assert trained == []

    def test_a_run_of_other_settings_is_refused(self, tmp_path, trained):
        self.write(tmp_path / "run", flags_of(STUDY, Changes()), complete=True)
        with pytest.raises(ConfigError, match="with other settings"):
            self.run(tmp_path / "run", replace(STUDY, model=Config(latent_dim=3)))
        with pytest.raises(ConfigError, match="with other settings"):
            self.run(tmp_path / "run", replace(STUDY, sweep=replace(SETTING, betas=(1.0, 4.0))))
        with pytest.raises(ConfigError, match="with other settings"):
            self.run(tmp_path / "run", STUDY, Changes(seeds=(3,)))
        assert trained == []

    def test_divergence_is_told_not_raised(self, tmp_path, monkeypatch, capsys):
        from jaxvae import experiment

        def diverge(name, flags, **rest):
            raise DivergedError("every member became non-finite")

        monkeypatch.setattr(experiment, "run", diverge)
        self.run(tmp_path / "run")
        assert "every member became non-finite" in capsys.readouterr().err
