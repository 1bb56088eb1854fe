"""What surrounds training: members of a sweep, evaluation, checkpoints and files, the compiler."""

import os
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, mkdtemp
from time import perf_counter
from typing import NamedTuple

import jax
from jax.experimental.compilation_cache import compilation_cache

from experiments.speed.ours import Trainer
from experiments.speed.rounds import Round, in_turns, watched
from experiments.study import Study
from jaxvae.experiment import begin, load, train
from jaxvae.fit import Progress, Sweep, fit
from jaxvae.flags import Flags, RunFlags
from jaxvae.sweep import at_points

RUN = 30.0  # seconds of training to compare an evaluation and files with
SWEEP_RUN = 5.0  # seconds of one member's training to compare a sweep's with, at least an epoch
LEAST, MOST = 3, 50  # epochs of the former
SWEEP_ROUNDS = 3  # of one member and a sweep
SWEEP_LIMIT = 300.0  # seconds after which no further one is begun
SWEEP = 6  # members that are compared with one
COMPILED = (1, 4, 16, 64)  # members whose compile time is taken


class Costs(NamedTuple):
    """Seconds of an epoch, medians; shares of an epoch's training; and the compiler's seconds."""

    training: float  # of one member
    evaluated: float  # with its evaluation on the test split, reduced
    evaluation_share: float
    files_share: float  # progress, metrics.csv and checkpoints of a command
    sweep: float  # `SWEEP` members as a command, with all of these
    sweep_times: float  # what one member takes, as a command
    stolen: float  # the largest share of the processors' time that a host took in a round of either that counts
    compilation: tuple[float, ...]  # of an epoch of `COMPILED` members, from nothing


def costs(study: Study) -> Costs:
    """Measure them all in this process."""
    with TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        one, several = (Command(study, members, Path(folder)) for members in (1, SWEEP))
        epochs = training_and_evaluation(one.sweep)
        evaluation_share = median(both / alone - 1 for alone, both in (found.seconds for found in epochs))
        training, evaluated = (median(seconds) for seconds in zip(*(found.seconds for found in epochs), strict=True))
        files_share = (1 + evaluation_share) * one.files_share(number_of(training))
        length = min(max(1, round(SWEEP_RUN / training)), MOST)
        commands = in_turns([partial(one, length), partial(several, length)], SWEEP_ROUNDS, limit=SWEEP_LIMIT)
    return Costs(
        training,
        evaluated,
        evaluation_share,
        files_share,
        sweep=median(of_all for _, of_all in (found.seconds for found in commands)) / length,
        sweep_times=median(of_all / of_one for of_one, of_all in (found.seconds for found in commands)),
        stolen=max(found.stolen for found in epochs + commands),
        compilation=compile_times(study),
    )


class ClockedSweep(Sweep):
    """A sweep that adds up the seconds of its epochs."""

    seconds = 0.0

    def epoch(self, progress: Progress) -> Progress:
        """As `Sweep.epoch`."""
        start = perf_counter()
        progress = super().epoch(progress)
        self.seconds += perf_counter() - start
        return progress


class Command:
    """Training as the command line does it, compiled, with so many seeds of a study's first point."""

    def __init__(self, study: Study, members: int, folder: Path) -> None:
        settings = replace(study.sweep, seeds=tuple(range(members)), epochs=1)
        out = RunFlags(out=Path(mkdtemp(dir=folder)))
        self.run = begin(study.name, Flags(settings, study.model, study.data, out))
        points = at_points(study.sweep.points[:1], settings.seeds)
        assert settings.batch_size is not None
        self.sweep = ClockedSweep(study.model, self.run.dataset, points, batch_size=settings.batch_size)
        fit(self.sweep, epochs=1)

    def __call__(self, epochs: int) -> None:
        """Train with progress, metrics.csv and checkpoints, in a new folder."""
        flags = replace(self.run.flags, sweep=replace(self.run.flags.sweep, epochs=epochs))
        train(replace(self.run, folder=Path(mkdtemp(dir=self.run.folder)), flags=flags), self.sweep, "")

    def files_share(self, epochs: int) -> float:
        """What progress, files and checkpoints take beside the epochs, which are evaluated, as a share of these."""
        before = self.sweep.seconds
        _, seconds, _ = watched(lambda: self(epochs))
        fitting = self.sweep.seconds - before
        return (seconds - fitting) / fitting


def training_and_evaluation(sweep: Sweep) -> list[Round]:
    """Epochs without and with an evaluation, in turns, for `RUN` seconds of training."""
    state, progress = sweep.start().state, sweep.start()

    def training() -> None:
        nonlocal state
        state, _ = sweep.train_epoch(state, 1)
        jax.block_until_ready(state)

    def evaluated() -> None:
        nonlocal progress
        progress = sweep.epoch(progress)

    _, seconds, _ = watched(training)
    return in_turns([training, evaluated], number_of(seconds))


def number_of(seconds: float) -> int:
    """How many epochs of so many seconds are compared."""
    return min(max(LEAST, round(RUN / seconds)), MOST)


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
    *("model", "training", "with evaluation", "evaluation", "files and progress"),
    *(f"{SWEEP} members, a command", "times one's command", "stolen", *(f"compile {members}" for members in COMPILED)),
)


def row(model: str, costs: Costs) -> Sequence[str]:
    """The costs of a model as cells."""
    return (
        model,
        *(f"{seconds:.2f} s" for seconds in (costs.training, costs.evaluated)),
        *(f"{share:.1%}" for share in (costs.evaluation_share, costs.files_share)),
        f"{costs.sweep:.2f} s",
        f"{costs.sweep_times:.2f}",
        f"{costs.stolen:.0%}",
        *(f"{seconds:.1f} s" for seconds in costs.compilation),
    )
