"""What surrounds training: members of a sweep, evaluation, checkpoints and files, the compiler."""

import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, mkdtemp
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from experiments.study import Study
from jaxvae.flags import Flags, RunFlags

if TYPE_CHECKING:  # `--help` imports no jax
    from jaxvae.experiment import Run
    from jaxvae.fit import Progress, Sweep

ROUNDS = 3
RUN = 30.0  # seconds of training to compare evaluation and files with, at least `ROUNDS` epochs
SWEEP_RUN = 5.0  # seconds of one member's training to compare a sweep's with, at least an epoch
SWEEP_ROUNDS = 120.0  # seconds after which no further round of both is begun, of at most `ROUNDS`
MOST = 50  # epochs of either
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
    compilation: tuple[float, ...]  # of an epoch of `COMPILED` members, from nothing


def costs(study: Study) -> Costs:
    """Measure them all in this process."""
    from jaxvae.experiment import make_sweep, train
    from jaxvae.fit import fit

    with TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        new_run = partial(begin_run, study, folder)
        one, several = (make_sweep(new_run(members, epochs=1)) for members in (1, SWEEP))
        for sweep in (one, several):
            fit(sweep, epochs=1)  # compiles
        pairs = training_and_evaluation(one)
        training, evaluated = (median(seconds) for seconds in zip(*pairs, strict=True))
        files = command_files(new_run(1, epochs=len(pairs)), one)
        epochs = min(max(1, round(SWEEP_RUN / training)), MOST)
        commands: list[list[float]] = []
        while not commands or (len(commands) < ROUNDS and sum(map(sum, commands)) < SWEEP_ROUNDS):
            runs = (new_run(1, epochs=epochs), one), (new_run(SWEEP, epochs=epochs), several)
            commands.append([timed(partial(train, run, sweep, "")) for run, sweep in runs])
    return Costs(
        training,
        evaluated,
        evaluation_share=median((both - alone) / alone for alone, both in pairs),
        files_share=files / (len(pairs) * training),
        sweep=median(of_all for _, of_all in commands) / epochs,
        sweep_times=median(of_all / of_one for of_one, of_all in commands),
        compilation=compile_times(study),
    )


def begin_run(study: Study, folder: str, members: int, *, epochs: int) -> "Run":
    """A run of the command line, in a new folder inside `folder`."""
    from jaxvae.experiment import begin

    sweep = replace(study.sweep, seeds=tuple(range(members)), epochs=epochs)
    out = Path(mkdtemp(dir=folder))
    return begin(study.name, Flags(sweep, study.model, study.data, RunFlags(out=out)))


def training_and_evaluation(sweep: "Sweep") -> list[tuple[float, float]]:
    """Seconds of epochs without and with an evaluation, in turns, for `RUN` seconds of training."""
    import jax

    from jaxvae.sweep import train_members

    static = {"batch_size": sweep.batch_size, "chunk": sweep.chunk}
    state, progress = sweep.start().state, sweep.start()

    def training() -> None:
        nonlocal state
        state, _ = train_members(sweep.train_step, state, sweep.train, sweep.train_keys, **static)
        jax.block_until_ready(state)

    def evaluated() -> None:
        nonlocal progress
        progress = sweep.epoch(progress)

    pairs = []
    while len(pairs) < ROUNDS or (len(pairs) < MOST and sum(alone for alone, _ in pairs) < RUN):
        pairs.append((timed(training), timed(evaluated)))
    return pairs


def command_files(run: "Run", sweep: "Sweep") -> float:
    """Seconds that a command spends on progress, metrics.csv and checkpoints: all that is not the fit itself."""
    from jaxvae import experiment
    from jaxvae.fit import fit

    fitting = 0.0

    def watched(sweep: "Sweep", *, on_epoch: Callable[["Progress"], None], **settings: Any) -> "Progress":
        nonlocal fitting
        start, callbacks = perf_counter(), []
        progress = fit(sweep, on_epoch=lambda p: callbacks.append(timed(lambda: on_epoch(p))), **settings)
        fitting = perf_counter() - start - sum(callbacks)
        return progress

    with patch.object(experiment, "fit", watched):
        return timed(lambda: experiment.train(run, sweep, "")) - fitting


def compile_times(study: Study) -> tuple[float, ...]:
    """Seconds to trace and compile an epoch of `COMPILED` members, without programs that are kept."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    from experiments.speed.ours import Trainer
    from jaxvae.experiment import load

    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # which JAX would go on using
    data = load(study.data)
    found = []
    for members in COMPILED:
        trainer = Trainer(study, data, members)
        jax.clear_caches()
        found.append(trainer.compilation())
    return tuple(found)


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = perf_counter()
    function()
    return perf_counter() - start


HEADER = (
    *("model", "training", "with evaluation", "evaluation", "files and progress"),
    *(f"{SWEEP} members, a command", "times one's command", *(f"compile {members}" for members in COMPILED)),
)


def row(model: str, costs: Costs) -> Sequence[str]:
    """The costs of a model as cells."""
    return (
        model,
        *(f"{seconds:.2f} s" for seconds in (costs.training, costs.evaluated)),
        *(f"{share:.1%}" for share in (costs.evaluation_share, costs.files_share)),
        f"{costs.sweep:.2f} s",
        f"{costs.sweep_times:.2f}",
        *(f"{seconds:.1f} s" for seconds in costs.compilation),
    )
