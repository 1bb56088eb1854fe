"""What is compared to find costs: each function of a pair does what its name says, and nothing else."""

from dataclasses import replace

import pytest

from experiments.speed import costs
from experiments.speed.__main__ import study_of
from experiments.speed.rounds import Round, Rounds
from jaxvae.fit import Sweep
from jaxvae.flags import DataFlags


@pytest.fixture
def compared(monkeypatch, tmp_path):
    """For each pair, and each of the two: evaluations, lines of metrics.csv written, folders of checkpoints."""
    monkeypatch.setattr(costs, "compile_times", lambda study: (1.0,) * 4)
    monkeypatch.setattr(costs, "TemporaryDirectory", lambda: Folder(tmp_path))
    evaluated, found = [], []
    evaluate = Sweep.evaluate
    monkeypatch.setattr(Sweep, "evaluate", lambda self, state: evaluated.append(1) or evaluate(self, state))

    def in_turns(functions, count, *, limit):
        done = []
        for function in functions:
            evaluated.clear()
            before = files(tmp_path)
            function()
            done.append((len(evaluated), files(tmp_path) - before))
        found.append(done)
        return Rounds([Round((20.0,) * len(functions), (30.0,) * len(functions), None)], [0])

    monkeypatch.setattr(costs, "in_turns", in_turns)
    study = study_of("A", DataFlags(dataset="digits", limit=40))
    study = replace(study, sweep=replace(study.sweep, epochs=2))
    return costs.costs(study), found


class Folder:
    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return str(self.path)

    def __exit__(self, *exception):
        pass


def files(folder):
    """Lines of all metrics.csv."""
    return sum(len(path.read_text().splitlines()) - 1 for path in folder.rglob("metrics.csv"))


@pytest.mark.slow
def test_pairs_differ_in_what_they_are_compared_for(compared):
    found, (evaluation, command_files, sweep) = compared
    assert evaluation == [(0, 0), (1, 0)]
    assert command_files == [(3, 0), (3, 2 * 3)]  # three epochs; train and test lines
    assert sweep == [(1, 2), (1, 2 * costs.SWEEP)]
    assert found.sweep_epochs == 1
