"""One model trained by every contestant, in turns, and what came of it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from experiments.speed.contestants import NAMES, Contestant, Name, Task
from experiments.speed.ours import Draws, Epoch
from experiments.speed.rounds import enough, rotated, undisturbed, watched
from experiments.study import Study

PEAK_ROUNDS = 5


class Result(NamedTuple):
    """What came of one model."""

    model: str
    batch_size: int
    images: int
    epochs: dict[Name, list[Epoch]]  # the first is not timed
    counted: list[int]  # which of the others count, see `undisturbed`
    started: dict[str, float]  # seconds from the start of a process to the end of its first epoch
    memory: dict[Name, int]  # bytes, the most that a process held until the end of the timed epochs
    compilation: dict[str, float]  # seconds for an epoch, from nothing (cold) and from the programs kept (warm)
    variant: str  # of tuned PyTorch
    tried: dict[str, float | str]  # all of its variants: seconds a step, or why there is none
    peaks: dict[Name, float]  # the fastest matrix product of either library, FLOP/s
    flops: float  # per image
    bytes: float  # per image
    environment: dict[str, Any]  # of both libraries

    def seconds(self, name: Name) -> float:
        """The median epoch."""
        return median(epoch.seconds for epoch in self.timed(name))

    def times(self, name: Name) -> float:
        """How many times as fast as `name` jaxvae is: the median over the rounds, each of which ran side by side."""
        rounds = zip(self.timed(name), self.timed("jaxvae"), strict=True)
        return median(theirs.seconds / ours.seconds for theirs, ours in rounds)

    def timed(self, name: Name) -> list[Epoch]:
        """The epochs that count."""
        return [self.epochs[name][number] for number in self.counted]

    def share_of_peak(self, name: Name) -> float:
        """Of the machine's matrix product rate, the larger of the two libraries'."""
        return self.flops * self.images / self.seconds(name) / max(self.peaks.values())


def measure(model: str, study: Study, count: int, say: Callable[[str], None]) -> Result:
    """Train one model with all contestants for `count` timed epochs, and measure what surrounds them.

    What only a fresh process shows has one of its own before: the compiler, cold and warm, a first start, and the
    choice of PyTorch's variant.
    """
    assert study.sweep.batch_size is not None
    compilation: dict[str, float] = {}
    with TemporaryDirectory() as cache, TemporaryDirectory() as other:
        task = Task(study, Path(cache))
        for way in ("cold", "warm"):
            with Contestant("jaxvae", replace(task, cache=Path(other))) as alone:
                compilation[way] = alone.ask("compilation")
        with Contestant("jaxvae", task) as dealer:
            dealer.ask("epoch")
            cold = dealer.age
            task = replace(task, params=dealer.ask("params"))
            with Contestant("PyTorch, tuned", task) as chooser:
                variant, tried = chooser.ask("variants")
            rounds = train_in_turns(replace(task, variant=variant), count, dealer, lambda text: say(f"{model}, {text}"))
            flops, moved = dealer.ask("work")
            images = dealer.ask("images")
    return Result(
        **rounds._replace(started={"jaxvae, cold": cold, **rounds.started})._asdict(),
        model=model,
        batch_size=study.sweep.batch_size,
        images=images,
        compilation=compilation,
        variant=variant,
        tried=tried,
        flops=flops,
        bytes=moved,
    )


class Rounds(NamedTuple):
    """What `train_in_turns` finds; the fields are those of `Result`."""

    epochs: dict[Name, list[Epoch]]
    counted: list[int]
    started: dict[str, float]
    memory: dict[Name, int]
    peaks: dict[Name, float]
    environment: dict[str, Any]


def train_in_turns(task: Task, count: int, dealer: Contestant, say: Callable[[str], None]) -> Rounds:
    """An epoch that is not timed, then rounds, in each of which one trains an epoch while the others wait.

    There are `count` rounds, and more where a virtual machine's host disturbs them. Another one begins each round. All
    take the images in the same order with the same noise, jaxvae's, which `dealer` draws for PyTorch: their losses
    differ by rounding, and by what comes of it.
    """
    epochs: dict[Name, list[Epoch]] = {}
    started: dict[str, float] = {}
    with ExitStack() as stack:
        contestants: dict[Name, Contestant] = {}

        def train(name: Name, draws: Draws) -> Epoch:
            given = () if name == "jaxvae" else (draws,)
            epoch, _, stolen = watched(lambda: contestants[name].ask("epoch", *given))
            return epoch._replace(stolen=stolen)

        draws = dealer.ask("draws", 1)
        for name in NAMES:
            contestants[name] = stack.enter_context(Contestant(name, task))
            epochs[name] = [train(name, draws)]
            started[name] = contestants[name].age
        shares: list[float] = []
        while not enough(shares, count):
            number = len(shares) + 1
            draws = dealer.ask("draws", number + 1)
            for name in rotated(NAMES, number):
                epochs[name].append(train(name, draws))
            latest = "  ".join(f"{name} {found[-1].seconds:.2f} s" for name, found in epochs.items())
            shares.append(max(found[-1].stolen or 0.0 for found in epochs.values()))
            say(f"epoch {number}: {latest}; {len(undisturbed(shares, 0))}/{count} undisturbed")
        memory: dict[Name, int] = {name: contestant.ask("memory") for name, contestant in contestants.items()}
        libraries: tuple[Name, ...] = ("jaxvae", "PyTorch, tuned")
        peaks: dict[Name, float] = dict.fromkeys(libraries, 0.0)
        for _ in range(PEAK_ROUNDS):
            for name in libraries:
                peaks[name] = max(peaks[name], contestants[name].ask("peak"))
        environment: dict[str, Any] = {name: contestants[name].ask("environment") for name in libraries}
        counted = [number + 1 for number in undisturbed(shares, count)]
        return Rounds(epochs, counted, started, memory, peaks, environment)
