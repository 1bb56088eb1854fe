"""A model trained in turns, by contestants that only say how long an epoch took."""

from itertools import count

import pytest

from experiments.speed import rounds, training
from experiments.speed.contestants import NAMES, Task
from experiments.speed.ours import Epoch


class Stub:
    """A contestant whose first timed epoch the host disturbs, as `watched` says below."""

    asked: list

    def __init__(self, name, task):
        self.name, self.age, self.numbers = name, 1.5, count()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def ask(self, what, *arguments):
        if what != "epoch":
            return {"draws": arguments, "memory": 7, "peak": 9.0, "environment": self.name}[what]
        Stub.asked.append((self.name, arguments))
        return Epoch(1.0, float(next(self.numbers)), ())


@pytest.fixture
def trained(monkeypatch):
    Stub.asked = []
    monkeypatch.setattr(training, "Contestant", Stub)
    disturbed = (None, 0.2, 0.0, 0.0)  # by epoch

    def watched(function):
        epoch = function()
        return epoch, epoch.seconds, disturbed[int(epoch.seconds)]

    monkeypatch.setattr(training, "watched", watched)
    dealer = Stub("jaxvae", None)
    return training.train_in_turns(Task(None, None), 2, dealer, lambda text: None)


def test_rounds_that_count_are_numbered_as_their_epochs(trained):
    assert trained.counted == [2, 3]
    assert [epoch.stolen for epoch in trained.epochs["jaxvae"]] == [None, 0.2, 0.0, 0.0]
    assert [trained.epochs["PyTorch, tuned"][number].seconds for number in trained.counted] == [2.0, 3.0]


def test_another_begins_each_round_and_all_take_its_draws(trained):
    names = [name for name, _ in Stub.asked]
    first, second, third = NAMES
    assert names == [*NAMES, second, third, first, third, first, second, *NAMES]
    drawn = [arguments for name, arguments in Stub.asked if name == second]
    assert drawn == [((1,),), ((2,),), ((3,),), ((4,),)]
    assert all(arguments == () for name, arguments in Stub.asked if name == "jaxvae")


def test_what_surrounds_them_is_asked_of_each(trained):
    assert trained.memory == dict.fromkeys(NAMES, 7)
    assert trained.peaks == {"jaxvae": 9.0, "PyTorch, tuned": 9.0}
    assert trained.started == dict.fromkeys(NAMES, 1.5)
    assert rounds.undisturbed([0.2, 0.0, 0.0], 2) == [1, 2]
