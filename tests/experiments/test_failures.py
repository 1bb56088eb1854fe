"""The table of failures by hand-made records."""

from dataclasses import replace

import pytest

from experiments import failures
from experiments.study import Failure, Study
from jaxvae.config import Config
from jaxvae.flags import SCALARS, SweepFlags

DEFAULTS = {name: getattr(SweepFlags(), flag)[0] for name, flag in SCALARS.items()}
SWEEP = SweepFlags(epochs=2, batch_size=8)
HERE = {"variance": 0.2, "warmup_steps": 0.0}
FAILURE = Failure("explodes", HERE, {**HERE, "warmup_steps": 9.0}, best=(0.8, 0.01))
STUDY = Study("study", "title", SWEEP, Config(), failures=(FAILURE,))


def member(ssim=0.9, mse=0.005, *, warmup=0.0, kl=(50.0, 3.0), alive=True):
    final = {"sampled_ssim_uniform": ssim, "sampled_mse": mse, "alive": alive}
    hparams = {**DEFAULTS, "variance": 0.2, "warmup_steps": warmup}
    return {"hparams": hparams, "train": {"kl": list(kl)}, "final": final}


def test_the_document_s_setting_and_ours():
    found = {"study": {"members": [member(0.5, 0.5, alive=False, kl=[None]), member(0.7, 0.02), member(warmup=9.0)]}}
    theirs, ours = failures.rows([STUDY, replace(STUDY, failures=())], found)
    assert theirs == ("title", "σ² = 0.2, warm-up = 0", "explodes", "1 of 2", "50.0", "0.7000", "0.02000", "")
    assert ours[1:6] == ("σ² = 0.2, warm-up = 9", "", "0 of 1", "50.0", "0.9000")
    assert ours[-1] == "yes (0.8, 0.01)"


@pytest.mark.parametrize(
    ("members", "answer"),
    [
        ([member(0.9, 0.02)], "no"),
        ([member(0.7, 0.005)], "no"),
        ([member(), member(alive=False)], "no"),
        ([member(), member()], "yes"),
    ],
)
def test_better_means_both_metrics_and_every_seed(members, answer):
    assert failures.beats(members, FAILURE).startswith(answer)


def test_what_is_not_trained_says_so():
    rows = failures.rows([STUDY], {})
    assert [row[3:] for row in rows] == [("–", "–", "–", "–", ""), ("–", "–", "–", "–", "not trained yet")]
