"""The command line of every experiment: flags from a dataclass, one-line errors, exit codes."""

import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from typing import Any

import tyro

from jaxvae.cache import cache_dir
from jaxvae.errors import ConfigError, JaxvaeError, RunFolderError, printable
from jaxvae.interrupt import heeding_signals

INTERRUPTED = 130
LONGEST_ARGUMENT = 4096  # a path's on Linux
DEEPEST_FOLDER = 200
LONGEST_LINE = 1000


def main(
    name: str,
    kind: type,
    run: Callable[[Any], object],
    argv: Sequence[str] | None = None,
    *,
    resumed: Callable[[Any], Any] | None = None,
) -> int:
    """Run the experiment `name` with flags parsed from `argv` (default: the process's) into a `kind`.

    The docstring of `kind` is the help text.

    Args:
        name: of the experiment's module.
        kind: dataclass of the flags.
        run: what to do with them.
        argv: arguments.
        resumed: from the flags, those of the run that they go on with, or None. Flags that are not in `argv` then have
            that run's values.

    Returns the exit code: 0, that of a `JaxvaeError` (2 for wrong flags), 130 after Ctrl-C, 143 after SIGTERM. `--help`
    exits.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        code = outcome(name, kind, run, argv, resumed)
    except Exception as error:
        if not of_several():
            raise
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    if code and of_several():
        from jaxvae.processes import leave

        leave(code)
    return code


def outcome(
    name: str,
    kind: type,
    run: Callable[[Any], object],
    argv: Sequence[str],
    resumed: Callable[[Any], Any] | None = None,
) -> int:
    """The exit code of `main`, after a line on stderr where it is an error's."""
    try:
        flags = parse(name, kind, argv)
        if resumed is not None and (saved := resumed(flags)) is not None:
            flags = parse(name, kind, argv, saved)
        with heeding_signals():
            use_compilation_cache()
            run(flags)
    except JaxvaeError as error:
        complain(str(error), "--debug" in argv)
        return error.exit_code
    except OSError as error:
        complain(f"{error.filename or 'input/output'}: {error.strerror or error}", "--debug" in argv)
        return RunFolderError.exit_code
    except KeyboardInterrupt as error:
        return getattr(error, "code", INTERRUPTED)
    return 0


def parse(name: str, kind: type, argv: Sequence[str], default: Any = None) -> Any:
    """The flags in `argv`; the others are those of `default`, or the defaults of `kind`.

    Raises:
        ConfigError: an argument cannot be read; the flags' own checks raise it too.
    """
    check_arguments(argv)
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(
                kind,
                prog=f"python -m experiments.{name}",
                args=argv,
                default=tyro.MISSING_NONPROP if default is None else default,
                config=(tyro.conf.OmitArgPrefixes, *(() if default else (tyro.conf.FlagCreatePairsOff,))),
            )
    except SystemExit as end:
        if not end.code:  # --help
            raise
        raise ConfigError(f"{in_one_line(said.getvalue())}; see --help") from None


def check_arguments(argv: Sequence[str]) -> None:
    """Refuse arguments that nobody means, before anything else sees them."""
    for number, argument in enumerate(argv, 1):
        which = f"argument {number}"
        if not argument or (argument.startswith("--") and argument.partition("=")[1:] == ("=", "")):
            raise ConfigError(f"{which} is empty: {argument!r}; give a value, or leave the flag out")
        if len(argument) > LONGEST_ARGUMENT:
            raise ConfigError(f"{which} has {len(argument)} characters, more than {LONGEST_ARGUMENT}: {argument}")
        if (depth := argument.count("/")) > DEEPEST_FOLDER:
            raise ConfigError(f"{which} goes through {depth} folders, more than {DEEPEST_FOLDER}: {argument}")
        if printable(argument) != argument:
            raise ConfigError(f"{which} has control characters or undecodable bytes: {argument}")
        if argument.replace("_", "-").startswith("--tyro-"):  # writes files of its own
            raise ConfigError(f"Unrecognized options: {argument}; see --help")


def in_one_line(box: str) -> str:
    """What tyro says in a box, or in ASCII below a title: what is wrong, and the flags that were perhaps meant."""
    sections: list[list[str]] = [[]]
    for line in (line.strip("│ ") for line in box.splitlines()):
        if len(line) > 9 and not line.strip("─-"):  # a rule
            sections.append([])
        elif not line.startswith(("╭", "╰")):
            sections[-1].append(line)
    if not box.startswith("╭") and len(sections) > 1:
        del sections[0]
    wrong = " ".join(" ".join(sections[0]).split()).partition(" Got errors:")[0].removeprefix("Error parsing ")
    wrong = re.sub(r"no type matching \{None\}\|(\S+) could be instantiated from \[(.*)\]", r"\2 is no \1", wrong)
    others = [line for section in sections[1:] for line in section]
    meant = [line.split()[0] for line in others if line.startswith("--")] if "Perhaps you meant:" in others else []
    return wrong.rstrip(".") + (f"; perhaps you meant {' or '.join(meant)}" if meant else "")


def complain(text: str, debug: bool) -> None:
    """An error as one line on stderr, which no terminal acts upon; to `debug`, below where it comes from."""
    if debug:
        print(*map(printable, traceback.format_exc().splitlines()), sep="\n", file=sys.stderr)
    text = printable(text)
    if len(text) > LONGEST_LINE:
        text = f"{text[: LONGEST_LINE // 2]} ... {text[-LONGEST_LINE // 4 :]}"
    print(f"error: {text}", file=sys.stderr)


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
