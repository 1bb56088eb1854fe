"""Several processes that train one run together, on one machine or many: how they meet, and which of them writes.

All run the same program: each loads the data, has a place in the mesh of `jaxvae.parallel`, and takes part in every
checkpoint. What is decided once or written is the business of one of them, the writer, from which the others hear.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxvae import errors
from jaxvae.errors import ConfigError, JaxvaeError, LostProcessError, first_line

MEETING = 120
"""Seconds that processes wait for each other at the start."""
HEARTBEAT = 30
"""Seconds without a sign of life after which a process is lost; one that ends is seen at once."""
FAREWELL = 3600
"""Seconds that processes wait for the writer's report at the end."""


def join(coordinator: str | None, count: int | None, number: int | None) -> None:
    """Meet the other processes; before anything is computed. Without a coordinator this process is alone.

    Args:
        coordinator: HOST:PORT where process 0 listens, or "auto" for what the cluster's environment says.
        count: how many processes there are.
        number: which of them this one is.

    Raises:
        ConfigError: they do not meet, or there is no cluster.
    """
    if coordinator is None:
        return
    address = (None, None, None) if coordinator == "auto" else (coordinator, count, number)
    try:
        jax.distributed.initialize(
            *address,
            initialization_timeout=MEETING,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=FAREWELL,
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"coordinator is {coordinator}: {first_line(error)}") from error


def is_writer() -> bool:
    """Whether this process writes files, and speaks."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def from_writer(decide: Callable[[], Any]) -> Any:
    """What `decide` returns in the writer, a JSON value, in all processes; an error of it is raised in all."""
    if not jax.distributed.is_initialized():
        return decide()
    answer: dict[str, Any] = {}
    if is_writer():
        try:
            answer = {"value": decide()}
        except JaxvaeError as error:
            answer = {"error": type(error).__name__, "text": str(error)}
    text = json.dumps(answer).encode()
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = multihost_utils.broadcast_one_to_all(np.frombuffer(text.ljust(length)[:length], np.uint8))
    answer = json.loads(bytes(text))
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["text"])
    return answer["value"]


@contextmanager
def together(advice: str) -> Iterator[None]:
    """What fails between processes is a `LostProcessError`: one is gone, and this one cannot go on alone."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not jax.distributed.is_initialized():
            raise
        raise LostProcessError(f"another process was lost ({first_line(error)}); {advice}") from error


def leave(code: int) -> None:
    """End this process at once with `code` where others would wait for it; they see that it is gone."""
    if jax.distributed.is_initialized() and jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
