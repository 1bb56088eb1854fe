"""The command line of every experiment: flags from a dataclass, one-line errors, exit codes."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from jaxvae.cache import cache_dir
from jaxvae.errors import JaxvaeError, RunFolderError

INTERRUPTED = 130


def main(name: str, kind: type, run: Callable[[Any], object], argv: Sequence[str] | None = None) -> int:
    """Run the experiment `name` with flags parsed from `argv` (default: the process's) into a `kind`.

    The docstring of `kind` is the help text.

    Returns the exit code: 0, that of a `JaxvaeError`, or 130 after Ctrl-C. Wrong flags exit with 2.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        flags = tyro.cli(
            kind,
            prog=f"python -m experiments.{name}",
            args=argv,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
        use_compilation_cache()
        run(flags)
    except JaxvaeError as error:
        if "--debug" in argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        return leave(error.exit_code)
    except OSError as error:
        if "--debug" in argv:
            raise
        print(f"error: {error.filename or 'input/output'}: {error.strerror or error}", file=sys.stderr)
        return leave(RunFolderError.exit_code)
    except KeyboardInterrupt:
        return leave(INTERRUPTED)
    return 0


def leave(code: int) -> int:
    """`code`, with which one of several processes ends at once: the others are not to wait for it."""
    if "jax" in sys.modules:
        from jaxvae import processes

        processes.leave(code)
    return code


def use_compilation_cache() -> None:
    """Keep compiled programs in the XDG cache folder, so that a second start compiles in well under a second."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:  # the user's own
        return
    import jax

    settings: dict[str, Any] = {
        "jax_compilation_cache_dir": str(cache_dir() / "xla"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
