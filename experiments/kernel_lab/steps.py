"""A whole train step of a model: what the compiler made of it, counted, and how fast it is."""

import re
import shutil
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jax

from experiments.kernel_lab.ceilings import Ceilings, timed
from experiments.speed.counts import matrix_flops
from experiments.speed.ours import Trainer, with_model
from experiments.study import Study
from jaxvae.batches import gather
from jaxvae.config import Implementation
from jaxvae.data.dataset import Dataset
from jaxvae.train import make_train_step

MODELS = {
    "document 000, conv": "region_1",
    "document 001, conv": "conv_squared_error",
    "document 002, conditional conv": "fashion_cvae_conv",
    "document 003, conv": "leaky_conv",
    "document 004, MLP": "mlp_baseline",
}
"""Studies whose models are looked at."""
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"}
"""Instructions that a device does nothing for."""
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) (?:\(.*)?\{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (?:\(.*?\)|\S+) ([\w\-]+)\(")
CALLED = re.compile(r"(?:body|condition|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
TRACED = 20  # steps


class Step(NamedTuple):
    """One line of the table."""

    model: str
    implementation: Implementation
    batch: int
    parameters: int
    seconds: float
    matrix_flops: float  # of its matrix products, counted in the program that is handed to the compiler
    xla_flops: float  # of everything, by XLA's cost analysis of what it compiled
    bytes: float  # operands and results of its instructions, by the same
    instructions: int  # that the device is given, those of a loop once
    fusions: int
    loops: int
    peak: int  # bytes of arguments, results and what is in between; the state once, as it is donated
    share: float  # of the measured matrix product's FLOP/s


def look(
    model: str,
    study: Study,
    data: Dataset,
    implementation: Implementation,
    ceilings: Ceilings,
    seconds: float,
    trace: Path | None,
) -> Step:
    """Compile and measure the step of the study's first member; with `trace` leave a Perfetto trace of it there."""
    # Convolutions are counted as matrix products, which what is skipped of a dilated convolution is not.
    counted = traced(Trainer(with_model(study, lowering="gemm", implementation="xla"), data))
    trainer = Trainer(with_model(study, implementation=implementation), data)
    step = traced(trainer).lower().compile()
    found = inventory(step.as_text() or "")
    cost, memory = step.cost_analysis() or {}, step.memory_analysis()
    each = timed(step, arguments_of(trainer), seconds, carry=1)
    if trace:
        record(step, arguments_of(trainer), trace)
    flops = float(matrix_flops(counted.jaxpr.jaxpr))
    return Step(
        model,
        implementation,
        trainer.sweep.batch_size,
        sum(x.size for x in jax.tree.leaves(trainer.state.params)),
        each,
        flops,
        float(cost.get("flops", float("nan"))),
        float(cost.get("bytes accessed", float("nan"))),
        found.total(),
        found["fusion"],
        found["while"],
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes,
        flops / each / ceilings.flops_per_second["float32"],
    )


def arguments_of(trainer: Trainer) -> tuple[Any, Any, jax.Array]:
    """The first member's state, its first batch in the data's order, and a key."""
    sweep = trainer.sweep
    index = jax.numpy.arange(sweep.batch_size)
    batch = gather(sweep.train, index, jax.numpy.ones(sweep.batch_size))  # pyright: ignore[reportArgumentType]
    return jax.tree.map(lambda x: x[0], trainer.state), batch, jax.random.key(0)


def traced(trainer: Trainer) -> Any:
    """The step as it is handed to the compiler, the whole batch at once."""
    model: Any = trainer.sweep.model
    step = jax.jit(make_train_step(model, trainer.sweep.reconstruction), donate_argnums=0)
    return step.trace(*arguments_of(trainer))


def inventory(text: str) -> Counter[str]:
    """Instructions of an optimized HLO module that a device is given, by opcode: of the entry and what it calls."""
    computations: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        if head := COMPUTATION.match(line):
            lines = computations.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        else:
            lines.append(line)
    found: Counter[str] = Counter()
    waiting, seen = [entry], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for line in computations.get(name, []):
            if not (instruction := INSTRUCTION.match(line)) or instruction[1] in FREE:
                continue
            if instruction[1].endswith("-done"):  # of what was counted at its start
                continue
            if instruction[1] in ("while", "call", "conditional"):
                waiting += CALLED.findall(line)
                waiting += (name.strip(" %") for names in BRANCHES.findall(line) for name in names.split(","))
            if instruction[1] != "call":
                found[instruction[1]] += 1
    return found


def record(step: Any, arguments: tuple, path: Path) -> None:
    """A trace of some steps for https://ui.perfetto.dev."""
    state, *others = arguments
    with TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            for _ in range(TRACED):
                state, _ = step(state, *others)
            jax.block_until_ready(state)
        (found,) = Path(folder).rglob("perfetto_trace.json.gz")
        shutil.copy(found, path)
