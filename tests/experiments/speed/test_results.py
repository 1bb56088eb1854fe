"""The front page shows the table of one recorded run."""

import json
from pathlib import Path

import experiments

HERE = Path(experiments.__file__).parent
RESULTS = HERE / "results" / "speed"


def test_the_front_page_has_the_recorded_table():
    table, *_ = (RESULTS / "speed.md").read_text().split("\n\n")
    _, _, *rows = table.splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| A", "| B", "| C", "| D"]
    differ = [row.split(" | ")[0] for row in rows if "| agree: " not in row]
    assert differ == ["| D"]  # in this record; README says why
    assert table in (HERE.parent / "README.md").read_text()


def test_the_record_is_of_committed_code_and_names_the_machine():
    recorded = json.loads((RESULTS / "environment.json").read_text())
    assert set(recorded) == {"A", "B", "C", "D"}
    assert len({environment["jaxvae"]["commit"] for environment in recorded.values()}) == 1
    assert len({environment["jaxvae"]["processor"] for environment in recorded.values()}) == 1
    for environment in recorded.values():
        ours = environment["jaxvae"]
        assert ours["backend"] == "cpu"
        assert ours["processor"]
        assert ours["cpu_count"] >= 1
        assert not ours["commit"].endswith("-dirty")
        assert environment["PyTorch, tuned"]["threads"] >= 1
