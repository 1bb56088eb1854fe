"""Errors that a user can mend, each with the exit code that the command line returns for it."""

import unicodedata

UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # control characters, undecodable bytes, line and paragraph separators
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


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


class FolderInUseError(JaxvaeError):
    """Another process writes into the run folder."""

    exit_code = 7


class LostProcessError(JaxvaeError):
    """Another of the processes that train together has ended or does not answer."""

    exit_code = 8


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def printable(text: str) -> str:
    """`text` on one line that no terminal acts upon: whatever controls it or its direction as a backslash escape."""
    return "".join(
        char.encode("unicode_escape").decode() if char in BIDI or unicodedata.category(char) in UNPRINTABLE else char
        for char in text
    )
