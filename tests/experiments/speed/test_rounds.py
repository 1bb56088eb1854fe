"""Rounds, and what a virtual machine's host takes from them."""

import os

import pytest

from experiments.speed import rounds
from experiments.speed.rounds import enough, in_turns, rotated, stolen_seconds, undisturbed, watched


def test_rounds_count_that_the_host_left_alone_or_else_the_least_disturbed():
    assert undisturbed([0.0, 0.05, 0.06, 0.01], 3) == [0, 1, 3]
    assert undisturbed([0.0, 0.05, 0.06, 0.01], 2) == [0, 1, 3]
    assert undisturbed([0.3, 0.05, 0.2, 0.1], 2) == [1, 3]
    assert undisturbed([0.3, 0.2], 0) == []


def test_rounds_are_enough_when_so_many_count_or_three_times_as_many_were_tried():
    assert not enough([], 1)
    assert not enough([0.0, 0.06], 2)
    assert enough([0.0, 0.06, 0.0], 2)
    assert not enough([0.1] * 5, 2)
    assert enough([0.1] * 6, 2)


@pytest.fixture
def clock(monkeypatch):
    """Two functions that take 1 and 2 s; in the first round the host takes a tenth of the second one's time."""
    now = {"seconds": 0.0, "stolen": 0.0}
    calls = []

    def function(name, seconds, stolen):
        def call():
            calls.append(name)
            now["seconds"] += seconds
            now["stolen"] += stolen if len(calls) <= 2 else 0.0
            return name

        return call

    monkeypatch.setattr(rounds, "perf_counter", lambda: now["seconds"])
    monkeypatch.setattr(rounds, "process_time", lambda: 1.5 * now["seconds"])
    monkeypatch.setattr(rounds, "stolen_seconds", lambda: now["stolen"] * 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    return calls, [function("short", 1.0, 0.0), function("long", 2.0, 0.2)]


def test_functions_take_turns_until_rounds_count_and_another_begins_each(clock):
    calls, functions = clock
    found = in_turns(functions, 2)
    first, *others = found.tried
    assert first == ((1.0, 2.0), (1.5, 3.0), pytest.approx(0.1))
    assert others == [((1.0, 2.0), (1.5, 3.0), 0.0)] * 2
    assert found.numbers == [1, 2]
    assert found.counted == found.tried[1:]
    assert calls == ["short", "long", "long", "short", "short", "long"]


def test_without_quiet_rounds_in_time_the_others_count(clock):
    calls, functions = clock
    assert in_turns(functions, 2, limit=3.0).counted == [((1.0, 2.0), (1.5, 3.0), pytest.approx(0.1))]
    assert calls == ["short", "long"]


def test_another_begins_each_round():
    assert [rotated("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_what_was_taken_is_not_known_everywhere(clock, monkeypatch):
    _, (short, _) = clock
    assert watched(short) == ("short", 1.0, 0.0)
    monkeypatch.setattr(rounds, "stolen_seconds", lambda: None)
    assert watched(short) == ("short", 1.0, None)
    assert in_turns([short], 1).counted == [((1.0,), (1.5,), None)]


def test_stolen_time_is_read_from_the_processors_line(tmp_path):
    (tmp_path / "stat").write_text("cpu  100 0 50 1000 1 0 2 300 0 0\ncpu0 50 0 25 500 0 0 1 150 0 0\n")
    assert stolen_seconds(tmp_path / "stat") == 300 / os.sysconf("SC_CLK_TCK")
    assert stolen_seconds(tmp_path / "nothing") is None
