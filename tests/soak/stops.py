"""SIGTERM and Ctrl-C at random moments: an end within ten seconds, and a whole checkpoint to go on from."""

import random
import signal
import time
from pathlib import Path

from jaxvae.checkpoint import Checkpoints
from jaxvae.manifest import damage
from tests.soak.commands import LITTLE, begin_or_resume, end, result, start, wait, wait_until
from tests.soak.kills import unbroken
from tests.soak.outcome import Outcome

PROMISE = "the first signal ends a run within 10 s with a whole checkpoint and 143 or 130, a second one at once"
MLP = (*LITTLE, "--architecture", "mlp", "--betas", 1, "--epochs", 100)
CONV = (*LITTLE, "--architecture", "conv", "--betas", 1, 4, "--epochs", 20)
SLOW = ("--dataset", "digits", "--architecture", "conv_32_64", "--betas", 1, 2, 4, 8, "--epochs", 50)
"""Epochs that take longer than a signal waits."""
WITHIN, AT_ONCE = 10.0, 2.0


def run(count: int, seed: int, work: Path) -> Outcome:
    """Trials until `count` signals met a run, `2 * count` at most; a fifth have slow epochs, a fourth two signals."""
    draw, failures = random.Random(seed), []
    fast = {flags: unbroken(work / f"whole_{len(flags)}_{flags[6]}", flags) for flags in (MLP, CONV)[: min(2, count)]}
    seconds: dict[str, list[float]] = {"one signal": [], "two": []}
    signals, compared, over = 0, 0, 0
    for trial in range(2 * count):
        if signals == count:
            break
        slow, twice = trial % 5 == 4, trial % 4 == 3
        flags = SLOW if slow else list(fast)[trial % len(fast)]
        folder, number = work / f"stopped_{trial}", (signal.SIGTERM, signal.SIGINT)[trial % 2]
        process = start(work, *flags, "--out", folder)
        wait_until((folder / "config.json").exists, process)
        moment = draw.uniform(0.0, 25.0 if slow else 0.45 * fast[flags][1])
        wait(moment, process)
        if process.poll() is not None:
            over += 1
            continue
        signals += 1
        begun = time.monotonic()
        process.send_signal(number)
        if twice:
            time.sleep(0.3)
            begun = time.monotonic()
            process.send_signal(number)
        ended = end(process)
        took = time.monotonic() - begun
        seconds["two" if twice else "one signal"].append(took)
        found = [f"code {ended.code}"] if ended.code != 128 + number else []
        found += [f"{took:.1f} s"] if took > (AT_ONCE if twice else WITHIN) else []
        found += ["a traceback"] if "Traceback" in ended.error else []
        epochs = Checkpoints(folder / "checkpoints", alone=True).epochs
        if (folder / "metrics.csv").exists() and not epochs:
            found.append("no checkpoint of a run with finished epochs")
        found += [f"checkpoint {e}: {what}" for e in epochs if (what := damage(folder / "checkpoints" / str(e)))]
        if not slow and not found:
            ended = end(start(work, *begin_or_resume(folder, flags)))
            if ended.code or result(folder) != fast[flags][0]:
                found.append(f"resumed, it is not the unbroken run: {ended.code}: {ended.last_line}")
            compared += 1
        failures += [f"trial {trial}: {what}" for what in found]
    longest = {f"longest after {what}": f"{max(times, default=0):.1f} s" for what, times in seconds.items()}
    figures = {"signals": signals, "runs that were over before": over, "resumed runs compared": compared}
    return Outcome(PROMISE, {**figures, **longest}, failures)
