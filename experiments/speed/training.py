"""One model trained by every contestant, in turns, and what came of it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from experiments.speed.contestants import PYTORCH, Contestant, Epoch, Name, Task
from experiments.study import Study


class Result(NamedTuple):
    """What came of one model."""

    model: str
    batch_size: int
    images: int
    epochs: dict[Name, list[Epoch]]  # the first is not timed
    started: dict[str, float]  # seconds from the start of a process to the end of its first epoch
    memory: dict[Name, int]  # bytes, at the end of the timed epochs
    compilation: dict[str, float]  # seconds for an epoch, from nothing (cold) and from the programs kept (warm)
    variant: str  # of tuned PyTorch
    tried: dict[str, float | str]  # all of its variants: seconds a step, or why there is none
    peaks: dict[Name, float]  # the fastest matrix product of either library, FLOP/s
    flops: float  # per image
    bytes: float  # per image
    environment: dict[str, Any]  # of both libraries

    def seconds(self, name: Name) -> float:
        """The median epoch."""
        return median(epoch.seconds for epoch in self.epochs[name][1:])

    def times(self, name: Name) -> float:
        """How many times as fast as `name` jaxvae is: the median over the rounds, each of which ran side by side."""
        rounds = zip(self.epochs[name][1:], self.epochs["jaxvae"][1:], strict=True)
        return median(theirs.seconds / ours.seconds for theirs, ours in rounds)

    def share_of_peak(self, name: Name) -> float:
        """Of the machine's matrix product rate, the larger of the two libraries'."""
        return self.flops * self.images / self.seconds(name) / max(self.peaks.values())


def measure(model: str, study: Study, count: int, say: Callable[[str], None]) -> Result:
    """Train one model with all contestants, in turns: each trains an epoch while the others wait.

    All take the images in the same order with the same noise, jaxvae's, so that their losses differ by rounding only.

    What only a fresh process shows has one of its own before: the compiler, cold and warm, a first start, and the
    choice of PyTorch's variant.
    """
    assert study.sweep.batch_size is not None
    started: dict[str, float] = {}
    compilation: dict[str, float] = {}
    with TemporaryDirectory() as cache, TemporaryDirectory() as other, ExitStack() as stack:
        task = Task(study, Path(cache))
        for way in ("cold", "warm"):
            with Contestant("jaxvae", replace(task, cache=Path(other))) as alone:
                compilation[way] = alone.ask("compilation")
        with Contestant("jaxvae", task) as first:
            first.ask("epoch")
            started["jaxvae, cold"] = first.age
            task = replace(task, params=first.ask("params"))
        with Contestant("PyTorch, tuned", task) as chooser:
            variant, tried = chooser.ask("variants")
        ours = stack.enter_context(Contestant("jaxvae", task))
        epochs: dict[Name, list[Epoch]] = {ours.name: [ours.ask("epoch")]}
        started[ours.name] = ours.age
        draws = ours.ask("draws", 1)
        theirs = []
        for name in PYTORCH:
            contestant = stack.enter_context(Contestant(name, replace(task, variant=variant)))
            epochs[name] = [contestant.ask("epoch", draws)]
            started[name] = contestant.age
            theirs.append(contestant)
        tuned = theirs[0]
        peaks: dict[Name, float] = {ours.name: 0.0, tuned.name: 0.0}
        for number in range(1, count + 1):
            draws = ours.ask("draws", number + 1)
            epochs[ours.name].append(ours.ask("epoch"))
            for contestant in theirs:
                epochs[contestant.name].append(contestant.ask("epoch", draws))
            for contestant in (ours, tuned):
                peaks[contestant.name] = max(peaks[contestant.name], contestant.ask("peak"))
            latest = "  ".join(f"{name} {found[-1].seconds:.2f} s" for name, found in epochs.items())
            say(f"{model}, epoch {number}/{count}: {latest}")
        memory: dict[Name, int] = {contestant.name: contestant.ask("memory") for contestant in (ours, *theirs)}
        flops, moved = ours.ask("work")
        return Result(
            model,
            study.sweep.batch_size,
            ours.ask("images"),
            epochs,
            started,
            memory,
            compilation,
            variant,
            tried,
            peaks,
            flops,
            moved,
            {contestant.name: contestant.ask("environment") for contestant in (ours, tuned)},
        )
