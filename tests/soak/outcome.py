"""What a part of the soak has found."""

from typing import NamedTuple


class Outcome(NamedTuple):
    """A promise, what was counted while it was put to the test, and each time that it was not kept."""

    promise: str
    figures: dict[str, object]
    failures: list[str]
