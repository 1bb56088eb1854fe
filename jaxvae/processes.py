"""Several processes that train one run together, on one machine or many: how they meet, and which of them writes.

All run the same program: each loads the data, has a place in the mesh of `jaxvae.parallel`, and takes part in every
checkpoint. What is decided once or written is the business of one of them, the writer, from which the others hear.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxvae import errors
from jaxvae.errors import ConfigError, JaxvaeError, LostProcessError, first_line
from jaxvae.flags import ComputeFlags

MEETING = 120
"""Seconds that processes wait for each other at the start; then JAX ends them, by SIGABRT."""
HEARTBEAT = 20
"""Seconds without a sign of life after which a process is lost, seen within half as many more; an end at once."""
FAREWELL = 3600
"""Seconds that processes wait for the writer's report at the end of a sweep."""
LAST_WORDS = 2
"""Seconds that process 0 leaves later than others after an error."""
SIGNS_OF_LOSS = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "Barrier failed", "coordination service")
"""One of these is in the error of what waits for another process in vain."""
_met = False
"""Whether this process has met others; JAX calls a connection initialized that never came about."""


def join(flags: ComputeFlags) -> None:
    """Meet the other processes, once, before anything is computed; without a coordinator this process is alone.

    Raises:
        ConfigError: there is no cluster, or no coordinator where the devices are of several.
    """
    global _met
    coordinator = flags.coordinator
    if jax.distributed.is_initialized():
        _met = True
        return
    if coordinator is None:
        if jax.process_count() > 1:
            raise ConfigError(f"there are {jax.process_count()} processes; give --coordinator auto to each")
        return
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from `jaxvae.interrupt`
    try:
        jax.distributed.initialize(
            None if coordinator == "auto" else coordinator,
            flags.num_processes,
            flags.process_id,
            initialization_timeout=MEETING,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=FAREWELL,
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"coordinator is {coordinator}: {first_line(error)}") from error
    _met = True
    if jax.default_backend() == "gpu" and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # Only process 0 fills it. With programs that it has and others lack they would compile without it, and XLA
        # waits for its share of the search for the fastest kernels.
        jax.config.update("jax_compilation_cache_dir", None)
    multihost_utils.sync_global_devices("met")  # Gloo gives the first exchange of a group 30 seconds


def is_writer() -> bool:
    """Whether this process, which has called `join`, writes files, and speaks."""
    return not several() or jax.process_index() == 0


def from_writer(decide: Callable[[], Any]) -> Any:
    """What `decide` returns in the writer, a JSON value, in all processes; a `JaxvaeError` of it is raised in all, and
    an error of input or output as one."""
    if not several():
        return decide()
    answer: dict[str, Any] = {}
    if is_writer():
        try:
            answer = {"value": decide()}
        except JaxvaeError as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        except OSError as error:
            answer = {"error": "RunFolderError", "text": f"{error.filename or 'input/output'}: {error.strerror}"}
    text = json.dumps(answer).encode()
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = multihost_utils.broadcast_one_to_all(np.frombuffer(text.ljust(length)[:length], np.uint8))
    answer = json.loads(bytes(text))
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["text"])
    return answer["value"]


def greatest(value: int) -> int:
    """The greatest of what the processes have; all must ask."""
    return int(multihost_utils.process_allgather(np.int32(value)).max()) if several() else value


def agree(ours: dict[str, Any]) -> None:
    """Refuse to go on with processes whose settings, JSON values, are others than this one's.

    Raises:
        ConfigError: this process differs from process 0.
    """
    ours = json.loads(json.dumps(ours))
    theirs = from_writer(lambda: ours)
    if differing := [name for name, value in ours.items() if value != theirs.get(name)]:
        raise ConfigError(f"process {jax.process_index()} has another {', '.join(differing)} than process 0")


@contextmanager
def together(advice: str) -> Iterator[None]:
    """What fails between processes is a `LostProcessError`: one is gone, and this one cannot go on alone.

    Where process 0 is lost, or another one while this one computes by itself, JAX may end this process first, with a
    message of its own and the signal SIGABRT.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if not is_loss(error):
            raise
        raise LostProcessError(f"another process was lost ({first_line(error)}); {advice}") from error


def is_loss(error: Exception) -> bool:
    """Whether `error` says that another process is gone."""
    return several() and any(sign in str(error) for sign in SIGNS_OF_LOSS)


def leave(code: int) -> None:
    """End this process at once with `code`: others may wait for it, and see that it is gone.

    Process 0, with which JAX's connection of all of them ends, gives those that end by themselves time to say why.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if is_writer():
        time.sleep(LAST_WORDS)
    os._exit(code)


def several() -> bool:
    """Whether this process is one of several."""
    return _met and jax.process_count() > 1
