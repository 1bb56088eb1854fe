"""The command line: errors in one line, exit codes, arguments that nobody means; and fuzzed ones."""

import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from experiments.beta_sweep import BetaSweep
from jaxvae import cli
from jaxvae.errors import CheckpointError, ConfigError, DivergedError, FolderInUseError, LostProcessError, printable
from jaxvae.flags import DataFlags, RunFlags, SweepFlags
from tests.soak import arguments


def command(*argv, run=lambda flags: None, **named):
    return cli.main("beta_sweep", BetaSweep, run, list(argv), **named)


MESSAGES = {
    "a typo": (("--bettas", "1"), "Unrecognized options: --bettas, 1; perhaps you meant --betas; see --help"),
    "no such command": (("train",), "Unrecognized options: train; see --help"),
    "a flag after --": (
        ("--", "--betas", "1"),
        "Unrecognized options: --betas, 1; perhaps you meant --betas; see --help",
    ),
    "not a number": (("--betas", "x"), "--betas: Could not find valid parse for arguments: ['x']; see --help"),
    "not a whole number": (("--limit", "1e3"), "--limit: '1e3' is no INT; see --help"),
    "infinitely many": (("--epochs", "1e999"), "--epochs: '1e999' is no INT; see --help"),
    "no value": (("--out",), "Missing value for argument '--out'. Expected 1 values; see --help"),
    "no values": (("--betas",), "betas is empty; name at least one"),
    "a flag for a value": (("--out", "-h"), "Missing value for argument '--out'. Expected 1 values; see --help"),
    "no such choice": (
        ("--dataset", "cifar"),
        "invalid choice 'cifar' for argument '--dataset'. Expected one of ('auto', 'mnist', 'fashion_mnist', "
        "'digits'); see --help",
    ),
    "not a number at all": (("--betas", "1", "nan"), "betas is nan; it must lie between 0.0 and 1000000.0"),
    "too large": (("--betas", "1e400"), "betas is inf; it must lie between 0.0 and 1000000.0"),
    "negative": (("--seeds", "-1"), "seeds is -1; it must lie between 0 and 4294967295"),
    "none": (("--limit", "0"), "limit is 0; it must lie between 1 and 1000000000"),
    "no device": (("--devices", "0"), "devices is 0; it must lie between 1 and 1000000"),
    "a huge seed": (("--seeds", "9" * 60), "seeds is 0x9f4f2726179a224501...; it must lie between 0 and 4294967295"),
    "empty": (("--out", ""), "argument 2 is empty: ''; give a value, or leave the flag out"),
    "empty behind =": (("--out=",), "argument 1 is empty: '--out='; give a value, or leave the flag out"),
    "an escape": (("--out", "a\x1b[31mb"), r"argument 2 has control characters or undecodable bytes: a\x1b[31mb"),
    "a newline": (("--bet\nas",), r"argument 1 has control characters or undecodable bytes: --bet\nas"),
    "NUL": (("--data-dir", "a\0b"), r"argument 2 has control characters or undecodable bytes: a\x00b"),
    "not UTF-8": (("--resume", "a\udc80"), r"argument 2 has control characters or undecodable bytes: a\udc80"),
    "right to left": (("--out", "a\u202eb"), r"argument 2 has control characters or undecodable bytes: a\u202eb"),
    "tyro's own": (
        ("--tyro-write-completion", "bash", "here"),
        "Unrecognized options: --tyro-write-completion; see --help",
    ),
}


@pytest.mark.parametrize(("argv", "message"), MESSAGES.values(), ids=MESSAGES)
def test_bad_arguments_are_one_line(tmp_path, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(tmp_path)
    assert command(*argv, run=lambda flags: pytest.fail("it runs")) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "argument", ["x" * 4096, "x" * 100_000, "a/" * 2000, "9" * 4000, "日" * 3000, "--" + "betas" * 800]
)
def test_a_very_long_argument_is_shortened(capsys, argument):
    assert command("--seeds", argument) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert len(line) < 1000


def test_a_member_too_many_needs_no_time(capsys):
    thousand = [str(number) for number in range(1, 1001)]
    assert command("--betas", *thousand, "--variances", *thousand, "--learning-rates", *thousand) == 2
    assert capsys.readouterr().err == (
        "error: the sweep has 1000000000 members, more than 10000; give fewer values or seeds\n"
    )


@pytest.mark.parametrize("argv", [("-h",), ("--betas", "1", "--help"), ("--bettas", "-h")])
def test_help_exits_with_0(capsys, argv):
    with pytest.raises(SystemExit) as end:
        command(*argv)
    assert not end.value.code
    assert "--betas" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("so"), 2),
        (CheckpointError("so"), 4),
        (DivergedError("so"), 5),
        (OSError(28, "so"), 6),
        (FolderInUseError("so"), 7),
        (LostProcessError("so"), 8),
    ],
)
def test_each_error_has_its_code(capsys, error, code):
    def fail(flags):
        raise error

    assert command(run=fail) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert command("--debug", run=fail) == code
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last == line


def test_an_interruption_has_its_code_and_says_nothing(capsys):
    def interrupt(code=None):
        error = KeyboardInterrupt()
        if code:
            error.code = code
        raise error

    assert command(run=lambda flags: interrupt()) == 130
    assert command(run=lambda flags: interrupt(143)) == 143
    assert capsys.readouterr() == ("", "")


