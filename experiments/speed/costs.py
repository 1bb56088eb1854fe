"""What surrounds training: members of a sweep, evaluation, checkpoints and files, the compiler; on one device."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, mkdtemp
from typing import NamedTuple

import jax
from jax.experimental.compilation_cache import compilation_cache

from experiments.speed.ours import Trainer
from experiments.speed.rounds import Rounds, in_turns, watched
from experiments.study import Study
from jaxvae.experiment import begin, load, make_sweep, train
from jaxvae.fit import Sweep, fit
from jaxvae.flags import Flags, RunFlags
from jaxvae.parallel import choose_devices

RUN = 30.0  # seconds of training with and without evaluations, or files
SWEEP_RUN = 5.0  # seconds of one member's training to compare a sweep's with, at least an epoch
LEAST, LONGEST = 3, 50  # epochs of the former
COMMANDS = 3  # rounds of whole commands
LIMIT = 300.0  # seconds after which no further round of a comparison is begun
SWEEP = 6  # members that are compared with one
COMPILED = (1, 4, 16, 64)  # members whose compile time is taken


class Costs(NamedTuple):
    """What was compared, each in rounds of two, and the compiler's seconds."""

    evaluation: Rounds  # an epoch of one member, and one with its evaluation on the test split, reduced
    files: Rounds  # `RUN` seconds of epochs with evaluations, and a command, with progress, metrics.csv and checkpoints
    sweep: Rounds  # a command of one member, and of `SWEEP`
    sweep_epochs: int  # of the latter
    compilation: tuple[float, ...]  # of an epoch of `COMPILED` members, from nothing


def costs(study: Study) -> Costs:
    """Measure them all in this process."""
    with TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        one, several = (Command(study, members, Path(folder)) for members in (1, SWEEP))
        evaluation = in_turns(*training_and_evaluation(one.sweep), limit=LIMIT)
        seconds = median(alone for alone, _ in (found.seconds for found in evaluation.counted))
        epochs, short = number_of(seconds), min(max(1, round(SWEEP_RUN / seconds)), LONGEST)
        files = in_turns([partial(fit, one.sweep, epochs=epochs), partial(one, epochs)], COMMANDS, limit=LIMIT)
        sweep = in_turns([partial(one, short), partial(several, short)], COMMANDS, limit=LIMIT)
    return Costs(evaluation, files, sweep, short, compile_times(study))


class Command:
    """Training as the command line does it, compiled, with so many seeds of a study's first point."""

    def __init__(self, study: Study, members: int, folder: Path) -> None:
        settings = replace(study.sweep.only([0]), seeds=tuple(range(members)), epochs=1)
        out = RunFlags(out=Path(mkdtemp(dir=folder)))
        self.run = begin(study.name, Flags(settings, study.model, study.data, run=out))
        self.sweep = make_sweep(self.run, choose_devices(1))
        fit(self.sweep, epochs=1)

    def __call__(self, epochs: int) -> None:
        """Train with progress, metrics.csv and checkpoints, in a new folder."""
        flags = replace(self.run.flags, sweep=replace(self.run.flags.sweep, epochs=epochs))
        train(replace(self.run, folder=Path(mkdtemp(dir=self.run.folder)), flags=flags), self.sweep, "")


def training_and_evaluation(sweep: Sweep) -> tuple[list[Callable[[], None]], int]:
    """An epoch without an evaluation, and one with, and how many of them make `RUN` seconds of training."""
    state, progress = sweep.start().state, sweep.start()

    def training() -> None:
        nonlocal state
        state, _ = sweep.train_epoch(state, 1)
        jax.block_until_ready(state)

    def evaluated() -> None:
        nonlocal progress
        progress = sweep.epoch(progress)

    _, seconds, _ = watched(training)
    return [training, evaluated], number_of(seconds)


def number_of(seconds: float) -> int:
    """How many epochs of so many seconds are compared."""
    return min(max(LEAST, round(RUN / seconds)), LONGEST)


def compile_times(study: Study) -> tuple[float, ...]:
    """Seconds to trace and compile an epoch of `COMPILED` members, without programs that are kept."""
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # which JAX would go on using
    data = load(study.data)
    found = []
    for members in COMPILED:
        trainer = Trainer(study, data, members)
        jax.clear_caches()
        found.append(trainer.compilation())
    return tuple(found)


HEADER = (
    *("model", "training, s/epoch", "evaluation", "evaluation, processor time"),
    *("files and progress", "files and progress, processor time"),
    *(f"{SWEEP} members, s/epoch", "times one's", "times one's processor time", "stolen", "rounds that count"),
    *(f"compile {members}" for members in COMPILED),
)
NOTES = """Medians over the rounds that count, the smallest and the largest. In each round both of a pair took a turn:
an epoch, and one with its evaluation on the test split; epochs with evaluations, and a command with progress,
metrics.csv and checkpoints, half a minute of them; a command of one member, and one of several. Evaluation and files
are what the second took longer, as a share of the first. Processor time is what all threads of the process took of the
processors: it leaves out what a host took from them, and waiting for a disk. Stolen: the largest share of the
processors' time that a virtual machine's host took in a round that counts, for each pair. The compiler's seconds are
of one look each.
"""


def row(model: str, costs: Costs) -> Sequence[str]:
    """The costs of a model as cells."""
    compared = (costs.evaluation, costs.files, costs.sweep)
    members = (found.seconds[1] / costs.sweep_epochs for found in costs.sweep.counted)
    return (
        model,
        spread((found.seconds[0] for found in costs.evaluation.counted), ".2f"),
        *(spread((ratio - 1 for ratio in each), ".1%") for rounds in compared[:2] for each in ratios(rounds)),
        spread(members, ".2f"),
        *(spread(each, ".2f") for each in ratios(costs.sweep)),
        ", ".join(stolen(rounds) for rounds in compared),
        ", ".join(f"{len(rounds.counted)} of {len(rounds.tried)}" for rounds in compared),
        *(f"{seconds:.1f} s" for seconds in costs.compilation),
    )


def ratios(rounds: Rounds) -> tuple[list[float], list[float]]:
    """How many times as long as the first of a pair the second took in each round that counts; in processor time."""
    pairs = ([found.seconds for found in rounds.counted], [found.processor for found in rounds.counted])
    seconds, processor = ([second / first for first, second in each] for each in pairs)
    return seconds, processor


def spread(values: Iterable[float], form: str) -> str:
    """The median, and the smallest and the largest."""
    found = sorted(values)
    return f"{median(found):{form}} ({found[0]:{form}} to {found[-1]:{form}})"


def stolen(rounds: Rounds) -> str:
    """The most that the host took in a round that counts."""
    known = [found.stolen for found in rounds.counted if found.stolen is not None]
    return f"{max(known):.0%}" if known else "not known"
