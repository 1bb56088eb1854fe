import csv
import json
import os
import platform
import re
import subprocess
import sys

import pytest

from jaxvae import runs
from jaxvae.errors import ConfigError, FolderInUseError, RunFolderError


def test_a_new_folder_has_time_and_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (runs.new_folder("beta_sweep", None) for _ in range(2))
    assert first != second
    assert re.fullmatch(r"results/beta_sweep/\d{8}T\d{6}Z-[0-9a-f]{4}", str(first))
    assert first.is_dir()


def test_out_may_be_new_or_empty_but_nothing_is_overwritten(tmp_path):
    assert runs.new_folder("x", tmp_path / "a" / "b").is_dir()
    assert runs.new_folder("x", tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("mine")
    for taken, why in ((tmp_path / "a", "not empty"), (tmp_path / "file", "not a folder")):
        with pytest.raises(ConfigError, match=why):
            runs.new_folder("x", taken)
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(RunFolderError, match="run folder"):
        runs.new_folder("x", tmp_path / "file" / "below")


def test_write_json_is_strict_and_whole(tmp_path):
    path = tmp_path / "a.json"
    runs.write_json(path, {"nan": float("nan"), "list": (1, float("inf")), "path": tmp_path})
    assert json.loads(path.read_text()) == {"nan": None, "list": [1, None], "path": str(tmp_path)}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert runs.read_json(path)["nan"] is None


def test_errors_are_one_line(tmp_path):
    with pytest.raises(RunFolderError, match="cannot be written"):
        runs.write_json(tmp_path / "missing" / "a.json", {})
    with pytest.raises(RunFolderError, match="cannot be read"):
        runs.read_json(tmp_path / "a.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(RunFolderError, match="not valid JSON"):
        runs.read_json(tmp_path / "bad.json")


def test_metrics_keep_all_digits_and_leave_blank_what_a_split_lacks(tmp_path):
    row = {
        "member": 0, "seed": 1, "learning_rate": 1e-3, "beta": 4.0, "variance": 0.5, "epoch": 1, "split": "train",
        "loss": 0.1 + 0.2, "reconstruction": 0.1, "kl": 0.05, "alive": True,
    }  # fmt: skip
    runs.write_metrics(tmp_path / "metrics.csv", [row])
    (read,) = csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines())
    assert float(read["loss"]) == 0.1 + 0.2
    assert read["ssim"] == ""
    assert tuple(read) == runs.COLUMNS


def test_the_processor_is_named_where_the_system_tells(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: Fast 9000: new\nprocessor\t: 1\nmodel name\t: Fast 9000: new\n")
    assert runs._processor(path) == "Fast 9000: new"
    assert runs._processor(tmp_path / "missing") == platform.processor()


def test_environment_names_what_numbers_depend_on():
    environment = runs.environment()
    assert environment["backend"] == "cpu"
    assert {"jaxvae", "jax", "flax", "optax"} <= environment["versions"].keys()
    json.dumps(environment)


def test_a_commit_is_marked_where_code_has_changed_not_results(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(("git", "-C", tmp_path, *identity, *arguments), check=True, capture_output=True)

    def commit():
        return runs.environment()["commit"]

    (tmp_path / "package").mkdir()
    code, result = tmp_path / "package" / "runs.py", tmp_path / "result.json"
    monkeypatch.setattr(runs, "__file__", str(code))
    code.touch()
    result.touch()
    assert commit() is None  # not a checkout
    git("init")
    git("add", ".")
    git("commit", "-m", "a")
    clean = commit()
    assert re.fullmatch("[0-9a-f]{12}", clean)
    result.write_text("{}")
    assert commit() == clean
    code.write_text("x = 1")
    assert commit() == f"{clean}-dirty"


def test_a_lock_dies_with_its_owner_and_says_who_that_is(tmp_path):
    code = "import sys; from pathlib import Path; from jaxvae import runs\n"
    code += "with runs.in_use(Path(sys.argv[1])): print(1, flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "1\n"
    with (
        pytest.raises(FolderInUseError, match=rf"in use by process {child.pid} on {platform.node()}"),
        runs.in_use(tmp_path),
    ):
        pass
    child.kill()
    child.communicate()
    with runs.in_use(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"process {os.getpid()} on {platform.node()}\n"


def test_a_lock_is_no_link_and_its_text_reaches_no_terminal(tmp_path):
    (tmp_path / "other").write_text("not ours")
    (tmp_path / ".lock").symlink_to(tmp_path / "other")
    with pytest.raises(RunFolderError, match=r"\.lock: cannot be written"), runs.in_use(tmp_path):
        pass
    assert (tmp_path / "other").read_text() == "not ours"
    (tmp_path / ".lock").unlink()
    with runs.in_use(tmp_path):
        (tmp_path / ".lock").write_text("\x1b[31mred\n")
        with pytest.raises(FolderInUseError, match=r"in use by \\x1b\[31mred"), runs.in_use(tmp_path):
            pass


def test_a_folder_that_holds_nothing_but_a_lock_is_empty(tmp_path):
    with runs.in_use(tmp_path / "run", make=False):
        assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    with runs.in_use(tmp_path / "run"):
        pass
    assert runs.new_folder("x", tmp_path / "run") == tmp_path / "run"
