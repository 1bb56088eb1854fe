"""Who trains in the benchmark: jaxvae and two PyTorch loops, each in a process of its own that works when it is asked.

Processes keep the libraries' threads, memory and start-up time apart. One trains while the others wait.
"""

import multiprocessing
import os
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from experiments.speed.ours import Draws, Epoch, epoch_of
from experiments.study import Study
from jaxvae.errors import JaxvaeError

Name = Literal["jaxvae", "PyTorch, tuned", "PyTorch, as written"]
NAMES: tuple[Name, ...] = ("jaxvae", "PyTorch, tuned", "PyTorch, as written")
GEMM = 2048
"""Side of the square matrices whose product measures the machine's peak."""


@dataclass(frozen=True)
class Task:
    """What a contestant trains, and on what."""

    study: Study  # with one member, and the data to load
    cache: Path  # of compiled programs
    params: Mapping[str, Any] | None = None  # initial parameters; None: jaxvae's own, from the study's first seed
    variant: str | None = None  # of tuned PyTorch; None: the fastest
    cpu_devices: int = 1  # that jaxvae's processor is made into


class Contestant:
    """A process that does what it is asked, for as long as the block lasts that it was made in."""

    def __init__(self, name: Name, task: Task) -> None:
        context = multiprocessing.get_context("spawn")
        self.name: Name = name
        self.started = perf_counter()
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, name, task), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, what: str, *arguments: Any) -> Any:
        """Have `what` done, a name in the answers below, and return what comes of it."""
        try:
            with suppress(BrokenPipeError):  # it may have ended with an error, which is still to be received
                self.connection.send((what, *arguments))
            answer = self.connection.recv()
        except (EOFError, OSError):
            raise JaxvaeError(f"the process of {self.name} ended early; its message is above") from None
        if isinstance(answer, JaxvaeError):
            raise answer
        return answer

    @property
    def age(self) -> float:
        """Seconds since the process was started."""
        return perf_counter() - self.started

    def __enter__(self) -> "Contestant":
        return self

    def __exit__(self, *exception: object) -> None:
        self.connection.close()
        self.process.join(timeout=10)
        self.process.kill()


def serve(connection: Connection, name: Name, task: Task) -> None:
    """Answer until the other end is closed, or with the error of a user that ends it."""
    try:
        answers = jaxvae_answers(task) if name == "jaxvae" else torch_answers(task, name)
        answers["memory"] = peak_memory
        while True:
            try:
                question, *arguments = connection.recv()
            except EOFError:
                return
            connection.send(answers[question](*arguments))
    except JaxvaeError as error:
        connection.send(error)


def jaxvae_answers(task: Task) -> dict[str, Callable[..., Any]]:
    """What jaxvae does when asked."""
    import jax
    import jax.numpy as jnp

    from experiments.speed import costs, devices, members, profile, variants
    from experiments.speed.counts import work_of_step
    from experiments.speed.ours import Trainer, with_model
    from jaxvae import runs
    from jaxvae.experiment import load

    jax.config.update("jax_num_cpu_devices", task.cpu_devices)
    jax.config.update("jax_compilation_cache_dir", str(task.cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    data = load(task.study.data)
    trainer = Trainer(task.study, data)
    dataset = runs.dataset_record(data)
    del dataset["source"]  # a folder of this machine

    def peak() -> float:
        square, product = jnp.ones((GEMM, GEMM)), jax.jit(jnp.matmul)
        return gemm_rate(lambda: product(square, square).block_until_ready())

    return {
        "params": trainer.initial_params,
        "images": lambda: len(data.train.image),
        "epoch": trainer.epoch,
        "draws": trainer.draws,
        "compilation": trainer.compilation,
        "peak": peak,
        "work": lambda: work_of_step(Trainer(with_model(task.study, lowering="gemm"), data).sweep),
        "environment": lambda: {**runs.environment(), "dataset": dataset},
        "profile": lambda: profile.profile(trainer),
        "costs": lambda: costs.costs(task.study),
        "devices": lambda: devices.measure(task.study, data),
        "members": lambda counts: members.measure(task.study, data, counts),
        "variants": lambda: variants.measure(task.study, data),
    }


def torch_answers(task: Task, name: Name) -> dict[str, Callable[..., Any]]:
    """What PyTorch does when asked."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(task.cache / "inductor")
    import torch

    if name == "PyTorch, tuned":
        torch.set_flush_denormal(True)  # before there are threads, which take it from the one that makes them
    from experiments.speed.torch_loops import AsWritten, Images, Tuned, loss_function
    from experiments.speed.torch_models import build
    from jaxvae.data import load

    assert task.params is not None
    torch.manual_seed(0)
    study, wanted = task.study, task.study.data
    split = load(wanted.dataset, wanted.data_dir).train
    batch_size = study.sweep.batch_size
    assert batch_size is not None
    loss = loss_function(study.model.reconstruction, study.sweep.variances[0], from_logits=name == "PyTorch, tuned")
    model = build(study.model.architecture, task.params)
    data = Images(split.image[: wanted.limit, ..., 0], split.label[: wanted.limit])
    settings = (model, data, loss, batch_size, study.sweep.learning_rates[0])
    loop = AsWritten(*settings) if name == "PyTorch, as written" else Tuned(*settings, variant=task.variant)

    def peak() -> float:
        square = torch.ones(GEMM, GEMM)
        return gemm_rate(lambda: square @ square)

    def epoch(draws: Draws) -> Epoch:
        start = perf_counter()
        losses = loop.epoch(draws)
        return epoch_of(losses, perf_counter() - start, images=len(data), batch_size=batch_size)

    return {
        "epoch": epoch,
        "variants": lambda: (loop.variant, loop.tried) if isinstance(loop, Tuned) else ("", {}),
        "environment": lambda: {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "capability": torch.backends.cpu.get_cpu_capability(),
        },
        "peak": peak,
    }


def gemm_rate(product: Callable[[], object]) -> float:
    """FLOP/s of the fastest of ten products of two square matrices."""
    product()
    seconds = []
    for _ in range(10):
        start = perf_counter()
        product()
        seconds.append(perf_counter() - start)
    return 2 * GEMM**3 / min(seconds)


def peak_memory() -> int:
    """Bytes that this process has held at most.

    From Linux's own file where there is one: `ru_maxrss` begins there with the most of the process that it came from.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
