"""Measuring in rounds, in each of which everything takes its turn, beside a host that may take time away."""

import os
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple, TypeVar

T = TypeVar("T")

UNDISTURBED = 0.05
"""A round counts in which the host of a virtual machine took at most this share of the processors' time from each."""
MOST = 3
"""Times as many rounds as are asked for, after which the least disturbed ones count."""


class Round(NamedTuple):
    """Everything once."""

    seconds: tuple[float, ...]  # of each, in the order of the functions
    processor: tuple[float, ...]  # seconds of the processors' time that all threads of this process took for each
    stolen: float | None  # the largest share of the processors' time that the host took from one of them; if known


class Rounds(NamedTuple):
    """All that were begun, and which of them count."""

    tried: list[Round]
    numbers: list[int]  # from 0

    @property
    def counted(self) -> list[Round]:
        """Those that count."""
        return [self.tried[number] for number in self.numbers]


def in_turns(functions: Sequence[Callable[[], object]], count: int, *, limit: float = inf) -> Rounds:
    """Rounds until `count` of them count; after `limit` seconds no further one is begun. Another begins each round."""
    tried: list[Round] = []
    shares: list[float] = []
    begun = perf_counter()
    while not enough(shares, count) and perf_counter() - begun < limit:
        order = rotated(range(len(functions)), len(tried))
        found, processor = {}, {}
        for at in order:
            start = process_time()
            found[at] = watched(functions[at])
            processor[at] = process_time() - start
        known = [stolen for _, _, stolen in found.values() if stolen is not None]
        seconds = tuple(found[at][1] for at in sorted(found))
        tried.append(Round(seconds, tuple(processor[at] for at in sorted(found)), max(known, default=None)))
        shares.append(max(known, default=0.0))
    return Rounds(tried, undisturbed(shares, count))


def rotated(names: Sequence[T], number: int) -> list[T]:
    """The order of round `number`, from 0."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def enough(shares: Sequence[float], count: int) -> bool:
    """Whether so many rounds are undisturbed, or no more are to be tried; a share of stolen time for each round."""
    return len(undisturbed(shares, 0)) >= count or len(shares) >= MOST * count


def undisturbed(shares: Sequence[float], least: int) -> list[int]:
    """Which rounds count, from 0: those with at most `UNDISTURBED` of the processors' time stolen from one of a round.

    Where these are fewer than `least`, so many with the smallest share.
    """
    quiet = sum(share <= UNDISTURBED for share in shares)
    order = sorted(range(len(shares)), key=lambda number: shares[number])
    return sorted(order[: max(quiet, least)])


def watched(function: Callable[[], T]) -> tuple[T, float, float | None]:
    """What a call returns, its seconds, and the share of the processors' time that the host took, if that is known."""
    start, before = perf_counter(), stolen_seconds()
    result = function()
    seconds, after = perf_counter() - start, stolen_seconds()
    if before is None or after is None:
        return result, seconds, None
    return result, seconds, (after - before) / (seconds * (os.cpu_count() or 1))


def stolen_seconds(stat: Path = Path("/proc/stat")) -> float | None:
    """What a virtual machine's host has given to others of all processors' time, since the start; None if not known."""
    try:
        _, *jiffies = stat.read_text(encoding="ascii").splitlines()[0].split()
    except OSError:  # not Linux
        return None
    return int(jiffies[7]) / os.sysconf("SC_CLK_TCK")
