"""What an epoch's time goes to, operation by operation, from the profiler's trace of the compiled program."""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from experiments.page import markdown
from experiments.speed.ours import Trainer
from experiments.speed.rounds import watched

HEADER = ("operation", "result", "from", "calls", "us a call", "share")
INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (\([^)]*\)|[^{ ]+)", re.MULTILINE)
SOURCE = re.compile(r'op_name="([^"]*)"')
OUTER = re.compile(r"^.*(?:while/body/(?:closed_call/)?)")


class Operation(NamedTuple):
    """All calls of one operation of the compiled program."""

    name: str
    result: str  # type and shape
    source: str  # the line of jaxvae's trace that it comes from
    calls: int
    seconds: float


class Profile(NamedTuple):
    """An epoch under the profiler."""

    operations: list[Operation]  # the longest first
    images: int
    seconds: float
    stolen: float | None  # share of the processors' time that a virtual machine's host took meanwhile, if known


def profile(trainer: Trainer) -> Profile:
    """Train an epoch under the profiler, after one that compiles."""
    import jax

    trainer.epoch()
    compiled = trainer.sweep.trace_epoch().lower().compile().as_text() or ""
    with TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            _, seconds, stolen = watched(trainer.epoch)
        (path,) = Path(folder).rglob("*.trace.json.gz")
        with gzip.open(path, "rt") as file:
            events = json.load(file)["traceEvents"]
    return Profile(operations(events, compiled), len(trainer.sweep.train.image), seconds, stolen)


def operations(events: Sequence[Mapping[str, Any]], compiled: str) -> list[Operation]:
    """Add up a trace's events by the operation of the compiled program (HLO text) that they are of.

    Loops are left out: their time is that of what they call. Operations that overlap count each for itself.
    """
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        name = event.get("args", {}).get("hlo_op")
        if event.get("ph") == "X" and name and not name.startswith(("while", "call", "conditional")):
            seconds[name].append(event["dur"] * 1e-6)
    lines = {match[1]: match for match in INSTRUCTION.finditer(compiled)}
    found = []
    for name, durations in seconds.items():
        match = lines.get(name)
        line = compiled[match.start() : compiled.find("\n", match.end())] if match else ""
        source = SOURCE.search(line)
        found.append(
            Operation(
                name,
                match[2] if match else "",
                OUTER.sub("", source[1]) if source else "",
                len(durations),
                sum(durations),
            )
        )
    return sorted(found, key=lambda operation: -operation.seconds)


def page(profile: Profile) -> str:
    """The table, and what the epoch took."""
    total = sum(operation.seconds for operation in profile.operations)
    host = "is not known" if profile.stolen is None else f"was {profile.stolen:.0%}"
    note = (
        f"An epoch of {profile.images} images took {profile.seconds:.2f} s; its operations add up to {total:.2f} s, "
        "some at once on several processors. The share of the processors' time that a virtual machine's host took "
        f"meanwhile {host}."
    )
    return f"{markdown(HEADER, rows(profile.operations))}\n\n{note}\n"


def rows(found: Sequence[Operation], count: int = 40) -> list[tuple[str, ...]]:
    """The first `count` of the operations as cells, and what is left as one more row."""
    total = sum(operation.seconds for operation in found)
    shown = [
        (
            operation.name,
            operation.result,
            operation.source,
            str(operation.calls),
            f"{1e6 * operation.seconds / operation.calls:.0f}",
            f"{operation.seconds / total:.1%}",
        )
        for operation in found[:count]
    ]
    rest = found[count:]
    if rest:
        seconds = sum(operation.seconds for operation in rest)
        calls = sum(operation.calls for operation in rest)
        shown.append(
            (f"{len(rest)} more", "", "", str(calls), f"{1e6 * seconds / calls:.0f}", f"{seconds / total:.1%}")
        )
    return shown
