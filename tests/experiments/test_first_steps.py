"""The table of first steps by a hand-made record."""

from experiments.first_steps import EXPERIMENT, table
from jaxvae.flags import SCALARS, SweepFlags

DEFAULTS = {name: getattr(SweepFlags(), flag)[0] for name, flag in SCALARS.items()}


def member(rate, kl, *, alive=True, warmup=0.0):
    hparams = {**DEFAULTS, "learning_rate": rate, "warmup_steps": warmup}
    return {"hparams": hparams, "train": {"kl": kl, "loss": kl}, "final": {"alive": alive}}


def test_a_row_for_each_rate_and_warm_up():
    members = [
        *(member(0.01, [kl]) for kl in (4.0, 3.0, 1e12)),
        *(member(0.005, [kl]) for kl in (1.0, 2.0)),
        member(0.01, [7.0, 8.0], warmup=6.0),
        member(0.02, [None], alive=False),
        member(0.02, [5.0]),
        member(0.04, [None], alive=False),
    ]
    _, header, rows = table({"starts": {"members": members}})
    title = EXPERIMENT.studies[0].title
    assert all(len(row) == len(header) for row in rows)
    assert rows == [
        (title, "0.005", "0", "1", "0 of 2", "1", "1.5", "2"),
        (title, "0.01", "0", "1", "0 of 3", "3", "4", "1e+12"),
        (title, "0.02", "0", "1", "1 of 2", "5", "5", "5"),
        (title, "0.04", "0", "1", "1 of 1", "–", "–", "–"),
        (title, "0.01", "6", "2", "0 of 1", "8", "8", "8"),
    ]
