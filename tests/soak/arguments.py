"""Fuzzed command lines: real flags, misspelt and broken, with values that nobody means.

Each must end in a documented exit code, after at most one line of error, and write into its run folder only. The first
part is in process, up to where training would begin; some that fail are given to real processes as well.
"""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from experiments import beta_sweep, command, digit_cvae, reproduce
from experiments.study import Changes
from jaxvae import cli, data, experiment, runs
from jaxvae.errors import JaxvaeError
from jaxvae.flags import ComputeFlags, DataFlags, SweepFlags, to_json
from tests.soak.data_files import write_valid_files
from tests.soak.outcome import Outcome

ROOT = Path(__file__).parents[2]
PROMISE = "every command line ends in a documented exit code and at most one line of error, and writes nowhere else"
CODES = {0, 2, 3, 4, 5, 6, 7, 8, 130, 143}
SECONDS = 10  # for one in process
PROCESS_SECONDS = 120

SHARED = (
    *("--dataset digits", "--dataset mnist", "--dataset auto", "--dataset fashion_mnist", "--limit 96", "--epochs 2"),
    *("--data-dir ../../data", "--rgb", "--seeds 0 1", "--devices 1", "--data-on host", "--out new", "--out a/b"),
)
FLAGS = {
    "beta_sweep": (
        *SHARED,
        *("--betas 1 4", "--betas 0.5", "--learning-rates 1e-3", "--warmup-steps 5", "--variances 0.1 0.5", "--paired"),
        *("--white-thresholds 0.5", "--white-weights 2", "--black-weights 1", "--batch-size 16", "--conditional"),
        *("--architecture dense", "--noise none", "--latent-dim 2", "--reconstruction bernoulli", "--logvar-bound 10"),
        *("--initializer gaussian", "--member-axis vmap", "--lowering gemm", "--checkpoint-every 2"),
        "--resume runs/begun",
    ),
    "digit_cvae": (*SHARED, "--studies digit_cvae", "--studies digit_cvae_mixup", "--resume runs/begun"),
    "reproduce": (
        *("--studies digit_cvae", "--seeds 0 1", "--max-epochs 3", "--quick", "--dry-run", "--work work"),
        *("--data-dir ../../data", "--studies latent_plane fashion_cvae_mlp"),
    ),
}
PATHS = ("--out new", "--out a/b", "--resume runs/begun", "--data-dir ../../data", "--work work")
NUMBERS = (
    *("nan", "inf", "-inf", "1e400", "-0", "-1", "0", "1e3", "1e-400", "1e999", "0x10", "1_0", "+1", "1.", "١٢", "1 2"),
    *("4294967295", "4294967296", "None", "True", "[]", "1,2", "9" * 400, "1" + "0" * 4000, "1" + "0" * 5000),
)
NAMES = (
    *("../x", "../../x", "new", ".", "..", "/", "taken", "file", "file/x", "loop", "loop/x", "dangling", "dangling/x"),
    *("pipe", "link", "link/x", "{place}/new", "/dev/null", "/dev/null/x", "/proc/x", "/sys/x", "~", "~nobody/x"),
    *(
        "runs",
        "work",
        "taken/../../x",
        "x" * 255,
        "x" * 256,
        "a/" * 2000,
        "x" * 4097,
        "x" * 100_000,
        "../" * 20 + "proc/x",
    ),
)
TEXTS = (
    *("", " ", "-", "--", "---", "=", "--=", "-h", "--help", "--out", "--out=", "--debug", "--no-debug", "train", "*"),
    *("\\", "'", '"', "@file", "%s%n", "{0}", "--coordinator", "host:1", "HOST:", "--process-id", "日本語", "ß", "𝔘"),
    *(
        "e\u0301",
        "\u202eabc",
        "\x1b[31mred",
        "\x1b]0;title\x07",
        "a\nb",
        "a\rb",
        "\t",
        "\0",
        "\udc80",
        "\ud800",
        "\u2028",
    ),
    *("\x7f", "\x9b31m", "│ ─ │", "$(touch x)", "; touch x", "--tyro-write-completion", "--tyro-print-completion"),
)
FILES = (  # in the place of the settings of a run that is resumed
    *("", "[]", "null", "{", '{"experiment": "beta_sweep"}', '{"experiment": "\\u001b[31m", "flags": {}}', "\0", "NaN"),
    *("[" * 100_000, '{"a":' * 50_000, "1" * 5000, '{"experiment": "digit_cvae", "studies": ["../x"], "changes": {}}'),
    *('"\\ud800"', '{"experiment": ["beta_sweep"]}', '{"experiment": "digit_cvae", "studies": 1, "changes": null}'),
)
LETTERS = "\0\x1b\n\r\t\x7f\x9b\u202e\udc80\u2028é日=-\\\"' "