def test_a_bug_is_not_hidden():
    def bug(flags):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command(run=bug)


def test_errors_are_printed_so_that_no_terminal_acts_on_them(capsys):
    def fail(flags):
        raise ConfigError("\x1b]0;title\x07\nerror: none\r\u202e\udc80 caf\xe9 \u65e5")

    assert command(run=fail) == 2
    assert capsys.readouterr().err == r"error: \x1b]0;title\x07\nerror: none\r\u202e\udc80 café 日" + "\n"

    assert command("--debug", run=fail) == 2
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(capsys.readouterr().err)

    def fail_at_a_file(flags):
        raise FileNotFoundError(2, "No such file", "a\x9bb")

    assert command(run=fail_at_a_file) == 6
    assert capsys.readouterr().err == r"error: a\x9bb: No such file" + "\n"


def test_printable():
    assert printable("plain é 日本 👩 \\n │") == "plain é 日本 👩 \\n │"
    assert printable("\0\t\x7f\x85\u2028\u2029\u061c\u200e\u2066\ud800") == (
        r"\x00\t\x7f\x85\u2028\u2029\u061c\u200e\u2066\ud800"
    )


class TestResumed:
    """Flags that are not given have the values of the run that goes on."""

    SAVED = BetaSweep(
        sweep=SweepFlags(betas=(2.0, 5.0), learning_rates=(1e-3, 2e-3), paired=True, epochs=7, batch_size=16),
        data=DataFlags("digits", data_dir=Path("there"), limit=50),
        run=RunFlags(resume=Path("run"), checkpoint_every=3),
    )

    def flags(self, *argv, saved=SAVED):
        found = []
        assert command(*argv, run=found.append, resumed=lambda flags: saved if flags.run.resume else None) == 0
        return found[0]

    def test_all_of_them(self):
        assert self.flags("--resume", "run") == self.SAVED

    def test_but_those_that_are_given(self):
        found = self.flags("--resume", "run", "--epochs", "9", "--betas", "3", "--data-dir", "here")
        sweep = replace(self.SAVED.sweep, epochs=9, betas=(3.0,))
        assert found == replace(self.SAVED, sweep=sweep, data=replace(self.SAVED.data, data_dir=Path("here")))

    def test_none_of_a_new_run(self):
        assert self.flags("--betas", "3") == BetaSweep(sweep=SweepFlags(betas=(3.0,)))

    def test_its_errors_and_those_of_both_together_are_one_line(self, capsys):
        def refuse(flags):
            raise ConfigError("not a run folder")

        assert command("--resume", "x", resumed=refuse) == 2
        assert command("--resume", "x", "--betas", "1", "2", "3", resumed=lambda flags: self.SAVED) == 2
        assert capsys.readouterr().err.splitlines() == [
            "error: not a run folder",
            "error: betas has 3 values, learning_rates has 2 values; with paired, give as many of each, or one",
        ]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_typo_in_a_process_of_its_own(encoding):
    """Where stdout is ASCII, tyro draws no box."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    arguments = [sys.executable, "-m", "experiments.beta_sweep", "--bettas", "1"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: Unrecognized options: --bettas, 1; perhaps you meant --betas; see --help\n"


@dataclass(frozen=True)
class Other:
    """Flags of a single kind."""

    names: tuple[str, ...] = field(default_factory=tuple)
    """Names."""


def test_other_flags_than_a_sweeps(capsys):
    found = []
    assert cli.main("other", Other, found.append, ["--names", "a", "b"]) == 0
    assert found == [Other(("a", "b"))]
    assert cli.main("other", Other, found.append, ["--nam", "a"]) == 2
    assert "perhaps you meant --names" in capsys.readouterr().err


def test_fuzzed_command_lines(tmp_path):
    """A short form of `python -m tests.soak arguments`."""
    found = arguments.run(300, seed=0, work=tmp_path)
    assert found.failures == []
    assert found.figures["command lines"] == 300
    assert found.figures["processes"] >= 2
    assert found.figures["exit codes"]["would train"] > 20  # what is valid is not refused


@pytest.mark.parametrize(
    "ended",
    [
        arguments.Ended("ValueError", "", "Traceback"),
        arguments.Ended("hang", "", ""),
        arguments.Ended(1, "", "error: so\n"),
        arguments.Ended(2, "", ""),
        arguments.Ended(2, "", "so\n"),
        arguments.Ended(2, "", "error: so\nerror: and so\n"),
        arguments.Ended(2, "", f"error: {'x' * 2000}\n"),
        arguments.Ended(2, "", "error: \x1b[31m\n"),
        arguments.Ended(0, "\u202e", ""),
    ],
)
def test_the_fuzz_notices_a_bad_end(ended):
    """The negative control."""
    assert list(arguments.wrong(ended))


def test_the_fuzz_notices_what_is_written_elsewhere(tmp_path):
    place = arguments.prepare(tmp_path / "place")
    before = place.files()
    (place.here / "new" / "deeper").mkdir(parents=True)
    (place.here / "new" / "deeper" / "file").touch()
    (place.area / "home" / "file").touch()
    assert arguments.written(place, before, [Path("new/deeper")]) == [f"writes {place.area / 'home' / 'file'}"]
    assert place.files() == before  # what is new is gone
    (place.here / "file").write_text("changed")
    assert arguments.written(place, before, []) == [f"writes {place.here / 'file'}"]
