"""Ctrl-C and SIGTERM: the first ends a run in order, the second at once. Imports no jax.

An epoch is one call into a compiled program, during which Python hears nothing of a signal. So a thread listens, on the
pipe into which the interpreter writes signals as they come. Where order takes longer than `GRACE` it ends the process
as a kill would, which a run folder survives: its files are replaced whole.
"""

import atexit
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

GRACE = 7.0
"""Seconds from the first signal to the end, whatever the process does."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked: int | None = None
_last_words: str | None = None


class Interrupted(KeyboardInterrupt):
    """The first signal, where nothing must be finished; `code` is what the shell expects, 130 or 143."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


def asked() -> int | None:
    """The signal that asked to end, if one has."""
    return _asked


@contextmanager
def in_order(last_words: str) -> Iterator[None]:
    """A signal waits until it is `asked` for, or for the end; one that can wait no longer says the `last_words`."""
    global _last_words
    _last_words = last_words
    try:
        yield
    finally:
        _last_words = None
    if _asked is not None:
        raise Interrupted(_asked)


@contextmanager
def heeding_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise `Interrupted`, or wait `in_order`; in a thread of its own a run heeds none."""
    global _asked
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup wants it
    if threading.current_thread() is not threading.main_thread() or not heard:
        yield
        return
    _asked = None
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    thread = threading.Thread(target=listen, args=(ours,), daemon=True)
    before = {number: signal.signal(number, handle) for number in heard}
    complain, sys.unraisablehook = sys.unraisablehook, unless_interrupted
    pipe = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
        if _asked is not None:  # what was raised got lost in a callback
            raise Interrupted(_asked)
    except KeyboardInterrupt:
        before = dict.fromkeys(before, at_once)
        atexit.register(ignore, heard)
        raise
    finally:
        _asked = None
        sys.unraisablehook = complain
        signal.set_wakeup_fd(pipe)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(theirs, b"\0")
        thread.join()
        os.close(ours)
        os.close(theirs)


def handle(number: int, frame: FrameType | None) -> None:
    """What the main thread does, as soon as it is in Python again."""
    global _asked
    if _asked is None:  # the second one is the thread's
        _asked = number
        if _last_words is None:
            raise Interrupted(number)


def at_once(number: int, frame: FrameType | None) -> None:
    """What a signal does that comes while the process ends because of another."""
    os._exit(128 + number)


def ignore(numbers: Sequence[int]) -> None:
    """Let nothing disturb the interpreter in its last moments."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def unless_interrupted(unraisable: "sys.UnraisableHookArgs") -> None:
    """Python's complaint of an error that nobody can catch, but where that is our own."""
    if not isinstance(unraisable.exc_value, Interrupted):
        sys.__unraisablehook__(unraisable)


def listen(pipe: int) -> None:
    """What the thread does, as soon as a signal comes; a zero ends it."""
    first: int | None = None
    while ready(pipe, None if first is None else GRACE):
        number = os.read(pipe, 1)[0]
        if number == 0:
            return
        if number not in SIGNALS:
            continue
        if first is not None:
            leave(number, "")
        first = number
        if _last_words is not None:
            tell("ending after this epoch; once more to end at once")
    assert first is not None
    leave(first, _last_words or "")


def ready(pipe: int, seconds: float | None) -> bool:
    """Whether there is something to read before the time is up."""
    return bool(select.select([pipe], [], [], seconds)[0])


def tell(text: str) -> None:
    """A line on the terminal, below a progress bar, whoever may have taken `sys.stderr` for a while."""
    with suppress(OSError):
        os.write(2, f"\n{text}\n".encode(errors="replace"))


def leave(number: int, words: str) -> None:
    """End the process without another step of the main thread."""
    if words:
        tell(words)
    os._exit(128 + number)
