"""An experiment's command from flags to page, in process, on the embedded digits; and what it refuses."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from experiments import digit_cvae, page, record, reproduce
from experiments.command import chosen, main, with_fallback
from experiments.reproduce import EXPERIMENTS, STUDIES
from experiments.study import Changes, flags_of
from jaxvae import cli, data
from jaxvae.data.dataset import Unavailable
from jaxvae.errors import ConfigError
from jaxvae.experiment import reopen
from jaxvae.flags import SCALARS, DataFlags, to_json

SHORT = ("--dataset", "digits", "--limit", "40", "--epochs", "1", "--seeds", "0")


@pytest.fixture
def command(monkeypatch):
    def run(experiment, *flags):
        monkeypatch.setattr(sys, "argv", ["experiment", *map(str, flags)])
        return main(experiment, "What it does.")

    return run


def test_from_flags_to_page_and_again(tmp_path, command, capsys):
    folder = tmp_path / "run"
    assert command(digit_cvae.EXPERIMENT, *SHORT, "--out", folder) == 0
    captured = capsys.readouterr()
    assert "the document's log_std mix-up" in captured.out
    page = (folder / "report.html").read_text()
    assert "Beside the document" in page
    assert page.count("data:image/png;base64,") == 1 + 2 * 2  # curves; reconstructions and classes of two studies
    for study in digit_cvae.EXPERIMENT.studies:
        assert (folder / study.name / "report.html").is_file()
        assert (folder / study.name / "class_samples.png").is_file()
        sweep, progress = reopen(folder / study.name)
        assert (sweep.members.seeds, progress.epoch) == ((0,), 1)
        assert sweep.model.num_classes == 10

    written = (folder / "digit_cvae" / "summary.json").stat().st_mtime_ns
    again = ("--resume", folder, "--devices", 1)
    assert command(digit_cvae.EXPERIMENT, *again, "--epochs", 2, "--rgb") == 2
    found = "rgb is False, not True; epochs is 1, not 2; only --data-dir and where to compute may change"
    assert found in capsys.readouterr().err
    assert command(digit_cvae.EXPERIMENT, *again) == 0  # all is complete: only the page is made again
    assert (folder / "digit_cvae" / "summary.json").stat().st_mtime_ns == written


def test_an_interrupted_experiment_goes_on_with_its_settings(tmp_path, command, monkeypatch, capsys):
    from jaxvae.fit import Sweep

    epoch, calls = Sweep.epoch, []

    def interrupt(self, progress):
        calls.append(progress.epoch)
        if len(calls) == 3:  # in the second epoch... of the second study's first
            raise KeyboardInterrupt
        return epoch(self, progress)

    folder, flags = tmp_path / "run", ("--dataset", "digits", "--limit", "40", "--epochs", "2", "--seeds", "3")
    with monkeypatch.context() as patch:
        patch.setattr(Sweep, "epoch", interrupt)
        assert command(digit_cvae.EXPERIMENT, *flags, "--out", folder) == 130
    assert f"python -m experiments.digit_cvae --resume {folder}" in capsys.readouterr().err
    assert not (folder / "report.html").exists()
    assert command(digit_cvae.EXPERIMENT, "--resume", folder) == 0
    summaries = [json.loads((folder / s.name / "summary.json").read_text()) for s in digit_cvae.EXPERIMENT.studies]
    assert [(s["epochs"], s["members"][0]["seed"]) for s in summaries] == [(2, 3), (2, 3)]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--studies", "nonsense"), "studies has 'nonsense'; there are digit_cvae_mixup, digit_cvae"),
        (("--epochs", "0"), "epochs is 0"),
        (("--seeds",), "seeds is empty"),
        (("--resume", "{tmp}"), "it has no experiment.json"),
        (("--resume", "{tmp}/other"), "not one of digit_cvae"),
        (("--resume", "{tmp}/other", "--epochs", "2"), "not one of digit_cvae"),
        (("--devices", "9"), "devices is 9, but cpu has 8"),
        (("--resume", "{tmp}", "--out", "{tmp}/x"), "exclude each other"),
        (("--out", "{tmp}"), "not empty"),
    ],
)
def test_refused_in_one_line(tmp_path, command, capsys, flags, message):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "experiment.json").write_text('{"experiment": "other"}')
    assert command(digit_cvae.EXPERIMENT, *(flag.format(tmp=tmp_path) for flag in flags)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_without_the_document_s_data_the_digits_stand_in(monkeypatch, capsys):
    def unavailable(name, data_dir):
        raise Unavailable("it is not here")

    monkeypatch.setattr(data, "load", unavailable)
    assert with_fallback(list(STUDIES[:1]), DataFlags()).dataset == "digits"
    assert "the embedded digits, because it is not here" in capsys.readouterr().err
    asked = DataFlags(dataset="mnist")
    with pytest.raises(Unavailable):  # asked for by name: no replacement, and nothing is written
        with_fallback(list(STUDIES[:1]), asked)


def test_chosen():
    assert chosen(STUDIES, ()) == list(STUDIES)
    assert chosen(STUDIES, (STUDIES[1].name,)) == [STUDIES[1]]
    with pytest.raises(ConfigError, match="there are"):
        chosen(STUDIES, ("x",))


@pytest.mark.parametrize("name", [e.name for e in EXPERIMENTS] + ["reproduce"])
def test_help_explains_and_needs_no_jax(name):
    code = (
        f"import sys, runpy; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('experiments.{name}', run_name='__main__')\n"
        "except SystemExit: sys.exit('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    experiment = next((e for e in EXPERIMENTS[1:] if e.name == name), None)
    words = ["--seeds", *(["--betas"] if name == "beta_sweep" else ["--studies"])]
    words += [study.name for study in experiment.studies] if experiment else []
    for word in words:
        assert word in done.stdout


class TestReproduce:
    @pytest.fixture
    def here(self, tmp_path, monkeypatch):
        monkeypatch.setattr(reproduce, "HERE", tmp_path / "experiments")
        (tmp_path / "experiments" / "results").mkdir(parents=True)
        return tmp_path

    def run(self, *flags):
        return cli.main("reproduce", reproduce.Reproduce, reproduce.run, [str(flag) for flag in flags])

    def test_quick_trains_compares_and_skips_what_is_done(self, here, capsys, write_idx_files, random_arrays):
        write_idx_files(here / "data" / "mnist", random_arrays(train=130))
        flags = ("--quick", "--studies", "digit_cvae", "--work", here / "work", "--data-dir", here / "data")
        assert self.run(*flags) == 0
        page = (here / "work" / "quick" / "README.md").read_text()
        assert "2 of 40 epochs" in page
        assert (here / "work" / "quick" / "records" / "digit_cvae_class_samples.png").is_file()
        assert not list((here / "experiments" / "results").iterdir())
        assert "digit_cvae: right" in capsys.readouterr().err
        assert self.run(*flags) == 0
        assert "digit_cvae: right" not in capsys.readouterr().err

    def write_run(self, folder, epochs, betas=(1.0,)):
        """What is read of a finished run; its seeds are the last part of its name."""
        folder.mkdir(parents=True)
        (folder / "report.html").touch()
        seeds = map(int, folder.name.split("_seeds_")[1].split("_points_")[0].split("_"))
        scalars = dict.fromkeys(SCALARS, 1.0)
        members = [{"seed": seed, **scalars, "beta": beta} for seed in seeds for beta in betas]
        summary = {"complete": True, "epochs": epochs, "members": members, "diverged": 0}
        (folder / "summary.json").write_text(json.dumps(summary))

    def test_the_longest_runs_and_the_fullest(self, tmp_path):
        assert reproduce.longest(tmp_path) == {}
        study = digit_cvae.EXPERIMENT.studies[0]
        ones = dict.fromkeys(SCALARS, 1.0)
        study = replace(study, sweep=study.sweep.at_points([{**ones, "beta": 1.0}, {**ones, "beta": 2.0}]))
        assert reproduce.fullest(study, tmp_path) is None
        self.write_run(tmp_path / "5_epochs_seeds_0_1_2_3", 5)
        self.write_run(tmp_path / "40_epochs_seeds_0", 40)
        self.write_run(tmp_path / "40_epochs_seeds_0_1", 40)  # has the one before
        self.write_run(tmp_path / "40_epochs_seeds_2", 40)
        self.write_run(tmp_path / "50_epochs_seeds_2", 50)
        (tmp_path / "50_epochs_seeds_2" / "report.html").unlink()  # not finished
        assert reproduce.longest(tmp_path) == {
            tmp_path / "40_epochs_seeds_0_1": 2,
            tmp_path / "40_epochs_seeds_2": 1,
        }
        assert reproduce.fullest(study, tmp_path) is None  # they have one of two points, whatever their names say
        self.write_run(tmp_path / "30_epochs_seeds_2_points_0_1", 30, betas=(1.0, 2.0))
        self.write_run(tmp_path / "30_epochs_seeds_0_1_points_0_1", 30, betas=(1.0, 2.0))
        assert reproduce.fullest(study, tmp_path) == tmp_path / "30_epochs_seeds_0_1_points_0_1"
        self.write_run(tmp_path / "60_epochs_seeds_2_points_0", 60, betas=(1.0, 3.0))
        assert reproduce.longest(tmp_path) == {tmp_path / "60_epochs_seeds_2_points_0": 2}
        assert reproduce.fullest(study, tmp_path) == tmp_path / "30_epochs_seeds_0_1_points_0_1"

    def test_an_analysis_is_made_once_and_not_replaced_by_one_of_fewer_members(self, here):
        calls = []

        def analysis(folders, out):
            calls.append({name: [folder.name for folder in found] for name, found in folders.items()})
            return [], {"Table": {"header": ["a"], "rows": [[1]], "caption": "c"}}

        experiment = replace(digit_cvae.EXPERIMENT, studies=digit_cvae.EXPERIMENT.studies[:1], analysis=analysis)
        work, root = here / "work", here / "records"
        root.mkdir()
        assert reproduce.analysed(experiment, work, root, False) == {}
        runs = work / "digit_cvae_mixup"
        self.write_run(runs / "40_epochs_seeds_0", 40)
        self.write_run(runs / "40_epochs_seeds_1_2", 40)
        tables = reproduce.analysed(experiment, work, root, False)
        assert calls == [{"digit_cvae_mixup": ["40_epochs_seeds_0", "40_epochs_seeds_1_2"]}]
        assert reproduce.analysed(experiment, work, root, False) == tables  # kept
        (runs / "40_epochs_seeds_0" / "summary.json").unlink()
        assert reproduce.analysed(experiment, work, root, False) == tables  # fewer members
        assert len(calls) == 1
        self.write_run(runs / "40_epochs_seeds_4_5", 40)
        assert reproduce.analysed(experiment, work, root, True) == tables  # a dry run keeps
        assert len(calls) == 1
        reproduce.analysed(experiment, work, root, False)  # other runs, more members: made anew
        assert len(calls) == 2

    def test_an_analysis_that_cannot_be_made_leaves_what_there_is(self, here, monkeypatch, capsys):
        def analysis(folders, out):
            raise ConfigError("the run is of another version")

        monkeypatch.setattr(reproduce, "longest", lambda folder: {folder / "40_epochs_seeds_0": 1})
        kept = {"members": 0, "runs": {}, "tables": {"Table": {"header": ["a"], "rows": [[1]], "caption": "c"}}}
        (here / "digit_cvae_numbers.json").write_text(json.dumps(kept))
        (here / "work").mkdir()
        experiment = replace(digit_cvae.EXPERIMENT, analysis=analysis)
        assert reproduce.analysed(experiment, here / "work", here, False) == kept["tables"]
        assert "no analysis: the run is of another version" in capsys.readouterr().err

    def test_dry_run_says_what_is_missing_and_trains_nothing(self, here, capsys):
        assert self.run("--dry-run", "--seeds", 0, 1, "--work", here / "work") == 0
        error = capsys.readouterr().err
        assert "region_4: seeds 0, 1 missing" in error
        assert "lines with a verdict" in (here / "experiments" / "README.md").read_text()
        assert not (here / "work").exists()

    def test_only_the_points_that_are_missing_are_trained(self, here, monkeypatch, capsys):
        """Both points of seed 0 are there, one of seed 1."""
        trained = []

        def run_study(study, folder, changes, **rest):
            trained.append((folder.name, study.sweep.betas, study.sweep.learning_rates, changes.seeds))

        monkeypatch.setattr(reproduce, "run_study", run_study)
        monkeypatch.setattr(record, "add", lambda *arguments: None)
        study = next(study for study in STUDIES if study.name == "region_5_6")
        flags = to_json(flags_of(study, Changes()))
        curve, final = {"loss": [1.0] * 300, "reconstruction": [], "kl": []}, {"alive": True}
        members = [
            {
                "seed": seed,
                "hparams": study.sweep.points[point],
                "train": curve,
                "test": curve,
                "final": final,
                "run": 0,
            }
            for seed, point in ((0, 0), (0, 1), (1, 1))
        ]
        found = {"study": study.name, "parameters": 1, "layers": {}, "runs": [{"flags": flags}], "members": members}
        monkeypatch.setattr(record, "read", lambda root, asked: found if asked.name == study.name else None)
        monkeypatch.setattr(page, "write_readme", lambda *arguments: None)
        flags = ("--studies", study.name, "--work", here / "work", "--seeds", 0, 1)
        assert self.run(*flags, "--dry-run") == 0
        assert "region_5_6: seed 1 missing at 1 of 2 points" in capsys.readouterr().err
        assert self.run(*flags) == 0
        assert trained == [("300_epochs_seeds_1_points_0", (1.0,), (3e-4,), (1,))]

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (("--studies", "x"), "studies has 'x'"),
            (("--quick", "--max-epochs", "3"), "quick has its own"),
            (("--max-epochs", "0"), "max_epochs is 0"),
        ],
    )
    def test_refused(self, here, capsys, flags, message):
        assert self.run(*flags) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS[1:], ids=lambda e: e.name)
def test_every_experiment_runs_from_its_command(tmp_path, experiment):
    """With its last two studies."""
    studies = [study.name for study in experiment.studies[-2:]]
    flags = (*SHORT, "--studies", *studies, "--out", str(tmp_path / "run"))
    command = [sys.executable, "-m", f"experiments.{experiment.name}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
