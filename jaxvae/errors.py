"""Errors that a user can mend, each with the exit code that the command line returns for it."""


class JaxvaeError(Exception):
    """One line: the field, its value, the rule it breaks, what to do."""

    exit_code = 1


class ConfigError(JaxvaeError):
    """A flag or configuration value is not usable."""

    exit_code = 2


class DataError(JaxvaeError):
    """A data file is missing, damaged or of the wrong kind, or a download failed."""

    exit_code = 3


class CheckpointError(JaxvaeError):
    """A checkpoint is missing or does not fit the run."""

    exit_code = 4


class DivergedError(JaxvaeError):
    """Every member of the sweep became non-finite."""

    exit_code = 5


class RunFolderError(JaxvaeError):
    """The run folder cannot be read or written."""

    exit_code = 6


class LostProcessError(JaxvaeError):
    """Another of the processes that train together has ended or does not answer."""

    exit_code = 8


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