class Reached(JaxvaeError):
    """Training would begin."""

    exit_code = 0


class Hang(BaseException):
    """It took too long."""


class Ended(NamedTuple):
    """What became of a command line."""

    code: Any
    out: str
    error: str


class Place(NamedTuple):
    """Where the commands run: an area of which every file is known."""

    area: Path
    here: Path
    environment: dict[str, str]

    def files(self) -> dict[Path, tuple[int, int]]:
        """Whatever there is in the area; of files, size and time."""
        found = {}
        for folder, folders, names in os.walk(self.area):
            for path in (Path(folder, name) for name in (*folders, *names)):
                state = path.lstat()
                found[path] = (0, 0) if path.is_dir() else (state.st_size, state.st_mtime_ns)
        return found


def run(count: int, seed: int, work: Path) -> Outcome:
    """`count` command lines in process, and of those that fail a fiftieth as processes."""
    place, rng = prepare(work / "place"), random.Random(seed)
    vectors = [vector(rng, place) for _ in range(count)]
    codes, failures, failed, slowest = Counter[Any](), [], [], 0.0
    with inside(place) as folders:  # in which training would begin
        before = place.files()
        for name, argv in vectors:
            folders.clear()
            begun = time.monotonic()
            ended = in_process(name, argv)
            slowest = max(slowest, time.monotonic() - begun)
            codes["would train" if folders else ended.code] += 1
            found = [*wrong(ended, argv), *written(place, before, folders)]
            failures += [f"{name} {shown(argv)}: {what}" for what in found]
            if isinstance(ended.code, int) and ended.code and is_executable(argv):
                failed.append((name, argv, ended.code))
    process_codes = Counter[Any]()
    rng.shuffle(failed)
    number = max(2, count // 50)
    further = [k for k, failure in enumerate(failed) if failure[2] != 2][: number // 2]
    order = [*further, *(k for k in range(len(failed)) if k not in further)]
    for name, argv, code in (failed[k] for k in order[:number]):
        ended = as_process(name, argv, place)
        process_codes[ended.code] += 1
        found = [*wrong(ended, argv), *written(place, before, [])]
        if ended.code != code:
            found.append(f"exit code {ended.code}, but {code} in process: {ended.error[-300:]!r}")
        failures += [f"process {name} {shown(argv)}: {what}" for what in found]
    figures = {
        "command lines": count,
        "exit codes": dict(codes.most_common()),
        "slowest": f"{slowest:.1f} s",
        "processes": sum(process_codes.values()),
        "their exit codes": dict(process_codes.most_common()),
    }
    return Outcome(PROMISE, figures, failures)


def prepare(area: Path) -> Place:
    """Files, links and run folders to come across, valid data, and an environment that points nowhere else."""
    here = area / "a" / "b"
    for folder in (here / "taken", here / "runs", area / "outside", area / "home", area / "cache"):
        folder.mkdir(parents=True)
    for path in (here / "file", here / "taken" / "x", area / "outside" / "x"):
        path.write_text("kept")
    (here / "loop").symlink_to("loop")
    (here / "dangling").symlink_to("nowhere/at/all")
    (here / "link").symlink_to(area / "outside")
    os.mkfifo(here / "pipe")
    for name in ("mnist", "fashion_mnist"):
        write_valid_files(area / "data" / name)
    for number, text in enumerate(FILES):
        folder = here / "runs" / str(number)
        folder.mkdir()
        for name in ("config.json", "experiment.json"):
            (folder / name).write_bytes(text.encode(errors="surrogatepass"))
    begun = here / "runs" / "begun"
    begun.mkdir()
    settings = beta_sweep.BetaSweep(sweep=SweepFlags(epochs=1, batch_size=32), data=DataFlags("digits"))
    config = {"experiment": "beta_sweep", "flags": to_json(settings), "environments": [{}]}
    config["dataset"] = runs.dataset_record(data.load("digits"))
    (begun / "config.json").write_text(json.dumps(config))
    record = {"experiment": "digit_cvae", "studies": ["digit_cvae"], "changes": to_json(Changes(epochs=1))}
    record["compute"] = to_json(ComputeFlags())
    (begun / "experiment.json").write_text(json.dumps(record))
    nowhere = "http://127.0.0.1:9"  # a proxy that is not there
    environment = {
        **{"HOME": str(area / "home"), "XDG_CACHE_HOME": str(area / "cache"), "TFDS_DATA_DIR": str(area / "prepared")},
        **{"JAXVAE_DATA_DIR": str(area / "data"), "JAX_PLATFORMS": "cpu", "MPLCONFIGDIR": str(area.parent / "fonts")},
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"), nowhere),
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(area.parent / "compiled")),
    }
    return Place(area, here, environment)


def vector(rng: random.Random, place: Place) -> tuple[str, list[str]]:
    """A command and its arguments: some valid flags, of which most are then broken."""
    name = rng.choices(list(FLAGS), weights=(6, 3, 1))[0]
    flags = rng.sample(FLAGS[name], rng.randint(1, 5)) + rng.sample(PATHS, rng.randint(0, 1))
    argv = [word for flag in flags for word in flag.split()]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        mutate(argv, rng)
    return name, [word.replace("{place}", str(place.area)) for word in argv]


def mutate(argv: list[str], rng: random.Random) -> None:
    """One change for the worse."""
    values = [k for k, word in enumerate(argv) if not word.startswith("-")]
    flags = [k for k, word in enumerate(argv) if word.startswith("-")]
    kind = rng.randrange(10)
    if kind < 4 and values:
        k, folders = rng.choice(values), [f"runs/{number}" for number in range(len(FILES))]
        is_path = any(argv[k - 1] == flag.split()[0] for flag in PATHS)
        argv[k] = rng.choice(rng.choice((NAMES, NAMES, folders, TEXTS) if is_path else (NUMBERS, NUMBERS, TEXTS)))
    elif kind == 4:
        argv.insert(rng.randint(0, len(argv)), rng.choice(rng.choice((NUMBERS, NAMES, TEXTS))))
    elif kind == 5 and argv:
        del argv[rng.randrange(len(argv))]
    elif kind == 6 and flags:  # misspelt
        k, place = rng.choice(flags), rng.randint(0, 12)
        word = argv[k]
        argv[k] = rng.choice((word[:place] + word[place + 1 :], word[:place] + "x" + word[place:], word.upper()))
    elif kind == 7 and argv:  # a character that a terminal acts upon, or that nobody expects
        k = rng.randrange(len(argv))
        place = rng.randint(0, len(argv[k]))
        argv[k] = argv[k][:place] + rng.choice(LETTERS) + argv[k][place:]
    elif kind == 8 and flags:
        k = rng.choice(flags)
        argv[k : k + 2] = ["=".join(argv[k : k + 2])]
    elif argv:
        argv += rng.sample(argv, rng.randint(1, len(argv)))


@contextmanager
def inside(place: Place) -> Iterator[list[Path]]:
    """The working directory and the environment of `place`; where training would begin, the folder is noted instead."""
    folders: list[Path] = []

    def stop(this: Any, *rest: Any) -> None:
        folders.append(this.folder)
        raise Reached

    def stop_study(study: Any, folder: Path, *rest: Any, **named: Any) -> None:
        folders.append(folder.parent)
        raise Reached

    def hang(*_: Any) -> None:
        raise Hang

    before, handler = Path.cwd(), signal.signal(signal.SIGALRM, hang)
    try:
        os.chdir(place.here)
        with (
            mock.patch.dict(os.environ, place.environment),
            mock.patch.object(experiment, "make_sweep", stop),
            mock.patch.object(command, "run_study", stop_study),
        ):
            yield folders
    finally:
        os.chdir(before)
        signal.signal(signal.SIGALRM, handler)


def in_process(name: str, argv: list[str]) -> Ended:
    """What the command says, and how it ends."""
    out, error = io.StringIO(), io.StringIO()
    signal.alarm(SECONDS)
    try:
        with redirect_stdout(out), redirect_stderr(error), mock.patch.object(sys, "argv", [name, *argv]):
            if name == "beta_sweep":
                code = cli.main(name, beta_sweep.BetaSweep, beta_sweep.run, resumed=beta_sweep.own_settings)
            elif name == "reproduce":
                code = cli.main(name, reproduce.Reproduce, lambda flags: None)
            else:
                code = command.main(digit_cvae.EXPERIMENT, digit_cvae.__doc__)
    except SystemExit as end:
        code = "help" if end.code == 0 else f"exit {end.code}"
    except Hang:
        code = "hang"
    except BaseException as unexpected:
        code = type(unexpected).__name__
    finally:
        signal.alarm(0)
    return Ended(code, out.getvalue(), error.getvalue())


def as_process(name: str, argv: list[str], place: Place) -> Ended:
    """The same of a process of its own, which a hang ends by SIGKILL."""
    import jax

    environment = {**os.environ, **place.environment, "PYTHONPATH": str(ROOT)}
    environment["JAX_NUM_CPU_DEVICES"] = str(jax.device_count())  # what in process is refused is refused here too
    arguments = [sys.executable, "-m", f"experiments.{name}", *argv]
    try:
        done = subprocess.run(
            arguments,
            cwd=place.here,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROCESS_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ended("hang", "", "")
    out, error = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
    return Ended(done.returncode, out, error)


def is_executable(argv: list[str]) -> bool:
    """Whether the system can start a process with these arguments."""
    try:
        return all(b"\0" not in os.fsencode(word) for word in argv)
    except UnicodeEncodeError:
        return False


def wrong(ended: Ended, argv: Sequence[str] = ()) -> Iterator[str]:
    """What is not as it should be of an end."""
    lines = ended.error.splitlines()
    if "--debug" in argv:  # a traceback is as it should be
        lines = [line for line in lines if line.startswith(("data: ", "error: "))]
    if ended.code == "help":
        pass
    elif ended.code not in CODES:
        yield f"ends with {ended.code}: {ended.error[-300:]!r}"
    elif ended.code and (not lines or not lines[-1].startswith("error: ") or len(lines[-1]) > 1100):
        yield f"exit code {ended.code} without a line of error: {ended.error[-300:]!r}"
    elif [line for line in lines[:-1] if not line.startswith("data: ")]:
        yield f"exit code {ended.code} with more than a line of error: {ended.error[-300:]!r}"
    if bad := {char for char in ended.out + ended.error if acts_on_a_terminal(char)}:
        yield f"prints {bad}"


def acts_on_a_terminal(char: str) -> bool:
    """Whether a character is none to be looked at."""
    return char != "\n" and (
        unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(char) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    )


def written(place: Place, before: dict[Path, tuple[int, int]], folders: list[Path]) -> list[str]:
    """What has been written outside the run folder, by name; whatever is new is removed."""
    own = [place.here / folder for folder in folders]
    resolved = [Path(os.path.realpath(folder)) for folder in own]
    after = place.files()
    new = {path for path in after if path not in before}
    changed = [path for path in before if after.get(path) != before[path]]
    for path in sorted(new, reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    inside = [path for path in new if any(path.is_relative_to(x) or x.is_relative_to(path) for x in resolved)]
    return [f"writes {path}" for path in [*(new - set(inside)), *changed]]


def shown(argv: list[str]) -> str:
    """Arguments as one can give them again, the long ones shortened."""
    return repr([word if len(word) < 100 else f"{word[:20]}...{len(word)}" for word in argv])
