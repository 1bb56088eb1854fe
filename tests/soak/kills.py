"""SIGKILL at random moments, many of them inside a save; what is resumed must end as the unbroken run did."""

import random
import time
from pathlib import Path

from tests.soak.commands import LITTLE, begin_or_resume, end, result, start, wait, wait_until
from tests.soak.outcome import Outcome

PROMISE = "a run that is killed and resumed ends as the unbroken one: state, keys and metrics.csv"
SHORT = (*LITTLE, "--epochs", 30)
CASES: dict[str, tuple[str, tuple[object, ...]]] = {
    "mlp": ("beta_sweep", (*SHORT, "--architecture", "mlp", "--betas", 1, "--checkpoint-every", 1)),
    "mlp, 3 members": ("beta_sweep", (*SHORT, "--architecture", "mlp", "--betas", 1, 4, 8, "--checkpoint-every", 1)),
    "conv, every third epoch": ("beta_sweep", (*SHORT, "--betas", 1, "--checkpoint-every", 3)),
    "conv, 2 members, when due": ("beta_sweep", (*SHORT, "--betas", 1, 4)),
    "two studies": ("digit_cvae", ("--dataset", "digits", "--limit", 256, "--epochs", 30)),
}
MOST = 8
"""Kills of one run, before it may end."""


def run(count: int, seed: int, work: Path) -> Outcome:
    """`count` kills, spread over the cases; every other one waits for a save."""
    draw, failures = random.Random(seed), []
    kills, inside, compared = 0, 0, 0
    for number, (name, (experiment, flags)) in enumerate(CASES.items()):
        share = count * (number + 1) // len(CASES) - count * number // len(CASES)
        if not share:
            continue
        expected, longest = unbroken(work / f"whole_{number}", flags, experiment)
        left = share
        while left:
            folder = work / f"killed_{number}_{left}"
            for _ in range(min(left, MOST)):
                killed, saving = kill(work, folder, experiment, flags, draw, longest)
                kills, inside, left = kills + killed, inside + saving, left - killed
                if not killed:
                    break
            ended = end(start(work, *begin_or_resume(folder, flags), name=experiment))
            if ended.code:
                failures.append(f"{name}: {folder.name} ended with {ended.code}: {ended.last_line}")
                break
            if result(folder) != expected:
                failures.append(f"{name}: {folder.name} is not the unbroken run")
            compared += 1
    figures = {"kills": kills, "inside a save": inside, "resumed runs compared": compared}
    return Outcome(PROMISE, figures, failures)


def unbroken(
    folder: Path, flags: tuple[object, ...], experiment: str = "beta_sweep"
) -> tuple[list[tuple[str, str]], float]:
    """What the unbroken run comes to, and the seconds that it takes where all is compiled."""
    found, seconds = [], 0.0
    for number in range(2):
        begun = time.monotonic()
        ended = end(start(folder.parent, *flags, "--out", folder / str(number), name=experiment))
        if ended.code:
            raise RuntimeError(f"the unbroken run ended with {ended.code}: {ended.last_line}")
        found.append(result(folder / str(number)))
        seconds = time.monotonic() - begun
    if found[0] != found[1]:
        raise RuntimeError("two unbroken runs differ")
    return found[0], seconds


def kill(
    work: Path, folder: Path, experiment: str, flags: tuple[object, ...], draw: random.Random, longest: float
) -> tuple[bool, bool]:
    """Whether a process of the run in `folder` was killed, and whether that was inside a save."""

    def saving() -> bool:
        unfinished = "checkpoints/.[0-9]*"  # not by `rglob`, which stumbles over folders that go while it looks
        return any(path for pattern in (unfinished, f"*/{unfinished}") for path in folder.glob(pattern))

    process = start(work, *begin_or_resume(folder, flags), name=experiment)
    if draw.random() < 0.5:
        for _ in range(draw.randint(1, 3)):  # not always the first save of a process
            wait_until(lambda: not saving(), process)
            wait_until(saving, process)
        time.sleep(draw.uniform(0.0, 0.03))
    else:
        wait(draw.uniform(0.0, longest), process)
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive, alive and saving()
