"""The soak's parts by their shortest forms; `python -m tests.soak` takes longer, and is not so easily satisfied."""

import re
from pathlib import Path

import pytest

from tests.soak import damage, full, kills, stops
from tests.soak.__main__ import PARTS

ROOT = Path(__file__).parents[1]


def test_every_part_can_be_asked_for():
    modules = {path.stem for path in (ROOT / "tests" / "soak").glob("*.py") if "\ndef run(" in path.read_text()}
    assert set(PARTS) == modules
    named = re.findall(r"tests\.soak ([a-z_]+)", (ROOT / "README.md").read_text())
    assert set(named) == modules


def test_damage(tmp_path):
    outcome = damage.run(2 * len(damage.DAMAGES), 1, tmp_path)
    assert not outcome.failures
    assert outcome.figures["the older one restored"] == 2


def test_a_wrong_restore_would_be_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxvae.checkpoint.damage", lambda folder: None)
    monkeypatch.setattr("jaxvae.checkpoint.compare", lambda path, found, wanted: None)
    for kind in set(damage.DAMAGES) - {"renamed", "another run's"}:  # whose files Orbax reads without a complaint
        monkeypatch.delitem(damage.DAMAGES, kind)
    outcome = damage.run(4, 1, tmp_path)
    assert outcome.figures["WRONG RESTORES"] == len(outcome.failures) == 4


@pytest.mark.slow
@pytest.mark.parametrize(("part", "count"), [(kills, 5), (stops, 2), (full, 2)])
def test_processes(tmp_path, part, count):
    outcome = part.run(count, 3, tmp_path)
    assert not outcome.failures
    assert any(outcome.figures.values())
