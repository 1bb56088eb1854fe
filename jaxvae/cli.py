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
        code = outcome(name, kind, run, argv)
    except Exception as error:
        if not of_several():
            raise
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    if code and of_several():
        from jaxvae.processes import leave

        leave(code)
    return code


def outcome(name: str, kind: type, run: Callable[[Any], object], argv: Sequence[str]) -> int:
    """The exit code of `main`, after a line on stderr where it is an error's."""
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
        return error.exit_code
    except OSError as error:
        if "--debug" in argv:
            raise
        print(f"error: {error.filename or 'input/output'}: {error.strerror or error}", file=sys.stderr)
        return RunFolderError.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def of_several() -> bool:
    """Whether this process is one of several that train together."""
    if "jax" not in sys.modules:  # tells without importing it
        return False
    from jaxvae.processes import several

    return several()


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
